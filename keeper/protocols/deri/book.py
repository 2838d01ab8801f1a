"""The book: every account of a market in numpy arrays, screened against new prices in one matrix product.

At one price tick a symbol has one price, one maintenance per volume and one cumulative funding, so what an account has
above its requirement, its *slack*, is linear in its volumes::

    slack = base + sum(v * a) - sum(|v| * b) + sum(balance * w)      a = (price - F) / ONE      b = M / ONE
    base  = amountB0 - sum(cost) + sum(v * f) / ONE                  w = unit / ONE * multiplier / ONE

with ``v``, ``cost`` and ``f`` of its positions and the vTokens of its vault. ``base`` changes with the account, ``a``,
``b`` and ``w`` with the tick: a screen is one product of a coefficient per row with the matrix of volumes.

Error bound. The screen must report every account that the contract would liquidate at some second of the window, so it
computes a figure that is never above the contract's slack, and reports what is below zero. What it takes off:

1. *Truncation.* The contract truncates each position's profit and funding toward zero: at most one unit each of
   slack lost, 2 per position (truncating the maintenance only adds slack). The vault loses at most one unit per
   market before the multiplier and one after.
2. *The window.* ``F(t)`` is monotone in ``t`` between its exact values ``F0`` and ``F1`` at the window's ends,
   truncation included. ``a`` takes their mean, and ``b`` grows by ``|F1 - F0| / 2 / ONE``: at any second ``v * F(t)``
   is within that of the mean. Symbols may move independently, so this holds for their sum.
3. *Rounding.* With ``u = 2**-53`` and ``n`` rows: every volume and balance is rounded once, every coefficient at most
   four times, ``base`` (summed in exact integers) three times, and a sum of ``n + 1`` products, in any order, fused
   or not, errs by at most ``(n + 1) * u`` times the sum of absolute terms. Together less than ``(n + 9) * u * T`` (to
   first order) with ``T = |base| + sum(|v| * (|a| + b)) + sum(balance * w)``. The screen takes off ``ROUNDING * T``,
   with ``ROUNDING = 2**-42``: at least twice as much for up to 1,000 rows, which covers the second order and the
   rounding of the corrected coefficients themselves. It costs nothing: it goes into ``b``, ``w`` and ``base``. An
   account is reported too early by less than three parts in 10**13 of its gross exposure.

The bound asks that ``F - f`` does not wrap around 2**256: positions and symbols beyond 2**200 are not screened but
always reported. A panic can only make the contract refuse, so overflow needs no care here. The price-shift guard is
left to the exact engine for the same reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from keeper.errors import ProtocolError
from keeper.fixed import ONE
from keeper.protocols.deri.settle import UNKNOWN_VAULT_MARKET, unknown_symbol
from keeper.protocols.deri.state import AccountState
from keeper.protocols.deri.symbols import Prepared, PreparedSymbol

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROUNDING = 2.0**-42
_MOST_ROWS = 1000
_UNWRAPPED = 2**200
_NEVER = 1e300
"""The base of a column that holds nothing to liquidate: finite, so that no arithmetic on it is invalid."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What one pass over the book found."""

    candidates: tuple[int, ...]
    """pTokenIds that may be liquidatable at some second of the window, the deepest under water first."""
    blocked: Mapping[str, str]
    """Symbol ids (and vToken addresses) that can't be priced, and why: their holders are not assessable."""


class _Terms(NamedTuple):
    """One account as the arrays hold it: (row, value) pairs, and its base less truncation and rounding."""

    volumes: Sequence[tuple[int, float]]
    balances: Sequence[tuple[int, float]]
    base: float
    screened: bool
    """False: the linear form does not hold (see the module's docstring); the account is always a candidate."""


class Book:
    """Owns the arrays of one market: a column per account, two rows per symbol (``v``, ``|v|``), one per vToken."""

    def __init__(self, accounts: Iterable[AccountState] = ()) -> None:
        self._matrix: Floats = np.zeros((0, 0))
        self._base: Floats = np.zeros(0)
        self._ids: list[int] = []
        self._column: dict[int, int] = {}
        self._free: list[int] = []
        self._symbol_row: dict[str, int] = {}
        self._market_row: dict[str, int] = {}
        self._unscreened: set[int] = set()
        self._load(list(accounts))

    def __len__(self) -> int:
        return len(self._column)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self._matrix.nbytes + self._base.nbytes

    def put(self, account: AccountState) -> None:
        """Add an account, or take its new state."""
        terms = self._terms(account)
        column = self._column.get(account.p_token_id)
        if column is None:
            column = self._new_column(account.p_token_id)
        self._grow_rows()
        self._matrix[:, column] = 0.0
        for row, volume in terms.volumes:
            self._matrix[row, column] = volume
            self._matrix[row + 1, column] = abs(volume)
        for row, balance in terms.balances:
            self._matrix[row, column] = balance
        self._base[column] = terms.base
        self._unscreened.discard(account.p_token_id)
        if not terms.screened:
            self._unscreened.add(account.p_token_id)

    def remove(self, p_token_id: int) -> None:
        """Forget an account; nothing happens if it isn't there."""
        column = self._column.pop(p_token_id, None)
        if column is None:
            return
        self._matrix[:, column] = 0.0
        self._base[column] = _NEVER
        self._unscreened.discard(p_token_id)
        self._free.append(column)

    def screen(self, first: Prepared, last: Prepared) -> Screen:
        """Every account that may be liquidatable at a second from ``first`` to ``last``, and what can't be priced.

        ``first`` and ``last`` are the same block prepared at the ends of the window. An account that holds what is
        blocked at both ends is never a candidate.
        """
        blocked = self._blocked(first, last)
        slack = self._lower_bound(first, last, blocked)
        barred = self._holding(blocked)
        slack[barred] = np.inf
        found = np.flatnonzero(slack < 0.0)
        ids = self._ids
        candidates = [ids[column] for column in found[np.argsort(slack[found])].tolist()]
        wild = [
            symbol_id
            for symbol_id in self._symbol_row
            if symbol_id not in blocked
            and _wraps(_usable(first.symbols.get(symbol_id), last.symbols.get(symbol_id)), first, last)
        ]
        if self._unscreened or wild:
            extra = set(self._unscreened)
            extra.update(ids[column] for column in np.flatnonzero(self._holding(wild) & ~barred).tolist())
            candidates += sorted(extra.difference(candidates))
        return Screen(tuple(candidates), blocked)

    def unassessable(self, screen: Screen) -> dict[int, str]:
        """The accounts that hold what a screen found blocked, with the reason (the first, if there are several)."""
        reasons: dict[int, str] = {}
        for held, reason in screen.blocked.items():
            for column in np.flatnonzero(self._holding((held,))).tolist():
                reasons.setdefault(self._ids[column], reason)
        return reasons

    def column_of(self, p_token_id: int) -> int | None:
        """Where an account stands in ``project``'s arrays."""
        return self._column.get(p_token_id)

    def id_of(self, column: int) -> int:
        return self._ids[column]

    def project(self, signed: Mapping[str, float], sized: Mapping[str, float]) -> Floats:
        """``sum(v * signed[symbol]) + sum(|v| * sized[symbol])`` for every column; a symbol not named counts 0."""
        weights = np.zeros(len(self._matrix))
        for symbol_id, row in self._symbol_row.items():
            weights[row] = signed.get(symbol_id, 0.0)
            weights[row + 1] = sized.get(symbol_id, 0.0)
        return self._product(weights)

    def slack(self, prepared: Prepared) -> Floats:
        """Every column's margin less its requirement at one second, within rounding of the screen's lower bound.

        ``inf`` for a column without positions, NaN where an account is not assessable or not screened.
        """
        blocked = self._blocked(prepared, prepared)
        slack = self._lower_bound(prepared, prepared, blocked)
        slack[self._base == _NEVER] = np.inf
        slack[self._holding(blocked)] = np.nan
        for p_token_id in self._unscreened:
            slack[self._column[p_token_id]] = np.nan
        return slack

    def _product(self, weights: Floats) -> Floats:
        # Not BLAS: its threads wait for each other, and a busy neighbour makes a millisecond sixteen.
        return np.asarray(np.einsum("r,rc->c", weights, self._matrix))

    def _load(self, accounts: list[AccountState]) -> None:
        columns: defaultdict[int, list[int]] = defaultdict(list)
        values: defaultdict[int, list[float]] = defaultdict(list)
        base: list[float] = []
        for column, account in enumerate(accounts):
            terms = self._terms(account)
            for row, value in terms.volumes:
                columns[row].append(column)
                values[row].append(value)
            for row, value in terms.balances:
                columns[row].append(column)
                values[row].append(value)
            base.append(terms.base)
            if not terms.screened:
                self._unscreened.add(account.p_token_id)
        self._ids = [account.p_token_id for account in accounts]
        self._column = {p_token_id: column for column, p_token_id in enumerate(self._ids)}
        self._base = np.array(base, dtype=np.float64)
        self._matrix = np.zeros((0, len(accounts)))
        self._grow_rows()
        for row, found in values.items():
            self._matrix[row, columns[row]] = found
        for row in self._symbol_row.values():
            np.abs(self._matrix[row], out=self._matrix[row + 1])

    def _terms(self, account: AccountState) -> _Terms:
        if not account.positions:
            return _Terms((), (), _NEVER, True)
        volumes: list[tuple[int, float]] = []
        balances: list[tuple[int, float]] = []
        base = account.amount_b0
        funding_e36 = 0
        for position in account.positions:
            volume = position.volume
            accrued = position.cumulative_funding_per_volume
            if volume == 0 or not -_UNWRAPPED < accrued < _UNWRAPPED:
                return _Terms((), (), _NEVER, False)
            row = self._symbol_row.get(position.symbol_id)
            if row is None:
                row = self._symbol_row[position.symbol_id] = self._row_count
            volumes.append((row, float(volume)))
            base -= position.cost
            funding_e36 += volume * accrued
        if account.vault is not None and account.vault.liquidity is not None:
            base += account.vault.liquidity
        elif account.vault is not None:
            for v_token, balance in account.vault.balances:
                row = self._market_row.get(v_token)
                if row is None:
                    row = self._market_row[v_token] = self._row_count
                balances.append((row, float(balance)))
        exact = float(base * ONE + funding_e36) / ONE
        return _Terms(volumes, balances, exact - ROUNDING * abs(exact) - 2 * len(volumes), True)

    @property
    def _row_count(self) -> int:
        return 2 * len(self._symbol_row) + len(self._market_row)

    def _grow_rows(self) -> None:
        missing = self._row_count - len(self._matrix)
        if self._row_count > _MOST_ROWS:
            raise ProtocolError(
                f"a pool of at most {_MOST_ROWS} rows of symbols and vault markets",
                f"this one has {self._row_count}",
                "the book's error bound is derived for that many; derive it anew in keeper/protocols/deri/book.py",
            )
        if missing > 0:
            self._matrix = np.vstack((self._matrix, np.zeros((missing, self._matrix.shape[1]))))

    def _new_column(self, p_token_id: int) -> int:
        if not self._free:
            have = len(self._base)
            more = max(have // 4, 64)
            self._matrix = np.hstack((self._matrix, np.zeros((len(self._matrix), more))))
            self._base = np.concatenate((self._base, np.full(more, _NEVER)))
            self._ids += [-1] * more
            self._free = list(range(have + more - 1, have - 1, -1))
        column = self._free.pop()
        self._ids[column] = p_token_id
        self._column[p_token_id] = column
        return column

    def _blocked(self, first: Prepared, last: Prepared) -> dict[str, str]:
        blocked: dict[str, str] = {}
        for symbol_id in self._symbol_row:
            symbol = _usable(first.symbols.get(symbol_id), last.symbols.get(symbol_id))
            if symbol is None:
                blocked[symbol_id] = unknown_symbol(symbol_id)
            elif symbol.failure or symbol.doubt:
                blocked[symbol_id] = symbol.failure or f"{symbol.params.name}: {symbol.doubt}"
        for v_token in self._market_row:
            if v_token not in first.vault_units:
                blocked[v_token] = UNKNOWN_VAULT_MARKET
        return blocked

    def _holding(self, held: Iterable[str]) -> Flags:
        flags = np.zeros(len(self._base), dtype=np.bool_)
        for key in held:
            row = self._symbol_row.get(key, self._market_row.get(key))
            if row is not None:
                flags |= self._matrix[row] != 0.0
        return flags

    def _lower_bound(self, first: Prepared, last: Prepared, blocked: Mapping[str, str]) -> Floats:
        weights = np.zeros(len(self._matrix))
        for symbol_id, row in self._symbol_row.items():
            symbol = _usable(first.symbols.get(symbol_id), last.symbols.get(symbol_id))
            if symbol is None or symbol_id in blocked or _wraps(symbol, first, last):
                continue
            start, end = _funding_at(symbol, first.timestamp), _funding_at(symbol, last.timestamp)
            worth = float(2 * symbol.price - start - end) / (2 * ONE)
            needed = float(2 * symbol.maintenance_per_volume + abs(end - start)) / (2 * ONE)
            if symbol.maintenance_of_notional:
                # the contract multiplies before it divides: the unit that M lost in preparation comes back
                needed += 1 / ONE
            weights[row] = worth
            weights[row + 1] = -needed - ROUNDING * (abs(worth) + needed)
        multiplier = first.pool.vault_liquidity_multiplier
        for v_token, row in self._market_row.items():
            if v_token not in blocked:
                weights[row] = float(first.vault_units[v_token] * multiplier) / (ONE * ONE) * (1.0 - ROUNDING)
        lost_in_vaults = (len(self._market_row) * (multiplier / ONE) + 2.0) if self._market_row else 0.0
        slack = self._product(weights)
        slack += self._base
        slack -= lost_in_vaults
        return slack


def _usable(first: PreparedSymbol | None, last: PreparedSymbol | None) -> PreparedSymbol | None:
    """The end of the window at which a symbol can be settled; the first if there is none."""
    if first is not None and first.failure and last is not None and not last.failure:
        return last
    return first


def _wraps(symbol: PreparedSymbol | None, first: Prepared, last: Prepared) -> bool:
    return symbol is not None and any(
        abs(_funding_at(symbol, timestamp)) >= _UNWRAPPED for timestamp in (first.timestamp, last.timestamp)
    )


def _funding_at(symbol: PreparedSymbol, timestamp: int) -> int:
    """``F'`` at another second, unwrapped: the premium does not depend on time. An expired oracle does not matter."""
    elapsed = timestamp - symbol.state.funding_timestamp
    flow = symbol.premium * elapsed
    period = symbol.params.funding_period_s
    return symbol.state.cumulative_funding_per_volume + (flow // period if flow >= 0 else -(-flow // period))
