"""The Deri market against a real chain: the mirror stays exact, and every verdict is the contract's own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from keeper.chain.blocks import logs_of
from keeper.devnet.anvil import Anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import BTC, ONE, Rules, Terms, all_kinds, e18, full_pool, moved, three_futures
from keeper.devnet.rpc import Json
from keeper.devnet.rpc import RpcError as DevRpcError
from keeper.errors import ChainError
from keeper.model import Outcome, OutcomeState, Verdict, Window
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.price_server import Record
from tests.chain.following import Follower, following

WORLDS = {"three futures": three_futures, "all kinds": all_kinds, "full pool": full_pool}
ALLOWANCE_S = 600


@pytest.fixture(params=list(WORLDS))
async def deri(request: pytest.FixtureRequest, anvil: Anvil) -> AsyncIterator[DeriDevnet]:
    """Thirty traders in a Lite pool with futures, in one with every kind of symbol, and in a full pool."""
    async with deri_market(anvil, WORLDS[request.param](30)) as market:
        yield market


@pytest.fixture
async def lite(anvil: Anvil) -> AsyncIterator[DeriDevnet]:
    async with deri_market(anvil, three_futures(20)) as market:
        yield market


def market_of(deri: DeriDevnet) -> DeriMarket:
    liquidators = (deri.liquidator, deri.stakers[0])
    return DeriMarket(DeriMarketConfig("local", deri.pool.address, (deri.oracle.url,), 0.05, liquidators))


async def fresh_digest(deri: DeriDevnet) -> str:
    market = market_of(deri)
    async with following(deri.node, market):
        return market.digest()


async def take_prices(deri: DeriDevnet, market: DeriMarket) -> None:
    """Hand the server's present readings over as a poll would."""
    now = market.mirror.head.timestamp
    oracles = {oracle.name: oracle for oracle in market.mirror.state.oracles.values()}
    for reading in await deri.readings():
        record = Record(reading.symbol, reading.timestamp, reading.value_e18, reading.v, reading.r, reading.s)
        if reading.symbol in oracles:
            assert market.prices.offer(record, oracles[reading.symbol], now) in ("", None)


async def move(deri: DeriDevnet, change: str) -> None:
    """Move every index price from where it started."""
    await deri.confirm(*await deri.move_prices(moved(deri.world.symbols, change)))


async def random_step(deri: DeriDevnet, draw: random.Random) -> bool:
    """Something that somebody does; False if the contracts don't allow it."""
    trader = draw.choice(deri.traders)
    symbol = draw.choice(deri.world.symbols)
    kind = draw.randrange(10)
    collateral = draw.choice(list(deri.lending.v_tokens)) if deri.lending else "B0"
    await deri.node.set_balance(trader.owner, ONE)
    try:
        if kind == 0:
            await deri.confirm(await deri.add_margin(trader.owner, draw.randint(1, 10**20), collateral))
        elif kind == 1:
            await deri.confirm(await deri.remove_margin(trader.owner, draw.randint(1, 10**20)))
        elif kind in (2, 3, 4):
            volume = draw.choice((-1, 1)) * draw.randint(1, 30) * symbol.terms.min_trade_volume_e18
            await deri.confirm(await deri.trade(trader.owner, symbol.name, volume))
        elif kind == 5:
            await deri.confirm(await deri.add_liquidity(draw.randint(1, 10**22)))
        elif kind == 6:
            change = draw.randint(900, 1100)
            await deri.confirm(
                *await deri.move_prices({symbol.underlying.name: symbol.underlying.price_e18 * change // 1000})
            )
            await deri.confirm(*await deri.push_prices())
        elif kind == 7:
            await deri.confirm(await deri.add_margin(f"0x{draw.getrandbits(160):040x}", 10**20, collateral))
        elif kind == 8:
            await deri.node.mine(draw.randint(1, 3), interval_seconds=draw.randint(1, 20))
        else:
            await deri.confirm(await deri.liquidate(deri.stakers[0], trader.p_token_id))
    except (ChainError, DevRpcError):
        return False  # a revert leaves nothing behind, and the mirror must not mind
    return True


# --- the mirror


async def test_a_bootstrap_reads_what_is_there(deri: DeriDevnet) -> None:
    market = market_of(deri)
    async with following(deri.node, market) as follower:
        state = market.mirror.state
        assert {symbol.params.name for symbol in state.symbols.values()} == set(deri.symbols)
        assert {oracle.name for oracle in state.oracles.values()} <= set(deri.oracles)
        assert market.accounts_watched() == len(deri.traders)
        for trader, there in zip(deri.traders, await deri.accounts(), strict=True):
            account = state.accounts[trader.p_token_id]
            assert (account.owner, account.amount_b0) == (trader.owner, there.amount_b0)
            assert (account.vault.address if account.vault else None) == there.vault
            held = [(state.symbols[p.symbol_id].params.name, p.volume, p.cost) for p in account.positions]
            assert held == [(p.symbol, p.volume_e18, p.cost_e18) for p in trader.positions]
        assert sum(follower.rpc.calls.values()) < 30


async def test_the_mirror_equals_a_fresh_one_after_anything(deri: DeriDevnet) -> None:
    draw = random.Random(7)
    market = market_of(deri)
    async with following(deri.node, market) as follower:
        await deri.node.mine(1, interval_seconds=deri.world.lock_seconds + 1)
        done = 0
        for step in range(45):
            done += await random_step(deri, draw)
            await follower.follow()
            if step % 15 == 14:
                assert market.digest() == await fresh_digest(deri)
        assert done > 25
        assert market.mirror.mismatches == 0


async def test_the_mirror_equals_a_fresh_one_after_reorgs(lite: DeriDevnet) -> None:
    draw = random.Random(3)
    market = market_of(lite)
    undone = 0
    async with following(lite.node, market) as follower:
        await lite.node.mine(4, interval_seconds=lite.world.lock_seconds)
        await follower.follow()
        for _ in range(10):
            for _ in range(draw.randint(1, 4)):
                await random_step(lite, draw)
                await follower.follow()
            await lite.node.reorg(draw.randint(1, 3))
            advance = await follower.follow()
            undone += len(advance.undone)
            assert market.digest() == await fresh_digest(lite)
    assert undone > 10


async def test_new_implementations_are_read(lite: DeriDevnet) -> None:
    market = market_of(lite)
    async with following(lite.node, market) as follower:
        await lite.confirm(await lite.upgrade_pool(Rules(min_liquidation_reward_e18=7 * ONE)))
        await follower.follow()
        assert market.mirror.state.pool.min_liquidation_reward == 7 * ONE
        other = Terms(maintenance_margin_ratio_e18=e18("0.07"))
        await lite.confirm(await lite.upgrade_symbol(type(BTC)(BTC.name, BTC.price_e18, terms=other)))
        await follower.follow()
        ratios = {s.params.name: s.params.maintenance_margin_ratio for s in market.mirror.state.symbols.values()}
        assert ratios["BTCUSD"] == e18("0.07")
        assert market.digest() == await fresh_digest(lite)


async def test_an_idle_block_costs_no_read(lite: DeriDevnet) -> None:
    market = market_of(lite)
    async with following(lite.node, market) as follower:
        before = dict(follower.rpc.calls)
        await lite.node.mine(5)
        await follower.follow()
        assert dict(follower.rpc.calls) == before
        trader = lite.traders[0].owner
        await lite.node.set_balance(trader, ONE)
        await lite.confirm(await lite.trade(trader, "BTCUSD", -(10**16)))
        await follower.follow()
        assert follower.rpc.calls["eth_call"] == before["eth_call"] + 1


# --- verdicts


async def check_verdicts(deri: DeriDevnet, market: DeriMarket) -> set[Verdict]:
    """Every account's verdict, at the next second and in a window, against the chain's own word."""
    head = market.mirror.head
    at = head.timestamp + 1
    round_ = market.round(Window(head.number + 1, at, at))
    said = await deri.verdicts(list(market.mirror.state.accounts), tag=head.number, at=at)
    candidates = set(round_.candidates())
    verdicts = set()
    for p_token_id, reason in said.items():
        assessment = round_.assess(str(p_token_id))
        assert (assessment.reason or None) == reason, assessment
        assert (assessment.verdict is Verdict.LIQUIDATABLE) == (reason is None)
        if reason is None:
            assert str(p_token_id) in candidates
            assert assessment.reward_b0 > 0
        verdicts.add(assessment.verdict)
    return verdicts


async def test_every_verdict_is_the_chains_own(deri: DeriDevnet) -> None:
    draw = random.Random(11)
    market = market_of(deri)
    seen: set[Verdict] = set()
    async with following(deri.node, market) as follower:
        for change in ("-0.03", "-0.08", "0.12", "-0.2"):
            for _ in range(4):
                await random_step(deri, draw)
            await move(deri, change)
            await follower.follow()
            await take_prices(deri, market)
            seen |= await check_verdicts(deri, market)
    assert seen >= {Verdict.LIQUIDATABLE, Verdict.HEALTHY}


async def test_an_expired_price_is_the_chains_own_word_too(lite: DeriDevnet) -> None:
    market = market_of(lite)
    async with following(lite.node, market) as follower:
        await lite.confirm(*await lite.push_prices())
        lite.oracle.frozen_at = await lite.node.block_timestamp()
        await lite.node.mine(1, interval_seconds=ALLOWANCE_S + 5)
        await follower.follow()
        assert await check_verdicts(lite, market) == {Verdict.UNASSESSABLE}
        reason = market.unassessable()[1]
        assert reason.endswith("expired")


async def test_at_the_edge_of_a_window_a_verdict_is_marginal(lite: DeriDevnet) -> None:
    market = market_of(lite)
    async with following(lite.node, market) as follower:
        await lite.confirm(*await lite.push_prices())
        lite.oracle.frozen_at = await lite.node.block_timestamp()
        lite.oracle.move(moved(lite.world.symbols, "-0.2"))
        await lite.node.mine(1, interval_seconds=ALLOWANCE_S - 10)
        await follower.follow()
        head = market.mirror.head
        state = market.mirror.state
        expires = max(o.timestamp for o in state.oracles.values()) + ALLOWANCE_S
        assert head.timestamp < expires - 2
        inside = market.round(Window(head.number + 1, head.timestamp + 1, expires - 1))
        across = market.round(Window(head.number + 1, head.timestamp + 1, expires))
        verdicts = {inside.assess(str(key)).verdict for key in state.accounts}
        assert Verdict.UNASSESSABLE not in verdicts
        assert Verdict.LIQUIDATABLE not in {across.assess(str(key)).verdict for key in state.accounts}


# --- transactions


async def send(deri: DeriDevnet, caller: str, market: DeriMarket, account: str) -> dict[str, Json]:
    """Send what a round says, from an address that need not be ours; the receipt."""
    head = market.mirror.head
    call = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)).call(account)
    await deri.node.set_next_block_timestamp(head.timestamp + 1)
    request: dict[str, Json] = {
        "from": caller,
        "to": call.to,
        "data": "0x" + call.data.hex(),
        "gas": hex(call.gas_limit),
    }
    async with deri.node.impersonate(caller):
        sent = str(await deri.node.rpc("eth_sendTransaction", request))
    [receipt] = await deri.confirm(sent)
    assert int(str(receipt["gasUsed"]), 16) * 6 // 5 < call.gas_limit
    return dict(receipt)


async def test_a_mined_liquidation_pays_what_was_predicted(deri: DeriDevnet) -> None:
    market = market_of(deri)
    caller = deri.stakers[0]
    async with following(deri.node, market) as follower:
        await deri.node.mine(2, interval_seconds=deri.world.lock_seconds)
        await move(deri, "-0.08")
        await follower.follow()
        await take_prices(deri, market)
        for _ in range(5):
            head = market.mirror.head
            round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
            account = next(c for c in round_.candidates() if round_.assess(c).verdict is Verdict.LIQUIDATABLE)
            predicted = round_.assess(account)
            had = await deri.token_b0_balance(caller)
            receipt = await send(deri, caller, market, account)
            await follower.follow()
            paid = await deri.token_b0_balance(caller) - had
            assert (
                market.realised_reward_b0(Outcome("local", account, OutcomeState.MINED), logs_of(receipt["logs"]))
                == paid
            )
            if deri.lending is None:
                assert paid == predicted.reward_b0 >= 10 * ONE
            else:
                # Interest, and swaps no worse than their bound, only add to what was promised.
                assert paid >= predicted.reward_b0 >= 10 * ONE
            assert market.mirror.state.accounts[int(account)].positions == ()
            assert market.closures(logs_of(receipt["logs"])) == [(account, str(receipt["transactionHash"]))]
            assert follower.market.digest() == await fresh_digest(deri)


async def burst(deri: DeriDevnet, market: DeriMarket, follower: Follower) -> int:
    """Close in one block whatever a round says can be; how many that was. Reverts fail."""
    head = market.mirror.head
    at = head.timestamp + 1
    round_ = market.round(Window(head.number + 1, at, at))
    sent: list[str] = []
    closed: list[str] = []
    caller = deri.stakers[0]
    await deri.node.set_automine(False)
    async with deri.node.impersonate(caller):
        for account in round_.candidates():
            if round_.assess(account).verdict is not Verdict.LIQUIDATABLE or len(closed) == 20:
                continue
            call = round_.call(account)
            round_.close(account)
            closed.append(account)
            request: dict[str, Json] = {"from": caller, "to": call.to, "data": "0x" + call.data.hex()}
            sent.append(str(await deri.node.rpc("eth_sendTransaction", request | {"gas": hex(call.gas_limit)})))
    await deri.node.set_next_block_timestamp(at)
    await deri.node.mine(1)
    await deri.node.set_automine(True)
    receipts = await deri.confirm(*sent)
    assert {int(str(receipt["blockNumber"]), 16) for receipt in receipts} <= {head.number + 1}
    await follower.follow()
    return len(closed)


async def test_a_burst_in_one_block_reverts_nothing(deri: DeriDevnet) -> None:
    market = market_of(deri)
    async with following(deri.node, market) as follower:
        await deri.node.mine(2, interval_seconds=deri.world.lock_seconds)
        await move(deri, "-0.12")
        await follower.follow()
        await take_prices(deri, market)
        found = await burst(deri, market, follower)
        assert found > 3
        assert market.digest() == await fresh_digest(deri)


# --- eligibility


async def test_eligibility_follows_the_stakes(lite: DeriDevnet) -> None:
    market = market_of(lite)
    async with following(lite.node, market) as follower:
        now = market.mirror.head.timestamp
        assert market.eligibility(lite.liquidator, now).reason == "never-staked"
        await lite.confirm(await lite.stake(lite.liquidator, 30_000 * ONE))
        await follower.follow()
        locked = market.eligibility(lite.liquidator, market.mirror.head.timestamp)
        assert (locked.allowed, locked.reason) == (False, "locked")
        assert locked.until == market.mirror.head.timestamp + lite.world.lock_seconds
        assert market.eligibility(lite.liquidator, locked.until).allowed
        await lite.confirm(await lite.withdraw_stake(lite.liquidator, 25_000 * ONE))
        await follower.follow()
        assert market.eligibility(lite.liquidator, locked.until).reason == "below-average"
