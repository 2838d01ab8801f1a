"""The engine equals a naive transcription of the protocol's description, figure by figure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.protocols.deri.settle import Closed, Decision, after, decide, liquidate
from keeper.protocols.deri.state import AccountState, MarketState, Symbol
from keeper.protocols.deri.symbols import Prepared, prepare
from tests.property import deri_spec
from tests.property.deri_markets import EXTREMES, NOW, NUMBER, ORDINARY, random_market

_ROW = "funding delta initial index trader_funding pnl maintenance volume cost realized".split()  # noqa: SIM905


def _same(market: MarketState, account: AccountState, prepared: Prepared, received: tuple[int, ...]) -> str:
    """Compare everything about one call; answers how it ended."""
    naive = deri_spec.liquidate(market, account, prepared.number, prepared.timestamp, received)
    result = liquidate(prepared, account, received)
    revert = None if isinstance(result, Closed) else result.reason
    assert revert == naive.revert
    settlement = result.settlement
    if settlement is None:
        assert naive.margin is None
    else:
        assert settlement.margin == naive.margin
        assert [
            (
                row.funding,
                row.delta_traders_pnl,
                row.delta_initial_margin_required,
                row.index_price,
                row.trader_funding,
                row.trader_pnl,
                row.trader_maintenance_margin_required,
                row.trade_volume,
                row.trade_cost,
                row.trade_realized_cost,
            )
            for row in settlement.symbols
        ] == [tuple(row[key] for key in _ROW) for row in naive.rows]
        assert settlement.funding == naive.sums["funding"]
        assert settlement.delta_traders_pnl == naive.sums["delta"]
        assert settlement.trader_realized_cost == naive.sums["realized"]
    if isinstance(result, Closed):
        assert (result.reward_b0, result.pool.lps_pnl, result.pool.cumulative_pnl_per_liquidity) == (
            naive.reward,
            naive.lps_pnl,
            naive.cumulative,
        )
        for symbol_id, state in result.symbols.items():
            assert {
                "net_volume": state.net_volume,
                "net_cost": state.net_cost,
                "cumulative": state.cumulative_funding_per_volume,
                "traders_pnl": state.traders_pnl,
                "initial": state.initial_margin_required,
                "last_net_volume": state.last_net_volume,
            } == naive.symbols[symbol_id]
    _decision_agrees(decide(prepared, account), revert, naive)
    return revert or "liquidated"


def _decision_agrees(decision: Decision, revert: str | None, naive: deri_spec.Outcome) -> None:
    assert decision.reason == (revert or "")
    if naive.margin is not None:
        assert decision.settled
        assert decision.margin == naive.margin + naive.sums["pnl"]
        assert decision.required == naive.sums["maintenance"]


@settings(max_examples=400, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40), second=st.integers(0, 4))
def test_every_figure_of_a_call_equals_the_transcription(seed: int, second: int) -> None:
    market = random_market(seed)
    prepared = prepare(market, NUMBER, NOW + second)
    for account in market.accounts.values():
        _same(market, account, prepared, tuple(range(10**6, 10**20, 10**19)))


@settings(max_examples=120, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_each_call_of_a_block_sees_what_the_one_before_left_behind(seed: int) -> None:
    market = random_market(seed, ORDINARY)
    prepared = prepare(market, NUMBER, NOW)
    for account in market.accounts.values():
        _same(market, account, prepared, ())
        result = liquidate(prepared, account)
        if isinstance(result, Closed):
            prepared = after(prepared, result)
            symbols = {
                symbol_id: Symbol(symbol.params, result.symbols.get(symbol_id, symbol.state))
                for symbol_id, symbol in market.symbols.items()
            }
            market = replace(market, pool=result.pool, symbols=symbols)
            assert prepared == prepare(market, NUMBER, NOW)


def test_the_random_markets_reach_every_kind_of_ending() -> None:
    endings: Counter[str] = Counter()
    for seed in range(300):
        market = random_market(seed)
        prepared = prepare(market, NUMBER, NOW)
        for account in market.accounts.values():
            endings[_same(market, account, prepared, ()).rpartition(": ")[2]] += 1
    for ending in ("liquidated", "cannot liquidate", "no position", "slippage exceeds allowance", "Panic(0x11)"):
        assert endings[ending] >= 10, endings
    assert endings["Panic(0x12)"] >= 5, endings
    assert any(ending.endswith("expired") for ending in endings)


@pytest.mark.parametrize("extreme", EXTREMES)
def test_every_extreme_is_exact(extreme: str) -> None:
    for seed in range(12):
        market = random_market(seed, extreme)
        prepared = prepare(market, NUMBER, NOW + seed % 5)
        for account in market.accounts.values():
            _same(market, account, prepared, (10**6,))
