"""``plan`` is exact for any stakes: its deposit is sufficient, and one unit less is not. The pure form.

``tests/chain/test_stake_plan.py`` asks the contract the same.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keeper.protocols.deri.privileger import eligibility, is_qualified, others_of
from keeper.protocols.deri.stake.amounts import format_amount, parse_amount
from keeper.protocols.deri.stake.plan import NEWCOMER, after_deposit, headroom, plan, reaches_average
from keeper.protocols.deri.state import PrivilegerState, Stake

US = "us"
LOCK_S = 3_600
NOW = 10_000_000
AMOUNTS = st.integers(1, 10**27) | st.integers(1, 50)


@st.composite
def privilegers(draw: st.DrawFn) -> PrivilegerState:
    """Any stakes of others, any of ours (none included), and any least deposit."""
    others = draw(st.lists(AMOUNTS, max_size=12))
    mine = draw(st.just(0) | AMOUNTS)
    return PrivilegerState(
        min_lock_time_s=LOCK_S,
        min_deposit_amount=draw(st.just(0) | AMOUNTS),
        stakes_total=sum(others) + mine,
        stakes_count=len(others) + (mine > 0),
        stakes={US: Stake(mine, 0), **{str(n): Stake(amount, 0) for n, amount in enumerate(others)}},
    )


@st.composite
def qualified(draw: st.DrawFn) -> PrivilegerState:
    """Stakes of which ours is no less than the average, by little or by much."""
    state = draw(privilegers().filter(lambda drawn: drawn.stakes_count > (drawn.stakes[US].amount > 0)))
    others, count = others_of(state, US)
    mine = -(-others // count) + draw(st.integers(0, 1 + others // count))
    stakes = {**state.stakes, US: Stake(mine, 0)}
    return replace(state, stakes_total=others + mine, stakes_count=count + 1, stakes=stakes)


MARGINS = st.decimals(0, 300, places=2)


@settings(derandomize=True, max_examples=300)
@given(privilegers())
def test_the_least_deposit_qualifies_once_the_lock_ends_and_one_unit_less_does_not(state: PrivilegerState) -> None:
    deposit = plan(state, US, NOW).least
    after = after_deposit(state, US, deposit, NOW)
    if deposit == 0:
        assert is_qualified(state, US, NOW)
        return
    assert is_qualified(after, US, NOW + LOCK_S - 1) is None
    assert is_qualified(after, US, NOW + LOCK_S)
    if deposit > max(state.min_deposit_amount, 1):
        assert not is_qualified(after_deposit(state, US, deposit - 1, NOW), US, NOW + LOCK_S)


@settings(derandomize=True, max_examples=300)
@given(privilegers(), MARGINS)
def test_with_a_margin_it_still_qualifies_after_the_others_have_added_it(
    state: PrivilegerState, margin: Decimal
) -> None:
    assume(state.stakes_count > (state.stakes[US].amount > 0))
    deposit = plan(state, US, NOW, margin).with_margin
    others = state.stakes_total - state.stakes[US].amount
    added = int(others * Fraction(margin) / 100)
    assume(added > 0)
    ready = after_deposit(state, US, deposit, NOW) if deposit else state
    assert reaches_average(after_deposit(ready, "0", added, NOW), US)
    if deposit > max(state.min_deposit_amount, 1):
        short = after_deposit(state, US, deposit - 1, NOW)
        assert not reaches_average(after_deposit(short, "0", added, NOW), US)


@settings(derandomize=True, max_examples=300)
@given(qualified(), st.decimals(Decimal("0.1"), 120, places=1), st.booleans())
def test_the_way_around_a_top_up_leaves_no_moment_without_a_qualified_signer(
    state: PrivilegerState, margin: Decimal, has_second: bool
) -> None:
    second = "0" if has_second and "0" in state.stakes else NEWCOMER
    advice = plan(state, US, NOW, margin, second).second
    assume(advice is not None)
    assert advice is not None
    assume(advice.deposit is not None)
    assert advice.deposit is not None
    deposited = after_deposit(state, second, advice.deposit, NOW) if advice.deposit else state
    assert advice.keeps_first == bool(is_qualified(deposited, US, NOW))
    assert advice.keeps_first or advice.deposit
    unlocked = NOW + LOCK_S
    top_up = plan(deposited, US, unlocked, margin).with_margin
    done = after_deposit(deposited, US, top_up, unlocked) if top_up else deposited
    assert is_qualified(done, second, unlocked)
    assert is_qualified(done, US, unlocked + LOCK_S)


@settings(derandomize=True, max_examples=300)
@given(privilegers())
def test_headroom_is_exact(state: PrivilegerState) -> None:
    room = headroom(state, US).present
    assume(room is not None and state.stakes[US].amount)
    assert room is not None
    assert (room >= 0) == reaches_average(state, US)
    if room >= 0:
        assert reaches_average(after_deposit(state, "0", room, NOW), US)
        assert not reaches_average(after_deposit(state, "0", room + 1, NOW), US)


@settings(derandomize=True, max_examples=300)
@given(privilegers(), st.integers(0, 2 * LOCK_S))
def test_eligibility_is_the_contracts_answer_with_a_reason(state: PrivilegerState, at: int) -> None:
    answer = eligibility(state, US, at)
    qualified = is_qualified(state, US, at)
    assert answer.allowed is bool(qualified)
    assert (answer.reason == "locked") is (qualified is None)
    assert (answer.until is not None) is (qualified is None)
    assert bool(answer.remedy) is not answer.allowed


@settings(derandomize=True, max_examples=300)
@given(st.integers(1, 10**40), st.integers(0, 30))
def test_an_amount_survives_being_shown_and_read(amount: int, decimals: int) -> None:
    assert parse_amount(format_amount(amount, decimals), decimals) == amount
