"""A local market's accounts come out as its cohorts say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.devnet.deri_traders import plan_traders
from keeper.devnet.deri_world import BNB, BTC, ETH, ONE, Cohort, DeriWorld, e18, moved, three_futures
from keeper.errors import ConfigError

LONGS = Cohort("longs", 20, 1, (0.02, 0.2))
SHORTS = Cohort("shorts", 20, -1, (0.02, 0.2), positions=(2, 2))


def world(*cohorts: Cohort) -> DeriWorld:
    return DeriWorld(symbols=(BTC, ETH, BNB), cohorts=cohorts)


def test_numbers_become_fixed_point_exactly() -> None:
    assert e18("0.05") == 5 * 10**16
    with pytest.raises(ValueError, match="more than 18 decimals"):
        e18("0.0000000000000000001")


def test_the_same_world_has_the_same_accounts() -> None:
    assert plan_traders(world(LONGS, SHORTS)) == plan_traders(world(LONGS, SHORTS))
    other = replace(world(LONGS, SHORTS), seed=2)
    assert plan_traders(other)[0].owner != plan_traders(world(LONGS, SHORTS))[0].owner


def test_a_larger_cohort_leaves_the_others_margins_alone() -> None:
    small = [t.margin_b0 for t in plan_traders(world(LONGS, SHORTS)) if t.cohort == "shorts"]
    large = [t.margin_b0 for t in plan_traders(world(replace(LONGS, traders=50), SHORTS)) if t.cohort == "shorts"]
    assert small == large


def test_a_cohort_has_its_traders_on_its_side_with_its_positions() -> None:
    traders = plan_traders(world(LONGS, SHORTS))
    assert [t.p_token_id for t in traders] == list(range(1, 41))
    for trader in traders:
        assert trader.side == (1 if trader.cohort == "longs" else -1)
        assert all(p.volume_e18 * trader.side > 0 and p.cost_e18 * trader.side > 0 for p in trader.positions)
        assert trader.cohort == "longs" or len(trader.positions) == 2


def test_a_cohort_without_a_side_has_both() -> None:
    assert {t.side for t in plan_traders(world(replace(LONGS, side=0)))} == {1, -1}


def test_at_its_distance_an_account_has_just_its_maintenance_margin() -> None:
    prices = {symbol.name: symbol.price_e18 for symbol in (BTC, ETH, BNB)}
    for trader in plan_traders(world(LONGS, SHORTS)):
        factor = 1 - trader.side * trader.distance_e18 / ONE
        left = trader.margin_b0 / ONE
        for position in trader.positions:
            notional = position.volume_e18 / ONE * prices[position.symbol] / ONE * factor
            left += notional - position.cost_e18 / ONE - abs(notional) * 0.05
        assert left == pytest.approx(0, abs=1e-6)


def test_prices_move_together() -> None:
    assert moved((BTC, ETH), "-0.1") == {"BTCUSD": e18(27_000), "ETHUSD": e18(1_800)}


def test_the_usual_market_has_as_many_traders_as_asked_for() -> None:
    assert len(plan_traders(three_futures(200))) == 200


@pytest.mark.parametrize(
    ("cohort", "said"),
    [
        (replace(LONGS, symbols=("DOGEUSD",)), "names DOGEUSD"),
        (replace(LONGS, distance=(-0.2, -0.1)), "raise the distance"),
    ],
)
def test_a_cohort_that_cannot_be_is_refused(cohort: Cohort, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_traders(world(cohort))
