"""What a stake is good for and what to deposit, on small round numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from keeper.protocols.deri.privileger import duration, eligibility
from keeper.protocols.deri.stake.plan import (
    NEWCOMER,
    after_deposit,
    after_withdrawal,
    headroom,
    plan,
    rank,
    reaches_average,
)
from keeper.protocols.deri.state import PrivilegerState, Stake

DERI = 10**18
US, A, B, C = ("0x" + letter * 40 for letter in "1abc")
LOCK_S = 300
NOW = 1_000_000


def stakes(mine: int, *others: int, minimum: int = 10_000, since: int = NOW - LOCK_S) -> PrivilegerState:
    """Ours in whole DERI, made at ``since``, and the others'."""
    amounts = {US: mine, **dict(zip((A, B, C), others, strict=False))}
    return PrivilegerState(
        min_lock_time_s=LOCK_S,
        min_deposit_amount=minimum * DERI,
        stakes_total=sum(amounts.values()) * DERI,
        stakes_count=sum(amount > 0 for amount in amounts.values()),
        stakes={user: Stake(amount * DERI, since if amount else 0) for user, amount in amounts.items()},
    )


class TestEligibility:
    """The reason, the end of it, and the remedy."""

    def test_without_a_privileger_anyone_may(self) -> None:
        answer = eligibility(None, US, NOW)
        assert (answer.allowed, answer.reason) == (True, "open")

    def test_who_never_staked_may_not(self) -> None:
        answer = eligibility(stakes(0, 30_000, 10_000), US, NOW)
        assert (answer.allowed, answer.reason, answer.until) == (False, "never-staked", None)
        assert "deposit 20,000.00 DERI" in answer.remedy

    def test_below_the_average_says_how_much_is_missing(self) -> None:
        answer = eligibility(stakes(15_000, 30_000, 10_000, minimum=1), US, NOW)
        assert (answer.allowed, answer.reason) == (False, "below-average")
        assert "15,000.00 DERI staked, the average is 18,333.34 DERI" in answer.detail
        assert "deposit another 5,000.00 DERI" in answer.remedy

    def test_exactly_the_average_may(self) -> None:
        assert eligibility(stakes(20_000, 30_000, 10_000), US, NOW).reason == "qualified"

    def test_above_the_average_may(self) -> None:
        assert eligibility(stakes(40_000, 30_000, 10_000), US, NOW).allowed

    def test_the_lock_ends_at_its_second_and_not_before(self) -> None:
        state = stakes(40_000, 10_000, since=NOW)
        locked = eligibility(state, US, NOW + LOCK_S - 1)
        assert (locked.allowed, locked.reason, locked.until) == (False, "locked", NOW + LOCK_S)
        assert "then it qualifies" in locked.detail
        assert eligibility(state, US, NOW + LOCK_S).reason == "qualified"

    def test_a_lock_on_too_little_says_so(self) -> None:
        locked = eligibility(stakes(10_000, 40_000, since=NOW), US, NOW)
        assert locked.reason == "locked"
        assert "even then it is not enough" in locked.detail
        assert "deposit another 30,000.00 DERI now" in locked.remedy

    def test_who_withdrew_everything_is_told_apart_from_who_never_staked(self) -> None:
        state = after_withdrawal(stakes(40_000, 10_000), US, 40_000 * DERI)
        assert eligibility(state, US, NOW).reason == "withdrawn"


class TestHeadroom:
    def test_it_is_what_the_others_may_add(self) -> None:
        state = stakes(25_000, 30_000, 10_000)
        room = headroom(state, US)
        assert room.present == 10_000 * DERI
        assert room.percent == Decimal(25)
        assert reaches_average(after_deposit(state, A, 10_000 * DERI, NOW), US)
        assert not reaches_average(after_deposit(state, A, 10_000 * DERI + 1, NOW), US)

    def test_a_newcomer_with_the_least_deposit_makes_room(self) -> None:
        state = stakes(25_000, 30_000, 10_000)
        room = headroom(state, US)
        assert room.with_newcomer == 25_000 * DERI
        joined = after_deposit(state, C, 10_000 * DERI, NOW)
        assert reaches_average(after_deposit(joined, A, room.with_newcomer, NOW), US)
        assert not reaches_average(after_deposit(joined, A, room.with_newcomer + 1, NOW), US)

    def test_a_small_staker_who_leaves_takes_room_away(self) -> None:
        state = stakes(25_000, 30_000, 10_000)
        amounts = {user: stake.amount for user, stake in state.stakes.items()}
        assert headroom(state, US).without_smallest is None
        assert headroom(state, US, amounts).without_smallest == -5_000 * DERI
        assert not reaches_average(after_withdrawal(state, B, 10_000 * DERI), US)

    def test_below_the_average_it_is_negative(self) -> None:
        assert headroom(stakes(10_000, 30_000), US).present == -20_000 * DERI

    def test_a_sole_staker_has_nobody_to_fear_at_the_present_count(self) -> None:
        room = headroom(stakes(10_000), US)
        assert (room.present, room.percent, room.with_newcomer) == (None, None, 0)

    def test_rank_counts_the_larger_ones(self) -> None:
        amounts = {US: 20, A: 30, B: 20, C: 10}
        assert [rank(amounts, user) for user in (A, US, B, C)] == [1, 2, 2, 4]
        assert rank(amounts, NEWCOMER) is None


class TestPlan:
    def test_a_first_deposit_reaches_the_average_of_the_others(self) -> None:
        proposal = plan(stakes(0, 30_000, 10_000), US, NOW, Decimal(10))
        assert (proposal.least, proposal.with_margin) == (20_000 * DERI, 22_000 * DERI)
        assert not proposal.interrupts
        assert proposal.second is None

    def test_the_least_deposit_of_the_contract_is_the_floor(self) -> None:
        assert plan(stakes(19_999, 30_000, 10_000), US, NOW).least == 10_000 * DERI

    def test_the_first_staker_of_all_needs_the_least_deposit(self) -> None:
        assert plan(stakes(0), US, NOW, Decimal(50)).with_margin == 10_000 * DERI
        assert plan(stakes(0, minimum=0), US, NOW).least == 1

    def test_who_has_the_margin_needs_nothing(self) -> None:
        proposal = plan(stakes(22_000, 30_000, 10_000), US, NOW, Decimal(10))
        assert (proposal.least, proposal.with_margin, proposal.second) == (0, 0, None)

    def test_the_margin_counts_whole_units(self) -> None:
        state = replace(stakes(0, 1, 1, minimum=0), stakes_total=3, stakes_count=2)
        # 10 % of 3 units is less than one unit, which nobody can add.
        assert plan(state, US, NOW, Decimal(10)).with_margin == plan(state, US, NOW).least == 2
        assert plan(state, US, NOW, Decimal("33.4")).with_margin == 2
        assert plan(state, US, NOW, Decimal(67)).with_margin == 3

    def test_a_top_up_of_a_qualified_signer_interrupts_and_offers_a_second_one(self) -> None:
        proposal = plan(stakes(25_000, 30_000, 10_000), US, NOW, Decimal(50))
        assert (proposal.least, proposal.with_margin, proposal.lock_s) == (0, 10_000 * DERI, LOCK_S)
        assert proposal.interrupts
        second = proposal.second
        assert second is not None
        assert (second.address, second.ready) == (NEWCOMER, False)
        assert second.deposit == 25_000 * DERI

    @pytest.mark.parametrize(
        ("mine", "minimum", "deposit", "keeps"),
        [
            # 25,000 tops up by 10,000; 25,000 are a third of 40,000 + 35,000, and the average is not moved past 25,000.
            (25_000, 10_000, 25_000, True),
            # 22,000 has room for 26,000 of a fourth staker, and 24,000 of it outlast the 10,000 of the top-up.
            (22_000, 10_000, 24_000, True),
            # The least that the privileger takes is more than there is room for.
            (20_000, 25_000, 28_334, False),
        ],
    )
    def test_the_second_deposit_outlasts_the_top_up_and_may_leave_the_first_qualified(
        self, mine: int, minimum: int, deposit: int, keeps: bool
    ) -> None:
        state = stakes(mine, 30_000, 10_000, minimum=minimum)
        second = plan(state, US, NOW, Decimal(50)).second
        assert second is not None
        assert second.deposit is not None
        assert (-(-second.deposit // DERI), second.keeps_first) == (deposit, keeps)
        assert reaches_average(after_deposit(state, C, second.deposit, NOW), US) is keeps

    def test_a_second_signer_that_stays_qualified_needs_nothing(self) -> None:
        second = plan(stakes(25_000, 40_000, 10_000), US, NOW, Decimal(50), second=A).second
        assert second is not None
        assert (second.address, second.deposit, second.ready) == (A, 0, True)

    def test_two_alone_outbid_each_other(self) -> None:
        state = stakes(20_000, 10_000)
        second = plan(state, US, NOW, Decimal(200), second=A).second
        assert second is not None
        assert second.deposit is None

    def test_a_signer_that_is_below_loses_nothing_by_a_deposit(self) -> None:
        assert not plan(stakes(10_000, 30_000), US, NOW).interrupts


class TestMoves:
    def test_a_deposit_starts_the_lock_of_the_whole_stake_anew(self) -> None:
        after = after_deposit(stakes(25_000, 30_000), US, 10_000 * DERI, NOW)
        assert after.stakes[US] == Stake(35_000 * DERI, NOW)
        assert (after.stakes_total, after.stakes_count) == (65_000 * DERI, 2)
        assert eligibility(after, US, NOW).reason == "locked"

    def test_a_first_deposit_adds_a_staker(self) -> None:
        assert after_deposit(stakes(0, 30_000), US, 10_000 * DERI, NOW).stakes_count == 2

    def test_a_withdrawal_leaves_the_lock_as_it_is(self) -> None:
        before = stakes(25_000, 30_000)
        after = after_withdrawal(before, US, 5_000 * DERI)
        assert after.stakes[US] == Stake(20_000 * DERI, before.stakes[US].timestamp)
        assert after.stakes_count == 2

    def test_a_full_withdrawal_takes_a_staker_away(self) -> None:
        after = after_withdrawal(stakes(25_000, 30_000), US, 25_000 * DERI)
        assert (after.stakes_total, after.stakes_count) == (30_000 * DERI, 1)

    def test_the_last_staker_leaves_nothing_behind(self) -> None:
        after = after_withdrawal(stakes(25_000), US, 25_000 * DERI)
        assert (after.stakes_total, after.stakes_count) == (0, 0)
        assert not eligibility(after, US, NOW).allowed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (5, "5 s"), (300, "5 min"), (3_661, "1 h 1 min"), (86_400, "1 d"), (90_061, "1 d 1 h")],
)
def test_a_duration_has_its_two_largest_units(seconds: int, text: str) -> None:
    assert duration(seconds) == text
