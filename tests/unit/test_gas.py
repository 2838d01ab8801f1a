"""Fee policies, ceilings and replacements, as tables."""

from __future__ import annotations

import pytest

from keeper.chain.gas import (
    Demand,
    FeeMarket,
    FeeRules,
    FeeSettings,
    bid,
    bumped,
    cheaper_to_cancel,
    next_base_fee_wei,
    next_fees,
    tips_of_history,
)
from keeper.chain.transaction import Fees
from keeper.model import Header

GWEI = 10**9


def header(base: int | None, used: int, limit: int = 30_000_000) -> Header:
    return Header(1, "0x01", "0x00", 0, limit, used, base)


@pytest.mark.parametrize(
    ("base", "used", "expected"),
    [
        # Worked by hand from EIP-1559: the change is base * |used - target| / target / 8, at least 1 when it rises.
        (1_000_000_000, 15_000_000, 1_000_000_000),
        (1_000_000_000, 30_000_000, 1_125_000_000),
        (1_000_000_000, 0, 875_000_000),
        (1_000_000_000, 20_000_000, 1_041_666_666),
        (7, 15_000_001, 8),
        (7, 0, 7),
        (None, 10, None),
    ],
)
def test_the_next_base_fee_follows_the_header(base: int | None, used: int, expected: int | None) -> None:
    assert next_base_fee_wei(header(base, used)) == expected


def test_a_header_without_a_gas_limit_says_nothing_of_the_next_base_fee() -> None:
    assert next_base_fee_wei(header(7, 0, limit=0)) == 7
    assert next_base_fee_wei(header(7, 1, limit=1)) == 7


def test_the_base_fee_of_an_op_stack_chain_moves_slower() -> None:
    assert (
        next_base_fee_wei(header(1_000_000_000, 30_000_000), FeeRules(elasticity=6, denominator=250)) == 1_020_000_000
    )


MARKET = FeeMarket(10 * GWEI, recent_tips_wei=(GWEI, 3 * GWEI, 2 * GWEI), gas_price_wei=12 * GWEI)
RICH = Demand(reward_wei=10**18, gas_limit=1_000_000)


@pytest.mark.parametrize(
    ("settings", "demand", "expected"),
    [
        (FeeSettings("fixed-tip", tip_wei=GWEI), RICH, Fees(21 * GWEI, GWEI)),
        (FeeSettings("percentile-tip", tip_wei=GWEI), RICH, Fees(22 * GWEI, 2 * GWEI)),
        (FeeSettings("percentile-tip", tip_wei=5 * GWEI), RICH, Fees(25 * GWEI, 5 * GWEI)),
        (FeeSettings("legacy", tip_wei=GWEI), RICH, Fees(13 * GWEI, None)),
        # Profit 0.03 coins - 0.01 for the base fee = 0.02; 5% of that over 1M gas is 1 gwei.
        (FeeSettings("profit-share", tip_wei=1), Demand(3 * 10**16, 10**6), Fees(21 * GWEI, GWEI)),
        (FeeSettings("profit-share", tip_wei=1), Demand(3 * 10**16, 10**6, age_blocks=1), Fees(22 * GWEI, 2 * GWEI)),
        (FeeSettings("profit-share", tip_wei=1), Demand(3 * 10**16, 10**6, 1, losses=2), Fees(24 * GWEI, 4 * GWEI)),
        # Never more than share_percent: 30% of 0.02 coins over 1M gas; and the ceiling is what the reward can bear.
        (FeeSettings("profit-share", tip_wei=1), Demand(3 * 10**16, 10**6, 99), Fees(26 * GWEI, 6 * GWEI)),
        (FeeSettings("profit-share", 1, share_percent=100), Demand(3 * 10**16, 10**6, 99), Fees(30 * GWEI, 20 * GWEI)),
        # The operator's ceiling cuts the maximum, and a tip that would not fit under it.
        (FeeSettings("fixed-tip", tip_wei=GWEI, max_fee_wei=15 * GWEI), RICH, Fees(15 * GWEI, GWEI)),
        (FeeSettings("fixed-tip", tip_wei=20 * GWEI, max_fee_wei=15 * GWEI), RICH, Fees(15 * GWEI, 15 * GWEI)),
        # Out of reach: by the operator's ceiling, or because the reward does not cover the gas.
        (FeeSettings("fixed-tip", tip_wei=GWEI, max_fee_wei=10 * GWEI - 1), RICH, None),
        (FeeSettings("fixed-tip", tip_wei=GWEI), Demand(10**15, 10**6), None),
    ],
)  # fmt: skip
def test_a_policy_bids_under_its_ceilings(settings: FeeSettings, demand: Demand, expected: Fees | None) -> None:
    assert bid(settings, MARKET, demand) == expected


def test_a_bid_at_a_used_nonce_starts_at_its_floor() -> None:
    settings = FeeSettings("fixed-tip", tip_wei=GWEI)
    assert bid(settings, MARKET, RICH, Fees(40 * GWEI, 3 * GWEI)) == Fees(40 * GWEI, 3 * GWEI)
    assert bid(settings, MARKET, RICH, Fees(51 * GWEI, GWEI)) is None


@pytest.mark.parametrize(
    ("previous", "market", "age", "ceiling", "expected"),
    [
        # Both fees rise by 12.5%, rounded up, and by one wei at least.
        (Fees(800, 80), Fees(0, 0), 1, 10_000, Fees(900, 90)),
        (Fees(801, 0), Fees(0, 0), 1, 10_000, Fees(902, 1)),
        # The market's price counts when it is higher.
        (Fees(800, 80), Fees(2_000, 85), 1, 10_000, Fees(2_000, 90)),
        # Age raises more: two bumps after two blocks, six at most.
        (Fees(800, 80), Fees(0, 0), 2, 10_000, Fees(1_013, 102)),
        (Fees(800, 80), Fees(0, 0), 60, 10_000, Fees(1_625, 166)),
        # The ceiling cuts what age and market want, never what the node demands.
        (Fees(800, 80), Fees(2_000, 85), 1, 950, Fees(950, 90)),
        (Fees(800, 80), Fees(0, 0), 1, 900, Fees(900, 90)),
        (Fees(800, 80), Fees(0, 0), 1, 899, None),
        (Fees(800, None), Fees(1_000, None), 1, 10_000, Fees(1_000, None)),
    ],
)
def test_next_fees(previous: Fees, market: Fees, age: int, ceiling: int, expected: Fees | None) -> None:
    assert next_fees(previous, market, age, ceiling) == expected


def test_cancelling_is_weighed_against_the_whole_gas_limit() -> None:
    pending = Fees(100 * GWEI, GWEI)
    assert cheaper_to_cancel(pending, 400_000, bumped(pending), 10 * GWEI)
    assert not cheaper_to_cancel(pending, 400_000, Fees(300 * GWEI, 290 * GWEI), 10 * GWEI)


def test_empty_blocks_say_nothing_about_tips() -> None:
    assert tips_of_history([[5], [0], [], [7]]) == (5, 7)
