"""When the book has to compute its triggers anew."""

from __future__ import annotations

from dataclasses import replace

from keeper.protocols.meridian.book import Book, Terms
from tests.unit.test_meridian_liquidation import BTC, HOUR, LONG, NOW, PARAMS, SHORT, USD

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
