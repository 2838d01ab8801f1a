"""The budget's windows and whether a liquidation is worth its gas."""

from __future__ import annotations

from keeper.chain.budget import Budget, Limits, Price, worth

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


def test_a_reward_in_a_token_of_six_decimals_becomes_wei() -> None:
    # 2.5 USDC at 1 USD, a coin at 2000 USD.
    price = Price(base_e18=10**18, native_e18=2_000 * 10**18)
    assert price.to_wei(2_500_000, 6) == 1_250_000_000_000_000
    assert price.to_wei(1, 18) == 0


def test_worth_counts_the_data_fee_and_the_least_profit() -> None:
    assert worth(1_000, gas=10, fee_per_gas_wei=50, data_fee_wei=100, min_profit_wei=400).ok
    assert not worth(1_000, gas=10, fee_per_gas_wei=50, data_fee_wei=101, min_profit_wei=400).ok
    assert worth(1_000, gas=10, fee_per_gas_wei=50).profit_wei == 500
