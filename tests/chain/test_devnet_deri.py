"""The local Deri market is what its world says, obeys the protocol's rules, and pays as they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import aiohttp
import pytest

from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.devnet.artifacts import load_artifact
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deploy_deri, deri_market
from keeper.devnet.deri_world import BTC, ONE, Cohort, DeriWorld, Rules, Terms, e18, moved, three_futures
from keeper.devnet.oracle_server import Behaviour, symbol_id
from keeper.devnet.rpc import DevNode, RpcError
from keeper.errors import ChainError
from tests.conftest import StartAnvil

CANNOT = "PoolImplementationLite.liquidate: cannot liquidate"
NO_POSITION = "PoolImplementationLite.liquidate: no position"
STRANGER = "0x" + "5a" * 20


def near(market: DeriDevnet, side: int, adverse_move: str) -> set[int]:
    """The accounts of a side that a move of all prices against it uses up."""
    return {t.p_token_id for t in market.traders if t.side == side and t.distance_e18 < e18(adverse_move)}


async def pass_lock(market: DeriDevnet) -> None:
    await market.node.mine(2, interval_seconds=market.world.lock_seconds)


# --- what is deployed


async def test_accounts_are_those_of_the_world(deri: DeriDevnet) -> None:
    accounts = await deri.accounts()
    assert len(accounts) == 30
    for account, trader in zip(accounts, deri.traders, strict=True):
        assert account.amount_b0 == trader.margin_b0
        assert account.active_symbols == tuple(position.symbol for position in trader.positions)
        assert account.positions == {p.symbol: (p.volume_e18, p.cost_e18, 0) for p in trader.positions}
        assert str(await deri.p_token.read(deri.node, "getOwnerOf", trader.p_token_id)) == trader.owner.lower()


async def test_the_symbols_sums_are_those_of_the_positions(deri: DeriDevnet) -> None:
    for name, symbol in deri.symbols.items():
        held = [p for trader in deri.traders for p in trader.positions if p.symbol == name]
        assert await symbol.read_int(deri.node, "netVolume") == sum(p.volume_e18 for p in held)
        assert await symbol.read_int(deri.node, "netCost") == sum(p.cost_e18 for p in held)
        assert await symbol.read_int(deri.node, "nPositionHolders") == len(held)
        assert await symbol.read_int(deri.node, "alpha") == Terms().alpha_e18


async def test_people_are_funded(deri: DeriDevnet) -> None:
    node = deri.node
    assert await deri.pool.read_int(node, "liquidity") == deri.world.liquidity_usd * ONE
    assert await deri.token_deri.read_int(node, "balanceOf", deri.liquidator) == 100_000 * ONE
    assert await node.balance_wei(deri.liquidator) == 100 * ONE
    assert deri.privileger is not None
    assert await deri.privileger.read_int(node, "stakes", deri.token_deri.address, deri.liquidator) == 0
    assert await deri.privileger.read_int(node, "stakesCount", deri.token_deri.address) == 3
    await pass_lock(deri)
    assert await deri.privileger.read(node, "isQualifiedLiquidator", deri.stakers[0]) is True
    assert await deri.privileger.read(node, "isQualifiedLiquidator", deri.stakers[2]) is False


async def test_the_node_is_left_as_it_was(start_anvil: StartAnvil) -> None:
    node = await start_anvil(AnvilOptions(block_time=1, gas_limit=40_000_000, base_fee_per_gas_wei=7 * 10**9))
    market = await deploy_deri(node, three_futures(3))
    head = await node.block()
    assert int(str(head["gasLimit"]), 16) == 40_000_000
    assert int(str(head["baseFeePerGas"]), 16) == 7 * 10**9
    assert await node.rpc("anvil_getIntervalMining") == 1
    [receipt] = await market.confirm(await market.add_margin(STRANGER, ONE))
    assert int(str(receipt["blockNumber"]), 16) > int(str(head["number"]), 16)


async def test_accounts_can_be_written_only_while_deploying(deri: DeriDevnet) -> None:
    seed = load_artifact("SeedablePoolLite", "PoolSeeding.sol").encode("seed", [], [])
    with pytest.raises(RpcError):
        await deri.node.call(deri.pool.address, seed, sender=deri.admin)


async def test_the_same_world_is_deployed_to_the_same_addresses(deri: DeriDevnet, start_anvil: StartAnvil) -> None:
    other = await deploy_deri(await start_anvil(AnvilOptions()), deri.world)
    assert other.pool.address == deri.pool.address
    assert other.liquidator == deri.liquidator


async def test_without_a_privileger_anybody_may_liquidate(anvil: Anvil) -> None:
    market = await deploy_deri(anvil, replace(three_futures(9), privileged=False))
    market.oracle.move(moved(market.world.symbols, "-0.1"))
    victim = min(await market.liquidatable())
    await anvil.set_balance(STRANGER, ONE)
    await market.confirm(await market.liquidate(STRANGER, victim))
    assert (await market.accounts([victim]))[0].active_symbols == ()


# --- what a move of prices does


async def test_nobody_is_liquidatable_at_the_start(deri: DeriDevnet) -> None:
    assert set((await deri.verdicts()).values()) == {CANNOT}


@pytest.mark.parametrize(("change", "side"), [("-0.08", 1), ("0.3", -1)])
async def test_a_move_reaches_exactly_the_accounts_it_should(deri: DeriDevnet, change: str, side: int) -> None:
    deri.oracle.move(moved(deri.world.symbols, change))
    expected = near(deri, side, change.removeprefix("-"))
    assert len(expected) >= 2
    assert await deri.liquidatable() == expected


async def test_the_chain_can_be_asked_about_the_past(deri: DeriDevnet) -> None:
    before = await deri.node.block_number()
    deri.oracle.move(moved(deri.world.symbols, "-0.08"))
    crash = await deri.readings()
    await deri.confirm(*await deri.push_prices(crash))
    assert await deri.liquidatable(readings=[]) == near(deri, 1, "0.08")
    assert await deri.liquidatable(tag=before, readings=[]) == set()
    assert await deri.liquidatable(tag=before, readings=crash) == near(deri, 1, "0.08")


async def test_funding_alone_uses_an_account_up(anvil: Anvil) -> None:
    # Only longs, so they pay; the pool is so small and the period so short that it takes minutes.
    fast = replace(BTC, terms=replace(BTC.terms, funding_period_seconds=600))
    cohort = Cohort("payers", 5, 1, (0.001, 0.002), notional_usd=(50_000, 50_000), entry_spread=0)
    market = await deploy_deri(anvil, DeriWorld(symbols=(fast,), cohorts=(cohort,), liquidity_usd=1_000_000))
    now = await anvil.block_timestamp()
    assert await market.liquidatable(at=now + 1) == set()
    crossing = [len(await market.liquidatable(at=now + seconds)) for seconds in range(30, 120, 10)]
    assert crossing == sorted(crossing)
    assert crossing[0] < crossing[-1] == 5


# --- what people do


async def test_margin_saves_an_account(deri: DeriDevnet) -> None:
    deri.oracle.move(moved(deri.world.symbols, "-0.08"))
    endangered = min(await deri.liquidatable())
    owner = deri.traders[endangered - 1].owner
    before = (await deri.accounts([endangered]))[0].amount_b0
    await deri.confirm(await deri.add_margin(owner, 10_000 * ONE))
    assert (await deri.accounts([endangered]))[0].amount_b0 == before + 10_000 * ONE
    assert await deri.liquidatable() == near(deri, 1, "0.08") - {endangered}


async def test_a_newcomer_trades_and_leaves(deri: DeriDevnet) -> None:
    await deri.confirm(await deri.add_margin(STRANGER, 5_000 * ONE))
    await deri.confirm(await deri.trade(STRANGER, "ETHUSD", 2 * ONE))
    [account] = await deri.accounts([31])
    assert account.active_symbols == ("ETHUSD",)
    assert account.positions["ETHUSD"][0] == 2 * ONE
    await deri.confirm(await deri.trade(STRANGER, "ETHUSD", -2 * ONE))
    await deri.confirm(await deri.remove_margin(STRANGER, 4_000 * ONE))
    assert await deri.token_b0.read_int(deri.node, "balanceOf", STRANGER) == 4_000 * ONE


async def test_liquidity_comes_and_goes(deri: DeriDevnet) -> None:
    """The only provider's liquidity is what it put in and what the pool has earned or lost since."""
    liquidity, pnl = [await deri.pool.read_int(deri.node, name) for name in ("liquidity", "lpsPnl")]
    await deri.confirm(await deri.add_liquidity(1_000_000 * ONE))
    added = await deri.pool.read_int(deri.node, "liquidity")
    assert added == pytest.approx(liquidity + pnl + 1_000_000 * ONE, abs=ONE)
    await deri.confirm(await deri.remove_liquidity(2_000_000 * ONE))
    removed = await deri.pool.read_int(deri.node, "liquidity")
    assert removed == pytest.approx(added - 2_000_000 * ONE, abs=10 * ONE)


async def test_a_stake_qualifies_after_its_lock(deri: DeriDevnet) -> None:
    assert deri.privileger is not None
    deri.oracle.move(moved(deri.world.symbols, "-0.08"))
    victim = min(await deri.liquidatable())
    await pass_lock(deri)
    with pytest.raises(ChainError, match="liquidate: unqualified liquidator"):
        await deri.confirm(await deri.liquidate(deri.liquidator, victim))
    await deri.confirm(await deri.stake(deri.liquidator, 20_000 * ONE))
    with pytest.raises(ChainError, match="minLockTime not met"):
        await deri.confirm(await deri.liquidate(deri.liquidator, victim))
    await pass_lock(deri)
    await deri.confirm(await deri.liquidate(deri.liquidator, victim))
    await deri.confirm(await deri.withdraw_stake(deri.liquidator, 15_000 * ONE))
    assert await deri.privileger.read(deri.node, "isQualifiedLiquidator", deri.liquidator) is False


async def test_an_upgrade_changes_terms_and_says_so(deri: DeriDevnet) -> None:
    harsher = replace(BTC, terms=replace(BTC.terms, maintenance_margin_ratio_e18=e18("0.08")))
    [receipt] = await deri.confirm(await deri.upgrade_symbol(harsher))
    [log] = cast("list[dict[str, list[str]]]", receipt["logs"])
    assert log["topics"] == ["0x" + deri.symbols["BTCUSD"].artifact.topic("NewImplementation").hex()]
    assert await deri.symbols["BTCUSD"].read_int(deri.node, "maintenanceMarginRatio") == e18("0.08")
    await deri.confirm(await deri.upgrade_pool(Rules(min_liquidation_reward_e18=77 * ONE)))
    assert await deri.pool.read_int(deri.node, "minLiquidationReward") == 77 * ONE
    assert await deri.pool.read_int(deri.node, "liquidity") == deri.world.liquidity_usd * ONE


# --- signed prices


async def test_what_the_server_answers_is_accepted_on_chain(deri: DeriDevnet) -> None:
    deri.oracle.move({"BTCUSD": e18("29123.45")})
    url = f"{deri.oracle.url}/get_symbol_data"
    async with aiohttp.ClientSession() as http, http.get(url, params={"symbol": "BTCUSD"}) as response:
        record = (await response.json())["data"]
    v, r, s = record["v"], bytes.fromhex(record["r"][2:]), bytes.fromhex(record["s"][2:])
    update = ("updateValue", symbol_id("BTCUSD"), record["timestamp"], record["value"], v, r, s)
    assert await deri.oracle_manager.read(deri.node, *update) is True
    await deri.confirm(*await deri.push_prices())
    assert await deri.oracles["BTCUSD"].read_int(deri.node, "getValue") == e18("29123.45")
    assert await deri.oracles["BTCUSD"].read_int(deri.node, "timestamp") == record["timestamp"]


@pytest.mark.parametrize("behaviour", [Behaviour(wrong_signer=True), Behaviour(age_seconds=60)])
async def test_a_bad_reading_is_ignored_on_chain(deri: DeriDevnet, behaviour: Behaviour) -> None:
    deri.oracle.move({"BTCUSD": e18(1)})
    deri.oracle.behaviour = behaviour
    await deri.confirm(*await deri.push_prices())
    assert await deri.oracles["BTCUSD"].read_int(deri.node, "value") == BTC.price_e18


async def test_a_price_expires(deri: DeriDevnet) -> None:
    await deri.node.mine(2, interval_seconds=deri.world.delay_allowance_seconds + 10)
    verdicts = await deri.verdicts(readings=[])
    assert {reason and reason.split()[-1] for reason in verdicts.values()} == {"expired"}
    assert set((await deri.verdicts()).values()) == {CANNOT}


# --- a liquidation by hand


async def test_a_liquidation_pays_what_the_protocols_arithmetic_says(deri: DeriDevnet) -> None:
    await pass_lock(deri)
    deri.oracle.move(moved(deri.world.symbols, "-0.08"))
    rival = deri.stakers[0]
    rewards = set()
    for victim in sorted(await deri.liquidatable()):
        before = await deri.node.block_number()
        [receipt] = await deri.confirm(await deri.liquidate(rival, victim))
        mined = int(str(receipt["blockNumber"]), 16)
        reward, gain = await expected_outcome(deri, victim, before, await deri.node.block_timestamp(mined))
        assert await paid(deri, rival, before, mined) == reward
        lps_pnl = [await deri.pool.read_int(deri.node, "lpsPnl", tag=block) for block in (before, mined)]
        assert lps_pnl[1] - lps_pnl[0] == gain
        rewards.add(reward)
        [account] = await deri.accounts([victim])
        assert (account.amount_b0, account.active_symbols) == (0, ())
        assert (await deri.verdicts([victim]))[victim] == NO_POSITION
    assert len(rewards) >= 2
    assert await deri.liquidatable() == set()


async def paid(market: DeriDevnet, who: str, before: int, after: int) -> int:
    had, has = [await market.token_b0.read_int(market.node, "balanceOf", who, tag=block) for block in (before, after)]
    return has - had


def div(a: int, b: int) -> int:
    """Solidity's signed division: toward zero."""
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


def cost(price: int, k: int, net: int, volume: int) -> int:
    r = div(div(div((net + volume) ** 2 - net**2, ONE) * k, ONE), 2) + volume
    return div(price * r, ONE)


async def expected_outcome(market: DeriDevnet, p_token_id: int, before: int, at: int) -> tuple[int, int]:
    """Reward of liquidating an account at second ``at``, and the LPs' gain, from the state of block ``before``.

    Written from the protocol's rules for futures on a Lite pool, independently of the keeper's own arithmetic.
    """
    node: DevNode = market.node
    [account] = await market.accounts([p_token_id], tag=before)
    liquidity = await market.pool.read_int(node, "liquidity", tag=before)
    liquidity += await market.pool.read_int(node, "lpsPnl", tag=before)
    trader_funding = realized_cost = gain = 0
    for name in account.active_symbols:
        symbol, price = market.symbols[name], market.oracle.values_e18[name]
        fields: Sequence[str] = ("netVolume", "netCost", "cumulativeFundingPerVolume", "fundingTimestamp", "tradersPnl")
        net, net_cost, cumulative, since, traders_pnl = [await symbol.read_int(node, f, tag=before) for f in fields]
        volume, position_cost, paid_funding = account.positions[name]
        k = div(price * Terms().alpha_e18, liquidity)
        mark = div(price * (ONE + div(k * net, ONE)), ONE)
        diff = div((mark - price) * (at - since), Terms().funding_period_seconds)
        trader_funding += div(volume * (cumulative + diff - paid_funding), ONE)
        closing = cost(price, k, net, -volume) + position_cost
        realized_cost += closing
        left, left_cost = net - volume, net_cost - position_cost
        gain += div(net * diff, ONE) - (-cost(price, k, left, -left) - left_cost - traders_pnl) + closing
    available = account.amount_b0 - trader_funding - realized_cost
    rules = market.world.rules
    reward = rules.min_liquidation_reward_e18
    if available > reward:
        reward += div((available - reward) * rules.liquidation_reward_cut_ratio_e18, ONE)
        reward = min(reward, rules.max_liquidation_reward_e18)
    return reward, gain + available - reward


async def test_the_market_serves_prices_while_it_is_open(anvil: Anvil) -> None:
    async with deri_market(anvil, three_futures(3)) as market:
        url = market.oracle.url
        async with aiohttp.ClientSession() as http, http.get(f"{url}/control") as response:
            assert (await response.json())["signer"] == market.oracle.signer
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{url}/control")
