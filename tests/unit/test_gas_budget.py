"""The budget's windows."""

from __future__ import annotations

from keeper.chain.budget import Budget, Limits

LIMITS = Limits(hour_wei=100, day_wei=150)


def test_room_shrinks_with_what_was_paid_and_comes_back_after_an_hour() -> None:
    budget = Budget(LIMITS)
    budget.pay(1_000, 90)
    assert budget.room(1_001).wei == 10
    assert budget.room(1_001).refusal == "the gas budget of the hour is used up"
    assert budget.room(1_000 + 3_600).wei == 60
    assert budget.room(1_000 + 3_600).refusal == "the gas budget of the day is used up"
    assert budget.room(1_000 + 86_400).wei == 100


def test_what_was_paid_before_a_restart_counts() -> None:
    assert Budget(LIMITS, [(2_000, 30), (1_000, 60)]).room(2_000).wei == 10


def test_a_reorg_gives_back() -> None:
    budget = Budget(LIMITS)
    budget.pay(1_000, 90)
    budget.pay(1_001, -90)
    assert budget.room(1_002).wei == 100
    assert budget.room(1_000 + 3_600.5).wei == 100


def test_nothing_paid_is_forgotten_before_its_hour_and_nothing_kept_after_its_day() -> None:
    budget = Budget(Limits(hour_wei=10**6, day_wei=10**6))
    for at in range(0, 100_000, 10):
        budget.pay(at, 1)
    assert budget.room(99_999).wei == 10**6 - 8_640
    assert budget.room(99_999 + 86_400).wei == 10**6
