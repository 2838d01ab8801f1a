"""The rules of ``liquidate()``, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.fixed import ONE
from keeper.protocols.deri.settle import Closed, Refused, after, decide, liquidate, reward
from keeper.protocols.deri.state import AccountState, Flavour, MarketState, OracleKind, OracleState, SymbolKind
from keeper.protocols.deri.symbols import prepare
from tests.unit.deri_examples import BTC, CALL, NOW, NUMBER, POOL, PRICE, account, long, market, oracle, symbol

# Long one bitcoin from 20,000: maintenance 1,000 at that price, so an account is under water below 1,000 of margin.
HEALTHY, UNDER_WATER = account(1_000 * ONE, long()), account(1_000 * ONE - 1, long())


def _reason(state: MarketState, one: AccountState | None, second: int = NOW, number: int = NUMBER) -> str:
    result = liquidate(prepare(state, number, second), one)
    return result.reason if isinstance(result, Refused) else ""


def test_an_account_is_liquidatable_strictly_below_its_requirement() -> None:
    assert _reason(market(), UNDER_WATER) == ""
    assert _reason(market(), HEALTHY) == "PoolImplementationLite.liquidate: cannot liquidate"


def test_the_decision_equals_the_call() -> None:
    prepared = prepare(market(), NUMBER, NOW)
    assert decide(prepared, UNDER_WATER).reason == ""
    assert decide(prepared, HEALTHY).reason == _reason(market(), HEALTHY)
    assert decide(prepared, HEALTHY)[1:3] == (1_000 * ONE, 1_000 * ONE)


def test_an_account_without_positions_has_nothing_to_liquidate_however_deep_in_debt() -> None:
    assert _reason(market(), account(-ONE)) == "PoolImplementationLite.liquidate: no position"


def test_a_token_that_does_not_exist_is_refused() -> None:
    assert _reason(market(), None) == "PoolImplementationLite.liquidate: nonexistent pTokenId"


def test_the_full_pool_speaks_under_its_own_name() -> None:
    full = market(pool=replace(POOL, flavour=Flavour.FULL))
    assert _reason(full, HEALTHY) == "PoolImplementation.liquidate: cannot liquidate"


def test_an_oracle_expires_at_the_second_its_allowance_ends() -> None:
    expiry = NOW - 10 + 600
    assert _reason(market(), UNDER_WATER, expiry - 1) == ""
    assert _reason(market(), UNDER_WATER, expiry) == "OracleOffChain.getValue: BTCUSD expired"


def test_chainlink_and_woo_prices_do_not_expire_but_a_faulty_round_reverts() -> None:
    feed = OracleState(OracleKind.CHAINLINK, BTC, "BTCUSD", "", PRICE, NOW - 10_000)
    assert _reason(replace(market(), oracles={BTC: feed}), UNDER_WATER) == ""
    unanswered = replace(feed, fault="the round is not answered")
    assert _reason(replace(market(), oracles={BTC: unanswered}), UNDER_WATER) == "the round is not answered"


def test_a_missing_oracle_and_an_unknown_kind_are_reasons_not_errors() -> None:
    assert "no oracle for 0xb7c" in _reason(replace(market(), oracles={}), UNDER_WATER)
    odd = market(symbol(), symbol(SymbolKind.UNKNOWN))
    assert "ODD is of a kind that the keeper can't price" in _reason(odd, account(0, long(held="0xodd")))
    assert _reason(odd, UNDER_WATER) == ""


def test_the_first_symbol_that_fails_is_the_revert() -> None:
    state = market(symbol(), symbol(SymbolKind.OPTION))
    state = replace(state, oracles={BTC: oracle()})  # no volatility: the option can't be priced, the futures can
    assert "no oracle for 0xv01" in _reason(state, account(0, long(), long(held=CALL)))
    crowded = replace(symbol(net_volume=10 * ONE), state=replace(symbol().state, last_net_volume=10**30))
    moved = replace(state, symbols={**state.symbols, BTC: crowded})
    guard = "SymbolImplementationFutures.settleOnLiquidate: slippage exceeds allowance"
    assert _reason(moved, account(0, long(), long(held=CALL)), number=NUMBER - 1) == guard
    assert "no oracle for 0xv01" in _reason(moved, account(0, long(held=CALL), long()), number=NUMBER - 1)


@pytest.mark.parametrize("kind", [SymbolKind.OPTION, SymbolKind.POWER])
def test_a_panic_is_an_answer(kind: SymbolKind) -> None:
    state = market(symbol(kind))
    still = replace(state.oracles["0xv01"], value=0)
    state = replace(state, oracles={**state.oracles, "0xv01": still})
    (held,) = state.symbols
    if kind is SymbolKind.POWER:  # a volatility with which one minus the variance of a period is exactly zero
        power = state.symbols[held]
        power = replace(power, params=replace(power.params, funding_period_s=31_536_000))
        unit = replace(still, value=ONE)
        state = replace(state, symbols={held: power}, oracles={**state.oracles, "0xv01": unit})
    assert _reason(state, account(0, long(held=held))) == "Panic(0x12)"


def test_funding_makes_an_account_liquidatable_with_time_alone() -> None:
    crowded = market(symbol(net_volume=100 * ONE))  # longs pay
    one = account(1_001 * ONE, long())
    assert "cannot liquidate" in _reason(crowded, one, NOW - 99)
    assert _reason(crowded, one, NOW + 580) == ""


def test_what_a_liquidation_leaves_behind() -> None:
    state = market(symbol(net_volume=5 * ONE))
    result = liquidate(prepare(state, NUMBER, NOW), UNDER_WATER)
    assert isinstance(result, Closed)
    left = result.symbols[BTC]
    assert (left.net_volume, left.net_cost) == (4 * ONE, 4 * PRICE)
    assert (left.funding_timestamp, left.index_price, left.n_position_holders) == (NOW, PRICE, 2)
    assert (left.last_net_volume, left.last_net_volume_block) == (5 * ONE, NUMBER)
    assert result.pool.lps_pnl != 0
    assert result.pool.liquidity == POOL.liquidity


def test_the_guard_stops_closings_in_one_direction_until_the_next_block() -> None:
    # K is 0.002, so the allowance of one percent is 5 bitcoin: closing 4 passes, closing the next 4 as well
    # (it starts within the allowance), and then no long may be closed any more, while a short still may.
    state = market(symbol(net_volume=12 * ONE))
    longs = [account(0, long(4 * ONE), p_token_id=i) for i in range(3)]
    short = account(0, long(-4 * ONE, entry=PRICE // 2))
    prepared = prepare(state, NUMBER, NOW)
    for one in longs[:2]:
        result = liquidate(prepared, one)
        assert isinstance(result, Closed)
        prepared = after(prepared, result)
    refused = liquidate(prepared, longs[2])
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("slippage exceeds allowance")
    waiting = decide(prepared, longs[2])
    assert (waiting.reason, waiting.waits) == (refused.reason, True)
    assert isinstance(liquidate(prepared, short), Closed)
    symbols = {BTC: replace(state.symbols[BTC], state=prepared.symbols[BTC].state)}
    next_block = prepare(replace(state, pool=prepared.pool, symbols=symbols), NUMBER + 1, NOW)
    assert isinstance(liquidate(next_block, longs[2]), Closed)


@pytest.mark.parametrize(
    ("equity", "expected"),
    [
        (-(10**30), 10 * ONE),
        (10 * ONE, 10 * ONE),
        (110 * ONE, 60 * ONE),
        (10**30, 1_000 * ONE),
    ],
)
def test_the_reward_lies_between_its_least_and_its_most(equity: int, expected: int) -> None:
    assert reward(POOL, equity) == expected


def test_the_reward_is_cut_to_the_base_tokens_decimals() -> None:
    assert reward(replace(POOL, decimals_b0=6), 110 * ONE + 3) == 60_000_000


def test_a_volume_beyond_256_bits_panics_and_is_decided_the_same() -> None:
    huge = account(0, long(2**200, entry=ONE))
    prepared = prepare(market(), NUMBER, NOW)
    assert _reason(market(), huge) == "Panic(0x11)"
    assert decide(prepared, huge).reason == "Panic(0x11)"


def test_zero_liquidity_panics_and_negative_liquidity_is_doubted() -> None:
    assert _reason(market(pool=replace(POOL, liquidity=0)), UNDER_WATER) == "Panic(0x12)"
    prepared = prepare(market(pool=replace(POOL, liquidity=-ONE)), NUMBER, NOW)
    assert prepared.symbols[BTC].doubt == "the pool's liquidity is not positive"


def test_a_price_of_power_below_zero_is_doubted() -> None:
    state = market(symbol(SymbolKind.POWER))
    wild = replace(state.oracles["0xv01"], value=100 * ONE)
    prepared = prepare(replace(state, oracles={**state.oracles, "0xv01": wild}), NUMBER, NOW)
    assert prepared.symbols["0x2"].price < 0
    assert prepared.symbols["0x2"].doubt == "theoretical price is negative"


def test_quotes_are_reused_while_price_and_volatility_stay() -> None:
    state = market(symbol(SymbolKind.OPTION), symbol())
    first = prepare(state, NUMBER, NOW)
    later = prepare(state, NUMBER + 1, NOW + 3, first)
    assert later.quotes[CALL] is first.quotes[CALL]
    assert later == prepare(state, NUMBER + 1, NOW + 3)
    moved = replace(state, oracles={**state.oracles, BTC: oracle(value=PRICE + 1)})
    assert prepare(moved, NUMBER, NOW, first) == prepare(moved, NUMBER, NOW)
