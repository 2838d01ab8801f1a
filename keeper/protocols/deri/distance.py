"""How far every account is from liquidation: in margin, in percent of the price that hurts most, in time by funding.

For people and for ordering, not for deciding: in float64. Futures are linear in the price and exact to rounding;
options and power symbols bend, so the percent extrapolates the change of slack over a move of one percent. The time
assumes that prices and net volumes stay. Prices of vault collateral are held still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keeper.fixed import ONE
from keeper.protocols.deri.book import Book, Floats
from keeper.protocols.deri.pricing import Quote, quote
from keeper.protocols.deri.symbols import Prepared, PreparedSymbol

STEP_PERCENT = 1


@dataclass(frozen=True, slots=True)
class Distance:
    """One account's distance to liquidation. NaN figures: the account is not assessable."""

    p_token_id: int
    margin_e18: float
    """What is left above the maintenance requirement; below zero it is liquidatable."""
    percent: float
    """The smallest move of any one price that uses it up, in percent; infinite if none does."""
    price_id: str
    """The price that hurts most; empty if none does."""
    upward: bool
    """Whether that price hurts by rising."""
    funding_s: float
    """Seconds until funding alone uses it up; infinite if funding is received."""


@dataclass(frozen=True, slots=True)
class Distances:
    """The distances of a whole book, one array entry per column of it."""

    margin_e18: Floats
    percent: Floats
    move: np.ndarray[tuple[int, ...], np.dtype[np.intp]]
    """Index into ``moves``; meaningless where ``percent`` is infinite."""
    moves: tuple[tuple[str, bool], ...]
    """(price id, upward)."""
    funding_s: Floats


def distances(book: Book, prepared: Prepared) -> Distances:
    """Measure every account of the book at a prepared block and second."""
    slack = book.slack(prepared)
    symbols = {symbol_id: symbol for symbol_id, symbol in prepared.symbols.items() if not symbol.failure}
    quotes = {
        symbol_id: quoted
        for symbol_id, quoted in prepared.quotes.items()
        if symbol_id in symbols and isinstance(quoted, Quote)
    }
    prices = sorted({symbol.params.price_id for symbol in symbols.values()})
    moves = tuple((price_id, upward) for price_id in prices for upward in (True, False))
    room = np.maximum(slack, 0.0)
    percent = np.full((max(len(moves), 1), len(slack)), np.inf)
    for row, (price_id, upward) in enumerate(moves):
        loss = -_change(book, quotes, price_id, STEP_PERCENT if upward else -STEP_PERCENT)
        hurt = loss > 0.0
        percent[row, hurt] = room[hurt] / loss[hurt] * STEP_PERCENT
        if not upward:
            percent[row, percent[row] > 100.0] = np.inf
    move = np.argmin(np.where(np.isnan(percent), np.inf, percent), axis=0)
    paid = -_funding_per_second(book, symbols)
    seconds = np.full(len(slack), np.inf)
    pays = paid > 0.0
    seconds[pays] = room[pays] / paid[pays]
    nearest = np.take_along_axis(percent, move[np.newaxis, :], axis=0)[0]
    unknown = np.isnan(slack)
    nearest[unknown] = np.nan
    seconds[unknown] = np.nan
    return Distances(margin_e18=slack, percent=nearest, move=move, moves=moves, funding_s=seconds)


def distance(book: Book, measured: Distances, p_token_id: int) -> Distance | None:
    """One account's entry; None if the book does not hold it."""
    column = book.column_of(p_token_id)
    return None if column is None else _entry(book, measured, column)


def nearest(book: Book, measured: Distances, count: int) -> list[Distance]:
    """The ``count`` accounts nearest to liquidation by price, those under water first (by margin)."""
    known = np.flatnonzero(np.isfinite(measured.margin_e18))
    order = known[np.lexsort((measured.margin_e18[known], measured.percent[known]))]
    return [_entry(book, measured, int(column)) for column in order[:count]]


def _entry(book: Book, measured: Distances, column: int) -> Distance:
    percent = float(measured.percent[column])
    price_id, upward = measured.moves[int(measured.move[column])] if np.isfinite(percent) else ("", False)
    return Distance(
        p_token_id=book.id_of(column),
        margin_e18=float(measured.margin_e18[column]),
        percent=percent,
        price_id=price_id,
        upward=upward,
        funding_s=float(measured.funding_s[column]),
    )


def _change(book: Book, quotes: dict[str, Quote], price_id: str, percent: int) -> Floats:
    """Each column's change of slack when one price moves by that many percent."""
    worth: dict[str, float] = {}
    needed: dict[str, float] = {}
    for symbol_id, now in quotes.items():
        if now.params.price_id != price_id:
            continue
        then = quote(now.params, now.index_price * (100 + percent) // 100, now.volatility)
        if then.failure:
            continue
        worth[symbol_id] = (then.price - now.price) / ONE
        needed[symbol_id] = (now.maintenance_per_volume - then.maintenance_per_volume) / ONE
    return book.project(worth, needed)


def _funding_per_second(book: Book, symbols: dict[str, PreparedSymbol]) -> Floats:
    """Each column's change of slack per second by funding."""
    rates = {
        symbol_id: -symbol.premium / symbol.params.funding_period_s / ONE
        for symbol_id, symbol in symbols.items()
        if symbol.params.funding_period_s
    }
    return book.project(rates, {})
