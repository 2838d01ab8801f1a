"""The price, and the time, at which a position flips from safe to liquidatable.

``VaultUtils.validateLiquidation`` answers 0 exactly when the remaining collateral is at least
``required_collateral``; the rest is solving its floored divisions for the price and for the cumulative funding rate.
"""

from __future__ import annotations

from keeper.protocols.meridian.liquidation import margin_fees, profit_or_loss, required_collateral
from keeper.protocols.meridian.state import BASIS_POINTS, FUNDING_RATE_PRECISION, Params, Position, Token

NEVER_SAFE = -1
"""The trigger of a short that no price makes safe."""


def trigger_price(
    position: Position,
    timestamp: int,
    params: Params,
    *,
    funding_rate: int,
    margin_fee_basis_points: int,
    min_profit_basis_points: int,
) -> int:
    """The last safe mark price with 30 decimals: a long is safe from it up, a short up to it.

    For a long, 0 means safe at every price. For a short, ``NEVER_SAFE`` means at none.
    """
    size, average = position.size_e30, position.average_price_e30
    fees = margin_fees(position, funding_rate, margin_fee_basis_points)
    room = position.collateral_e30 - required_collateral(size, fees, params)
    if room >= 0:
        # The largest price difference whose floored loss still fits the room.
        difference = ((room + 1) * average - 1) // size
        return max(0, average - difference) if position.is_long else average + difference
    gain = -room
    if timestamp <= position.last_increased_time + params.min_profit_time:
        gain = max(gain, size * min_profit_basis_points // BASIS_POINTS + 1)
    difference = -(-gain * average // size)
    return average + difference if position.is_long else max(NEVER_SAFE, average - difference)


def funding_deadline(
    position: Position,
    mark_price_e30: int,
    timestamp: int,
    token: Token,
    params: Params,
    *,
    margin_fee_basis_points: int,
    min_profit_basis_points: int,
) -> int | None:
    """The first second at which funding alone makes a position liquidatable at an unchanged price and pool.

    ``token`` is the collateral token. Exact if nobody updates the funding rate before; otherwise a lower bound, since
    every update in between floors. None if funding never does it. Not later than ``timestamp`` if it already is.
    """
    has_profit, delta = profit_or_loss(position, mark_price_e30, timestamp, params, min_profit_basis_points)
    remaining = position.collateral_e30 + (delta if has_profit else -delta)
    fees = margin_fees(position, token.funding_rate, margin_fee_basis_points)
    if remaining < required_collateral(position.size_e30, fees, params):
        return timestamp
    fixed = margin_fees(position, position.entry_funding_rate, margin_fee_basis_points) + params.liquidation_fee_e30
    needed = -(-(remaining - fixed + 1) * FUNDING_RATE_PRECISION // position.size_e30)
    missing = needed + position.entry_funding_rate - token.funding_rate
    factor = params.stable_funding_rate_factor if token.is_stable else params.funding_rate_factor
    if token.pool_amount == 0 or factor * token.reserved_amount == 0 or token.last_funding_time == 0:
        return None
    intervals = -(-missing * token.pool_amount // (factor * token.reserved_amount))
    return token.last_funding_time + intervals * params.funding_interval
