"""Who may liquidate."""

from __future__ import annotations

import pytest

from keeper.fixed import ONE
from keeper.protocols.deri.privileger import eligibility, is_qualified, missing_stake
from keeper.protocols.deri.state import PrivilegerState, Stake

ME = "0xme"
DAY = 86_400
NOW = 1_700_000_000


def _privileger(mine: int, others: tuple[int, ...] = (), staked_at: int = 0, least: int = 0) -> PrivilegerState:
    stakes = [stake for stake in (mine, *others) if stake]
    return PrivilegerState(
        min_lock_time_s=3 * DAY,
        min_deposit_amount=least,
        stakes_total=sum(stakes),
        stakes_count=len(stakes),
        stakes={ME: Stake(mine, staked_at)} if mine else {},
    )


def test_without_a_privileger_anyone_may() -> None:
    assert is_qualified(None, ME, NOW)
    assert eligibility(None, ME, NOW).reason == "open"


@pytest.mark.parametrize(
    ("mine", "others", "qualified"),
    [
        (10, (10,), True),
        (10, (11,), False),
        (10, (), True),
        (0, (10,), False),
        (0, (), False),
        (5, (4, 6), True),
        (5, (5, 6), False),
    ],
)
def test_a_stake_no_less_than_the_average_qualifies(mine: int, others: tuple[int, ...], qualified: bool) -> None:
    state = _privileger(mine, others)
    assert is_qualified(state, ME, NOW) is qualified
    assert eligibility(state, ME, NOW).allowed is qualified


def test_the_lock_reverts_rather_than_answers_until_its_last_second_has_passed() -> None:
    state = _privileger(10, staked_at=NOW)
    assert is_qualified(state, ME, NOW + 3 * DAY - 1) is None
    assert is_qualified(state, ME, NOW + 3 * DAY) is True
    told = eligibility(state, ME, NOW)
    assert (told.allowed, told.reason, told.until) == (False, "locked", NOW + 3 * DAY)


def test_a_top_up_is_advised_while_locked_only_if_it_will_be_needed_anyway() -> None:
    assert "would start the lock anew" in eligibility(_privileger(10, (5,), NOW), ME, NOW).remedy
    assert "now rather than later" in eligibility(_privileger(10, (500,), NOW), ME, NOW).remedy


@pytest.mark.parametrize(("mine", "others"), [(0, (7,)), (3, (10, 11)), (1, (9, 9, 9)), (0, (5, 6, 7)), (2, (3,))])
def test_the_missing_stake_is_the_least_that_qualifies(mine: int, others: tuple[int, ...]) -> None:
    short = missing_stake(_privileger(mine, others), ME)
    assert is_qualified(_privileger(mine + short, others), ME, NOW)
    assert not is_qualified(_privileger(mine + short - 1, others), ME, NOW)


def test_a_deposit_is_never_less_than_the_privileger_takes() -> None:
    assert missing_stake(_privileger(3, (4,), least=1000), ME) == 1000
    assert missing_stake(_privileger(5, (4,), least=1000), ME) == 0


def test_reasons_name_the_case_and_the_remedy() -> None:
    never = eligibility(_privileger(0, (10 * ONE,)), ME, NOW)
    below = eligibility(_privileger(5 * ONE, (10 * ONE,)), ME, NOW)
    assert (never.reason, below.reason) == ("never-staked", "below-average")
    assert "10.00 DERI" in never.remedy
    assert "another 5.00 DERI" in below.remedy
