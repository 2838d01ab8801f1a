"""How far a rehearsal moves a price."""

from __future__ import annotations

import pytest

from keeper.protocols.market import Trigger
from keeper.rehearsal import beyond


@pytest.mark.parametrize(
    ("now", "value", "moved"),
    [
        (1_000_000, 900_000, 899_000),  # one percent of the way
        (1_000_000, 1_100_000, 1_101_000),
        (1_000_000, 999_999, 999_500),  # and at least half a thousandth of the price
        (1_000_000, 1_000_001, 1_000_501),
        (1_000_000, 1_000_000, 1_000_000),  # it is liquidatable already: neither way is known to be the worse
    ],
)
def test_a_price_is_moved_past_its_trigger_the_way_that_hurts(now: int, value: int, moved: int) -> None:
    assert beyond(Trigger("price", "BTC", now, value, 18, 0, 0)) == moved
