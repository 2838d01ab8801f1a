"""A verdict holds for a window, not for a second."""

from __future__ import annotations

from dataclasses import replace

from keeper.fixed import ONE
from keeper.model import Verdict, Window
from keeper.protocols.deri.outlook import Outlook
from keeper.protocols.deri.settle import Closed, after, decide, liquidate
from keeper.protocols.deri.state import AccountState, Flavour, MarketState, SymbolKind, VaultState
from keeper.protocols.deri.symbols import prepare
from tests.unit.deri_examples import NOW, NUMBER, POOL, account, long, market, symbol
from tests.unit.test_deri_vault import BASE, COIN

CROWDED = market(symbol(net_volume=100 * ONE))
"""Longs pay: a bitcoin's funding is some 0.046 a second."""


def _outlook(state: MarketState = CROWDED, earliest: int = NOW, latest: int = NOW + 6) -> Outlook:
    return Outlook(state, Window(NUMBER, earliest, latest))


def _slack_at(second: int, one: AccountState, state: MarketState = CROWDED) -> int:
    decision = decide(prepare(state, NUMBER, second), one)
    return decision.margin - decision.required


def _crossing(second: int) -> AccountState:
    """An account that is healthy at ``second`` and liquidatable one second later."""
    one = account(2_000 * ONE, long())
    return account(2_000 * ONE - _slack_at(second, one), long())


def test_healthy_and_liquidatable_mean_at_every_second() -> None:
    assert _outlook().judge(_crossing(NOW + 6)).verdict is Verdict.HEALTHY
    judged = _outlook().judge(_crossing(NOW - 1))
    assert (judged.verdict, judged.reason) == (Verdict.LIQUIDATABLE, "")
    assert judged.margin < judged.required
    assert judged.reward_b0 > 0


def test_liquidatable_at_some_second_only_is_marginal() -> None:
    for second in range(NOW, NOW + 6):
        judged = _outlook().judge(_crossing(second))
        assert judged.verdict is Verdict.MARGINAL
        assert judged.reason.endswith("cannot liquidate")


def test_a_price_that_expires_within_the_window_is_marginal_at_best() -> None:
    expiry = NOW + 590
    outlook = _outlook(earliest=expiry - 2, latest=expiry + 2)
    assert outlook.judge(account(0, long())).verdict is Verdict.MARGINAL
    assert outlook.judge(account(100_000 * ONE, long())).verdict is Verdict.HEALTHY
    gone = _outlook(earliest=expiry, latest=expiry + 2).judge(account(0, long()))
    assert (gone.verdict, gone.reason) == (Verdict.UNASSESSABLE, "OracleOffChain.getValue: BTCUSD expired")


def test_an_inner_second_is_found_though_neither_end_is_liquidatable() -> None:
    expiry = NOW + 590
    crossing = _crossing(expiry - 3)  # healthy at the first second, under water at two more, then the price is too old
    judged = _outlook(earliest=expiry - 3, latest=expiry + 1).judge(crossing)
    assert judged.verdict is Verdict.MARGINAL


def test_where_contracts_count_other_blocks_the_guard_goes_by_their_number() -> None:
    """A trade in the head's ``block.number`` still counts: the next block of the chain may have the same one."""
    closed_before = symbol(net_volume=8 * ONE)
    state = replace(closed_before.state, last_net_volume=100 * ONE, last_net_volume_block=NUMBER + 5)
    crowded = market(replace(closed_before, state=state))
    for number, verdict in ((NUMBER + 5, Verdict.WAITS), (NUMBER + 6, Verdict.LIQUIDATABLE)):
        assert _outlook(replace(crowded, block_number=number)).judge(account(0, long())).verdict is verdict


def test_the_guard_makes_an_account_wait_not_healthy() -> None:
    closed_before = symbol(net_volume=8 * ONE)
    state = replace(closed_before.state, last_net_volume=100 * ONE, last_net_volume_block=NUMBER)
    outlook = _outlook(market(replace(closed_before, state=state)))
    judged = outlook.judge(account(0, long()))
    assert judged.verdict is Verdict.WAITS
    assert judged.reason.endswith("slippage exceeds allowance")
    assert outlook.judge(account(10**6 * ONE, long())).verdict is Verdict.HEALTHY


def test_figures_that_are_doubted_are_not_acted_on() -> None:
    outlook = _outlook(market(pool=replace(POOL, liquidity=-ONE)))
    judged = outlook.judge(account(0, long()))
    assert (judged.verdict, judged.reason) == (
        Verdict.UNASSESSABLE,
        "BTCUSD: the pool's liquidity is not positive",
    )


def test_no_position_is_healthy() -> None:
    assert _outlook().judge(account(-ONE)).verdict is Verdict.HEALTHY


def test_a_window_never_starts_before_the_last_funding() -> None:
    outlook = _outlook(earliest=NOW - 10_000, latest=NOW - 9_000)
    assert (outlook.earliest, outlook.latest) == (NOW - 100, NOW - 100)


def test_closing_moves_every_second_of_the_window() -> None:
    first, second = account(0, long(4 * ONE), p_token_id=1), account(0, long(4 * ONE), p_token_id=2)
    outlook = _outlook()
    outlook.close(first)
    for prepared in (outlook.first, outlook.last):
        before = prepare(CROWDED, NUMBER, prepared.timestamp)
        result = liquidate(before, first)
        assert isinstance(result, Closed)
        assert prepared == after(before, result)
    assert outlook.judge(second).verdict is Verdict.LIQUIDATABLE
    outlook.close(second)
    assert outlook.judge(account(0, long(4 * ONE), p_token_id=3)).verdict is Verdict.WAITS


def test_what_is_closed_is_closed_at_the_inner_seconds_too() -> None:
    expiry = NOW + 590
    outlook = _outlook(earliest=expiry - 3, latest=expiry + 1)
    third = account(0, long(4 * ONE), p_token_id=3)
    assert outlook.judge(third).verdict is Verdict.MARGINAL
    outlook = _outlook(earliest=expiry - 3, latest=expiry + 1)
    for p_token_id in (1, 2):
        outlook.close(account(0, long(4 * ONE), p_token_id=p_token_id))
    assert outlook.judge(third).verdict is Verdict.WAITS


def test_an_earlier_outlook_lends_its_quotes() -> None:
    state = market(symbol(SymbolKind.OPTION), symbol())
    earlier = _outlook(state)
    later = Outlook(state, Window(NUMBER + 1, NOW + 3, NOW + 9), earlier)
    assert later.first.quotes["0xca11"] is earlier.first.quotes["0xca11"]
    assert later.first == prepare(state, NUMBER + 1, NOW + 3)


def test_with_a_vault_the_reward_is_a_lower_bound() -> None:
    pool = replace(POOL, flavour=Flavour.FULL)
    state = market(pool=pool, vault_markets=(BASE, COIN))
    one = replace(account(0, long(ONE // 10)), vault=VaultState("", (("vB0", 80 * ONE),)))
    judged = _outlook(state).judge(one)
    assert judged.verdict is Verdict.LIQUIDATABLE
    prepared = prepare(state, NUMBER, NOW)
    with_interest = liquidate(prepared, one, (80 * ONE + 10**9,))
    assert isinstance(with_interest, Closed)
    assert POOL.min_liquidation_reward < judged.reward_b0 <= with_interest.reward_b0


def test_a_unit_that_truncation_takes_within_the_window_is_found() -> None:
    # A long and a short in two symbols whose funding runs alike but was last stored at different seconds: the sum stays
    # level but for a unit that comes and goes with the truncation of each.
    one, other = symbol(net_volume=7 * ONE), symbol(net_volume=7 * ONE)
    other = replace(
        other,
        params=replace(other.params, symbol_id="0x07e4"),
        state=replace(other.state, funding_timestamp=NOW - 137),
    )
    state = market(one, other)
    hedged = account(0, long(), long(-ONE, held="0x07e4"))
    slacks = {second: _slack_at(second, hedged, state) for second in range(NOW, NOW + 60)}
    start = next(t for t in range(NOW, NOW + 57) if slacks[t + 1] < min(slacks[t], slacks[t + 3]))
    under = replace(hedged, amount_b0=-slacks[start + 1] - 1)
    judged = _outlook(state, start, start + 3).judge(under)
    assert judged.verdict is Verdict.MARGINAL


def test_the_reward_promised_is_the_least_of_the_window() -> None:
    """Longs pay here, so what is left of one falls by the second."""
    state = market(symbol(net_volume=100 * ONE), pool=replace(POOL, max_liquidation_reward=10**30))
    one = account(900 * ONE, long())
    paid = []
    for second in (NOW, NOW + 500):
        result = liquidate(prepare(state, NUMBER, second), one)
        assert isinstance(result, Closed)
        paid.append(result.reward_b0)
    assert paid[0] > paid[1]
    assert _outlook(state, NOW, NOW + 500).judge(one).reward_b0 == paid[1]
