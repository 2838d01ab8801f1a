"""What may be spent on closings that pay nobody."""

from __future__ import annotations

import pytest

from keeper.errors import StoreError
from keeper.protocols.meridian.unpaid import DAY_S, Policy, UnpaidBudget, UnpaidTerms

COIN = 10**18
TERMS = UnpaidTerms(Policy.BUDGET, most_wei=COIN // 10, budget_wei=COIN // 4, native_price_e18=300 * COIN)


def test_never_grants_nothing() -> None:
    assert UnpaidBudget(UnpaidTerms(Policy.NEVER, most_wei=COIN)).grant_e18(0, 0) == 0


def test_always_grants_the_most_for_each_and_the_profit_that_is_asked_of_all() -> None:
    terms = UnpaidTerms(Policy.ALWAYS, most_wei=COIN // 10, native_price_e18=300 * COIN, min_profit_e18=2 * COIN)
    budget = UnpaidBudget(terms)
    budget.record(100 * COIN, now=1)
    assert budget.grant_e18(50, now=2) == 32 * COIN


def test_a_budget_counts_what_was_spent_in_the_last_day_and_what_is_on_its_way() -> None:
    budget = UnpaidBudget(TERMS)
    assert [budget.grant_e18(reserved, now=0) // COIN for reserved in range(4)] == [30, 30, 15, 0]
    budget.record(COIN // 5, now=10)
    assert budget.grant_e18(0, now=20) == 15 * COIN
    assert budget.grant_e18(0, now=10 + DAY_S) == 30 * COIN


def test_what_was_spent_outlives_a_restart() -> None:
    before, after = UnpaidBudget(TERMS), UnpaidBudget(TERMS)
    before.record(COIN // 5, now=10)
    after.load(before.dump())
    assert after.spent_wei(11) == COIN // 5
    with pytest.raises(StoreError):
        after.load(b"nonsense")
