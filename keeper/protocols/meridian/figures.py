"""What people see of a Meridian vault: distances and prices. In floats, for looking at and never for deciding."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.market import MeridianMarket
from keeper.protocols.meridian.state import USD_E30, Position, Price
from keeper.views import DISTANCE_BINS_PERCENT, AccountView, Distances, Figures, PriceView

NEAREST = 12


def figures_of(market: MeridianMarket) -> Figures:
    """A look at the vault as it is now. One pass over the sorted triggers; no I/O."""
    mirror = market.mirror
    prices = _prices(market)
    indices = {position.index_token for position in mirror.positions.values()}
    marks = {
        (token, is_long): price.mark(is_long)
        for token, price in prices.items()
        if token in indices
        for is_long in (True, False)
    }
    total = len(mirror.positions)
    found = mirror.book.nearest(marks, max(total, 1))
    failing = mirror.feeds.failures() | mirror.unreadable
    return Figures(
        unit="USD",
        decimals=18,
        nearest=tuple(_account(key, distance, mirror.positions[key]) for distance, key in found[:NEAREST]),
        distances=_binned(
            [(distance, mirror.positions[key].is_long) for distance, key in found], len(mirror.positions)
        ),
        prices=tuple(
            PriceView(short(token), price.min_e30 / USD_E30, "chain", None, None)
            for token, price in sorted(prices.items())
            if token in indices and token not in failing
        ),
    )


def short(address: str) -> str:
    """An address as people tell addresses apart."""
    return f"{address[:6]}…{address[-4:]}"


def _prices(market: MeridianMarket) -> dict[str, Price]:
    known = {}
    for token, quote in market.mirror.feeds.quotes.items():
        try:
            known[token] = quote.at(market.mirror.head.timestamp)
        except Revert:
            continue  # Counted as not assessable.
    return known


def _account(key: str, distance: float, position: Position) -> AccountView:
    return AccountView(
        account=key,
        percent=max(0.0, distance * 100),
        price=short(position.index_token),
        upward=not position.is_long,
        margin=max(0.0, distance) * position.size_e30 / USD_E30,
        funding_s=None,
    )


def _binned(found: Sequence[tuple[float, bool]], positions: int) -> Distances:
    down, up, beyond = [0] * DISTANCE_BINS_PERCENT, [0] * DISTANCE_BINS_PERCENT, 0
    for distance, is_long in found:
        percent = max(0.0, distance * 100)
        if percent >= DISTANCE_BINS_PERCENT:
            beyond += 1
        else:
            (down if is_long else up)[int(percent)] += 1
    return Distances(tuple(down), tuple(up), beyond, unassessable=positions - len(found))
