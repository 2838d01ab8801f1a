"""Options, powers, vaults and feeds on chain: the local market has everything that the protocol has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.devnet.anvil import Anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deploy_deri
from keeper.devnet.deri_world import (
    BNB,
    BTC,
    ETH,
    ONE,
    DeriWorld,
    Option,
    Power,
    Vaults,
    all_kinds,
    e18,
    full_pool,
    moved,
)

CRASH = moved((BTC, ETH), "-0.08")
"""Of what no account has as collateral, so that vaults keep their worth."""


def with_options(market: DeriDevnet) -> set[int]:
    """Accounts whose margin may be needed most before prices move (see ``deri_world``)."""
    options = {symbol.name for symbol in market.world.symbols if isinstance(symbol, Option)}
    return {t.p_token_id for t in market.traders if any(p.symbol in options for p in t.positions)}


def touching(market: DeriDevnet, name: str) -> set[int]:
    return {t.p_token_id for t in market.traders if any(p.symbol == name for p in t.positions)}


async def expect_the_crash_to_reach_who_it_should(market: DeriDevnet) -> set[int]:
    """All longs that an 8 % crash uses up are liquidatable and none beyond, a tenth of a percent aside."""
    assert await market.liquidatable() == set()
    await market.move_prices(CRASH)
    found = await market.liquidatable()
    placed = {t.p_token_id: t for t in market.traders if t.side == 1}
    sure = placed.keys() - with_options(market) - touching(market, "BNBUSD")
    fallen = {id_ for id_ in sure if placed[id_].distance_e18 < e18("0.079")}
    standing = {id_ for id_ in sure if placed[id_].distance_e18 > e18("0.081")}
    assert len(fallen) >= 3
    assert fallen <= found
    assert not standing & found
    return found


async def test_all_kinds_of_symbols(anvil: Anvil) -> None:
    market = await deploy_deri(anvil, all_kinds(150))
    held = {position.symbol for account in market.traders for position in account.positions}
    assert held == {symbol.name for symbol in market.world.symbols}
    await expect_the_crash_to_reach_who_it_should(market)


async def test_an_option_and_a_power_are_what_their_specs_say(anvil: Anvil) -> None:
    put = Option("ETHUSD-1900-P", ETH, e18(1_900), is_call=False, volatility_e18=e18("0.9"))
    square = Power("ETH^2", ETH, volatility_e18=e18("0.9"))
    market = await deploy_deri(anvil, DeriWorld(symbols=(put, square), cohorts=()))
    assert sorted(market.oracles) == ["ETHUSD", "VOL-ETHUSD"]
    assert await market.oracles["VOL-ETHUSD"].read_int(anvil, "getValue") == e18("0.9")
    assert await market.symbols["ETHUSD-1900-P"].read(anvil, "isCall") is False
    assert await market.symbols["ETHUSD-1900-P"].read_int(anvil, "strikePrice") == e18(1_900)
    assert await market.symbols["ETH^2"].read_int(anvil, "power") == 2


async def test_prices_on_chain_move_by_transactions(anvil: Anvil) -> None:
    market = await deploy_deri(anvil, full_pool(0))
    assert {"BNBUSD", "CAKEUSD"}.isdisjoint(market.oracle.values_e18)
    await market.confirm(*await market.move_prices({"BNBUSD": e18("280.5"), "CAKEUSD": e18("3.25"), "BTCUSD": ONE}))
    assert await market.oracles["BNBUSD"].read_int(anvil, "getValue") == e18("280.5")
    assert await market.oracles["CAKEUSD"].read_int(anvil, "getValue") == e18("3.25")
    assert market.oracle.values_e18["BTCUSD"] == ONE
    assert market.lending is not None
    assert await market.lending.prices.read_int(
        anvil, "getUnderlyingPrice", market.lending.v_tokens["BNB"].address
    ) == e18("280.5")


@pytest.mark.parametrize("decimals_b0", [18, 6])
async def test_a_full_pools_accounts_are_liquidated_with_their_vaults(anvil: Anvil, decimals_b0: int) -> None:
    world = full_pool(90)
    market = await deploy_deri(anvil, replace(world, vaults=Vaults(decimals_b0=decimals_b0)))
    lending = market.lending
    assert lending is not None
    traders = {trader.p_token_id: trader for trader in market.traders}
    assert {trader.collateral for trader in traders.values()} == {"B0", "BNB", "CAKE"}

    found = await expect_the_crash_to_reach_who_it_should(market)
    await anvil.mine(2, interval_seconds=world.lock_seconds)
    accounts = {account.p_token_id: account for account in await market.accounts(sorted(found))}
    for id_ in [next(i for i in sorted(found) if traders[i].collateral == name) for name in lending.v_tokens]:
        account, collateral = accounts[id_], lending.v_tokens[str(traders[id_].collateral)]
        assert account.vault is not None
        assert account.amount_b0 == traders[id_].at_hand_b0
        held = await collateral.read_int(anvil, "balanceOf", account.vault)
        assert held == pytest.approx(traders[id_].collateral_amount, rel=1e-6)
        had = await market.token_b0_balance(market.stakers[0])
        await market.confirm(await market.liquidate(market.stakers[0], id_))
        reward = await market.token_b0_balance(market.stakers[0]) - had
        assert 10 * 10**decimals_b0 <= reward <= 1_000 * 10**decimals_b0
        assert await collateral.read_int(anvil, "balanceOf", account.vault) == 0


@pytest.mark.parametrize("collateral", ["B0", "BNB", "CAKE"])
async def test_margin_comes_in_any_collateral(anvil: Anvil, collateral: str) -> None:
    market = await deploy_deri(anvil, full_pool(30))
    await market.move_prices(CRASH)
    endangered = max(await market.liquidatable())
    await market.confirm(await market.add_margin(market.traders[endangered - 1].owner, 5_000 * ONE, collateral))
    assert endangered not in await market.liquidatable()


async def test_interest_makes_vaults_worth_more(anvil: Anvil) -> None:
    market = await deploy_deri(anvil, full_pool(3))
    assert market.lending is not None
    v_token = market.lending.v_tokens["B0"]
    await anvil.mine(2, interval_seconds=86_400)
    before = await v_token.read_int(anvil, "exchangeRateStored")
    await market.confirm(await market.add_margin("0x" + "5a" * 20, ONE))
    assert await v_token.read_int(anvil, "exchangeRateStored") > before


async def test_a_full_pool_is_upgraded_and_gains_liquidity(anvil: Anvil) -> None:
    market = await deploy_deri(anvil, full_pool(3))
    before = await market.pool.read_int(anvil, "liquidity")
    await market.confirm(await market.add_liquidity(1_000_000 * ONE))
    assert await market.pool.read_int(anvil, "liquidity") - before == pytest.approx(1_000_000 * ONE, rel=0.01)
    await market.confirm(await market.upgrade_pool(replace(market.world.rules, min_liquidation_reward_e18=7 * ONE)))
    assert await market.pool.read_int(anvil, "minLiquidationReward") == 7 * ONE
    harsher = replace(BNB, terms=replace(BNB.terms, maintenance_margin_ratio_e18=e18("0.08")))
    await market.confirm(await market.upgrade_symbol(harsher))
    assert await market.symbols["BNBUSD"].read_int(anvil, "maintenanceMarginRatio") == e18("0.08")
