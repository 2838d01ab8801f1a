"""Every position's trigger price, sorted by (index token, side): who is liquidatable at this price is one search.

The book works in floating point and is conservative: each trigger is widened by more than the arithmetic can err, so
it may report a position that the exact test then clears, and never misses one. Triggers are recomputed as one vector
when what they depend on changes: a position, a rate, a parameter, or the end of a minimum-profit zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from keeper.protocols.meridian.state import BASIS_POINTS, FUNDING_RATE_PRECISION, Params, Position

_SLACK = 2.0**-46
"""Relative widening of a trigger: some 128 roundings of a double, where a handful happen."""
_FIRST_ROWS = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Terms:
    """What triggers depend on beside the positions, at their worst over a window of time.

    Rates only grow and a minimum-profit zone only ends, so the worst rate is the latest second's and the worst zone the
    earliest second's.
    """

    params: Params
    margin_fee_basis_points: int
    """Inside the call, on the route used."""
    rates: Mapping[str, int]
    """Cumulative funding rate by collateral token, at the window's latest second."""
    min_profit_basis_points: Mapping[str, int]
    """By index token."""
    earliest: int


_COLUMNS = ("size", "collateral", "average", "entry_rate", "increased")


@dataclass(slots=True)
class _Side:
    """The positions of one index token and one side, as columns; the triggers are kept sorted beside them."""

    is_long: bool
    keys: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, Floats] = field(default_factory=lambda: {name: np.zeros(_FIRST_ROWS) for name in _COLUMNS})
    collateral_ids: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(_FIRST_ROWS, dtype=np.intp))
    order: npt.NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    sorted_triggers: Floats = field(default_factory=lambda: np.zeros(0))
    computed_for: tuple[object, ...] | None = None
    """The terms that ``sorted_triggers`` hold for; None when a position has changed since."""
    zone_until: float = 0.0
    """The end of the first minimum-profit zone still open when the triggers were computed."""
    zone_since: int = 0
    """The earliest second that they were computed for."""

    def put(self, key: str, position: Position, collateral_id: int) -> None:
        row = self.rows.get(key)
        if row is None:
            row = len(self.keys)
            self.keys.append(key)
            self.rows[key] = row
            if row == len(self.collateral_ids):
                self.columns = {name: np.resize(column, 2 * row) for name, column in self.columns.items()}
                self.collateral_ids = np.resize(self.collateral_ids, 2 * row)
        columns = self.columns
        columns["size"][row] = position.size_e30
        columns["collateral"][row] = position.collateral_e30
        columns["average"][row] = position.average_price_e30
        columns["entry_rate"][row] = position.entry_funding_rate
        columns["increased"][row] = position.last_increased_time
        self.collateral_ids[row] = collateral_id
        self.computed_for = None

    def remove(self, key: str) -> None:
        row, last = self.rows.pop(key), len(self.keys) - 1
        moved = self.keys.pop()
        if row != last:
            self.keys[row] = moved
            self.rows[moved] = row
            for column in self.columns.values():
                column[row] = column[last]
            self.collateral_ids[row] = self.collateral_ids[last]
        self.computed_for = None

    def refresh(self, terms: Terms, rates: Floats, min_profit_basis_points: int) -> None:
        """Recompute and sort the triggers, unless the present ones hold for these terms."""
        used = tuple(rates[np.unique(self.collateral_ids[: len(self.keys)])])
        wanted = (terms.params, terms.margin_fee_basis_points, min_profit_basis_points, used)
        if self.computed_for == wanted and self.zone_since <= terms.earliest <= self.zone_until:
            return
        triggers = self._triggers(terms, rates, min_profit_basis_points)
        self.order = np.argsort(triggers, kind="stable")
        self.sorted_triggers = triggers[self.order]
        self.computed_for, self.zone_since = wanted, terms.earliest

    def _triggers(self, terms: Terms, rates: Floats, min_profit_basis_points: int) -> Floats:
        count = len(self.keys)
        size, collateral, average, entry_rate, increased = (self.columns[name][:count] for name in _COLUMNS)
        params = terms.params
        fees = size * ((rates[self.collateral_ids[:count]] - entry_rate) / FUNDING_RATE_PRECISION)
        fees = fees + size * (terms.margin_fee_basis_points / BASIS_POINTS)
        leverage_share = BASIS_POINTS / params.max_leverage if params.max_leverage else np.inf
        required = np.maximum(fees + params.liquidation_fee_e30, size * leverage_share)
        room = collateral - required
        zone_end = increased + params.min_profit_time
        in_zone = (terms.earliest <= zone_end) & (min_profit_basis_points > 0)
        self.zone_until = float(np.min(zone_end[in_zone], initial=np.inf))
        zone_gain = np.where(in_zone, size * (min_profit_basis_points / BASIS_POINTS), 0.0)
        room = np.where(room >= 0, room, np.minimum(room, -zone_gain))
        per_usd = average / size
        # Floors and ceilings of the exact formula move it by a few units; doubles by a few roundings of each term.
        slack = _SLACK * (average + (collateral + np.abs(required) + zone_gain) * per_usd) + 8 * per_usd + 8
        return average - room * per_usd + slack if self.is_long else average + room * per_usd - slack

    def crossed(self, mark_price_e30: int) -> list[tuple[float, str]]:
        """Keys whose trigger the price has passed, each with how far, relative to the price."""
        mark = float(mark_price_e30)
        if self.is_long:
            start = int(np.searchsorted(self.sorted_triggers, mark, side="left"))
            rows, passed = self.order[start:], self.sorted_triggers[start:] - mark
        else:
            end = int(np.searchsorted(self.sorted_triggers, mark, side="right"))
            rows, passed = self.order[:end], mark - self.sorted_triggers[:end]
        keys = self.keys
        return [(float(depth) / mark, keys[row]) for row, depth in zip(rows.tolist(), passed.tolist(), strict=True)]


class Book:
    """The sorted triggers of all open positions. Owns columns that change in place as positions come and go."""

    def __init__(self) -> None:
        self._sides: dict[tuple[str, bool], _Side] = {}
        self._side_of: dict[str, tuple[str, bool]] = {}
        self._collateral_ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._side_of)

    def put(self, key: str, position: Position) -> None:
        """Enter a position, or replace its figures. A position of size 0 leaves the book."""
        if position.size_e30 == 0:
            self.remove(key)
            return
        where = (position.index_token, position.is_long)
        side = self._sides.setdefault(where, _Side(position.is_long))
        collateral_id = self._collateral_ids.setdefault(position.collateral_token, len(self._collateral_ids))
        side.put(key, position, collateral_id)
        self._side_of[key] = where

    def remove(self, key: str) -> None:
        """Take a position out; nothing happens if it is not there."""
        where = self._side_of.pop(key, None)
        if where is not None:
            self._sides[where].remove(key)

    def crossed(self, worst_marks: Mapping[tuple[str, bool], int], terms: Terms) -> list[str]:
        """Keys that may be liquidatable under the terms, deepest first.

        ``worst_marks`` is by (index token, is long): the lowest min price for longs, the highest max for shorts, over
        the window. A side without a price is left out.
        """
        rates = np.array([float(terms.rates.get(token, 0)) for token in self._collateral_ids])
        found: list[tuple[float, str]] = []
        for where, side in self._sides.items():
            mark = worst_marks.get(where)
            if mark and side.keys:
                side.refresh(terms, rates, terms.min_profit_basis_points.get(where[0], 0))
                found += side.crossed(mark)
        found.sort(reverse=True)
        return [key for _, key in found]

    def nearest(self, marks: Mapping[tuple[str, bool], int], count: int) -> list[tuple[float, str]]:
        """The positions closest to their trigger at these prices: (distance relative to the price, key).

        Negative distances are past it. Uses the triggers of the latest ``crossed``.
        """
        found: list[tuple[float, str]] = []
        for where, side in self._sides.items():
            mark = marks.get(where)
            if not mark or side.computed_for is None:
                continue
            rows = side.order[::-1][:count] if side.is_long else side.order[:count]
            triggers = side.sorted_triggers[::-1][:count] if side.is_long else side.sorted_triggers[:count]
            sign = -1 if side.is_long else 1
            found += [
                (sign * (float(trigger) - mark) / mark, side.keys[row])
                for row, trigger in zip(rows.tolist(), triggers.tolist(), strict=True)
            ]
        found.sort()
        return found[:count]

    def keys(self) -> Iterable[str]:
        return self._side_of.keys()
