"""What a ``Trade`` log does to an account's positions."""

from __future__ import annotations

import pytest

from keeper.protocols.deri.abi import LIQUIDATED_FEE, Trade
from keeper.protocols.deri.state import Position
from keeper.protocols.deri.trades import position_after, positions_after


@pytest.mark.parametrize(
    ("held", "trade", "expected"),
    [
        ((0, 0), (5, 50), (5, 50)),
        ((5, 50), (5, 60), (10, 110)),
        ((-5, -50), (-5, -60), (-10, -110)),
        ((10, 101), (-3, -33), (7, 71)),
        ((-10, -101), (3, 33), (-7, -71)),
        ((10, 100), (-15, -151), (-5, -51)),
        ((10, 100), (-10, -90), (0, 0)),
    ],
)
def test_volume_and_cost(held: tuple[int, int], trade: tuple[int, int], expected: tuple[int, int]) -> None:
    assert position_after(*held, *trade) == expected


def _trade(symbol_id: str, volume: int, cost: int = 0, fee: int = 1) -> Trade:
    return Trade(1, symbol_id, 0, volume, cost, fee)


def _order(*trades: Trade) -> str:
    positions: tuple[Position, ...] = ()
    for trade in trades:
        positions = positions_after(positions, trade)
    return "".join(position.symbol_id for position in positions)


def test_a_new_symbol_goes_last_and_the_last_takes_the_place_of_a_closed_one() -> None:
    opened = [_trade(one, 2) for one in "abcd"]
    assert _order(*opened) == "abcd"
    assert _order(*opened, _trade("b", -2)) == "adc"
    assert _order(*opened, _trade("d", -2)) == "abc"


def test_crossing_zero_keeps_the_place() -> None:
    assert _order(*(_trade(one, 2) for one in "abc"), _trade("b", -5)) == "abc"


def test_a_liquidation_deletes_the_position_whatever_its_volume() -> None:
    assert _order(_trade("a", 2), _trade("a", -2, fee=LIQUIDATED_FEE)) == ""
    assert _order(_trade("a", 2), _trade("b", 2), _trade("a", -1, fee=LIQUIDATED_FEE)) == "b"
