"""How the vault's price feed makes a price, so that a price that moves with time alone is known in advance.

Sources: ``VaultPriceFeed.getPrice``, ``getPriceV1`` and ``getPrimaryPrice``; ``FastPriceFeed.getPrice``. A mirror that
can't reproduce ``getPrice`` with this (another feed behind the same interface) takes the figure as it was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.protocols.meridian.checked import Revert, add, div, mul, sub
from keeper.protocols.meridian.state import BASIS_POINTS, USD_E30, Price


@dataclass(frozen=True, slots=True)
class FastFeed:
    """``FastPriceFeed``: one for all tokens."""

    last_updated_at: int
    price_duration: int
    max_price_update_delay: int
    spread_if_inactive_basis_points: int
    spread_if_chain_error_basis_points: int
    max_deviation_basis_points: int

    def turns(self) -> tuple[int, int]:
        """The first second of each of its two stale regimes."""
        return (self.last_updated_at + self.price_duration + 1, self.last_updated_at + self.max_price_update_delay + 1)


@dataclass(frozen=True, slots=True)
class TokenFeed:
    """What one token's price is made of."""

    primary: Price
    """Min and max over the sampled rounds, before anything else."""
    spread_basis_points: int
    strict_stable: bool
    max_strict_deviation_e30: int
    adjustment_basis_points: int
    adjustment_is_additive: bool
    fast: FastFeed | None
    """None where no secondary feed is set or enabled."""
    fast_price_e30: int
    favor_fast: bool

    def at(self, timestamp: int) -> Price:
        """Both no-AMM prices at that second."""
        return Price(self.side(timestamp, maximise=False), self.side(timestamp, maximise=True))

    def side(self, timestamp: int, *, maximise: bool, amm_price_e30: int = 0) -> int:
        """One side's price; ``amm_price_e30`` widens it where a plain view includes an AMM's price."""
        price = self.primary.max_e30 if maximise else self.primary.min_e30
        if amm_price_e30:
            price = max(price, amm_price_e30) if maximise else min(price, amm_price_e30)
        if self.fast is not None:
            price = self._secondary(self.fast, price, timestamp, maximise)
        price = (
            self._strict(price, maximise) if self.strict_stable else _spread(price, self.spread_basis_points, maximise)
        )
        if self.adjustment_basis_points:
            price = _spread(price, self.adjustment_basis_points, self.adjustment_is_additive)
        return price

    def _secondary(self, fast: FastFeed, reference: int, timestamp: int, maximise: bool) -> int:
        inactive_from, chain_error_from = fast.turns()
        if timestamp >= chain_error_from:
            return _spread(reference, fast.spread_if_chain_error_basis_points, maximise)
        if timestamp >= inactive_from:
            return _spread(reference, fast.spread_if_inactive_basis_points, maximise)
        quick = self.fast_price_e30
        if quick == 0:
            return reference
        deviation = div(mul(abs(reference - quick), BASIS_POINTS), reference)
        if not self.favor_fast or deviation > fast.max_deviation_basis_points:
            return max(reference, quick) if maximise else min(reference, quick)
        return quick

    def _strict(self, price: int, maximise: bool) -> int:
        if abs(price - USD_E30) <= self.max_strict_deviation_e30:
            return USD_E30
        return max(price, USD_E30) if maximise else min(price, USD_E30)


def primary_price(rounds: Sequence[int], price_decimals: int) -> Price:
    """``getPrimaryPrice`` over the sampled rounds' answers, scaled to 30 decimals."""
    if not rounds:
        raise Revert("VaultPriceFeed: could not fetch price")
    if min(rounds) <= 0:
        raise Revert("VaultPriceFeed: invalid price")
    low, high = (mul(answer, USD_E30) // 10**price_decimals for answer in (min(rounds), max(rounds)))
    return Price(low, high)


def _spread(price: int, basis_points: int, up: bool) -> int:
    factor = add(BASIS_POINTS, basis_points) if up else sub(BASIS_POINTS, basis_points)
    return mul(price, factor) // BASIS_POINTS
