"""When the book has to compute its triggers anew."""

from __future__ import annotations

import random
from dataclasses import replace

from keeper.protocols.meridian.book import Book, Terms
from keeper.protocols.meridian.triggers import trigger_price
from tests.unit.test_meridian_liquidation import BTC, HOUR, LONG, NOW, PARAMS, SHORT, USD, USDC

TERMS = Terms(PARAMS, 10, {}, {BTC: 75}, earliest=NOW)
SAFE, FALLEN = {(BTC, True): 60_000 * USD}, {(BTC, True): 58_000 * USD}


def test_a_position_is_reported_once_its_trigger_is_passed_and_gone_when_removed() -> None:
    book = Book()
    book.put("long", LONG)
    book.put("short", SHORT)
    assert book.crossed(SAFE, TERMS) == []
    assert book.crossed(FALLEN, TERMS) == ["long"]
    assert book.crossed({(BTC, True): 62_000 * USD, (BTC, False): 62_000 * USD}, TERMS) == ["short"]
    book.remove("long")
    assert book.crossed(FALLEN, TERMS) == []
    assert len(book) == 1


def test_the_deepest_comes_first() -> None:
    book = Book()
    for name, collateral in (("shallow", 300), ("deep", 100), ("middle", 200)):
        book.put(name, replace(LONG, collateral_e30=collateral * USD))
    assert book.crossed({(BTC, True): 57_000 * USD}, TERMS) == ["deep", "middle", "shallow"]


def test_a_higher_rate_is_a_higher_trigger() -> None:
    book = Book()
    book.put("long", LONG)
    assert book.crossed(SAFE, TERMS) == []
    assert book.crossed(SAFE, replace(TERMS, rates={BTC: 20_000})) == ["long"]
    assert book.crossed(SAFE, TERMS) == []


def test_a_minimum_profit_zone_counts_again_for_an_earlier_window() -> None:
    """It ended for a later window; what was computed then must not be used for one in which it still holds."""
    poor = replace(LONG, collateral_e30=50 * USD, last_increased_time=NOW)
    book = Book()
    book.put("poor", poor)
    in_profit = {(BTC, True): 60_400 * USD}
    assert book.crossed(in_profit, replace(TERMS, earliest=NOW + HOUR + 1)) == []
    assert book.crossed(in_profit, TERMS) == ["poor"]
    assert book.crossed(in_profit, replace(TERMS, earliest=NOW + HOUR + 1)) == []


def test_the_nearest_are_told_by_their_distance() -> None:
    book = Book()
    book.put("near", LONG)
    book.put("far", replace(LONG, collateral_e30=2_000 * USD))
    book.crossed(SAFE, TERMS)
    (near, far) = book.nearest(SAFE, 5)
    assert (near[1], far[1]) == ("near", "far")
    assert 0.009 < near[0] < 0.011


def test_no_rounding_hides_a_position_one_unit_past_its_trigger() -> None:
    draw = random.Random(1)
    book, held = Book(), {}
    for number in range(400):
        size = draw.randrange(10**31, 10**36)
        held[str(number)] = replace(
            SHORT if number % 2 else LONG,
            size_e30=size,
            collateral_e30=size * draw.randrange(100, 5_000) // 10_000 + draw.randrange(10**20),
            average_price_e30=draw.randrange(10**30, 10**35),
            entry_funding_rate=draw.randrange(3_000),
        )
        book.put(str(number), held[str(number)])
    terms = replace(TERMS, rates={BTC: 3_000, USDC: 3_000})
    for key, position in held.items():
        trigger = trigger_price(
            position, NOW, PARAMS, funding_rate=3_000, margin_fee_basis_points=10, min_profit_basis_points=75
        )
        mark = trigger - 1 if position.is_long else trigger + 1
        if mark > 0:
            assert key in book.crossed({(BTC, position.is_long): mark}, terms)
