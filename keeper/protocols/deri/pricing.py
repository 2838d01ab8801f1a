"""What one symbol is worth at a price and a volatility: everything that depends on nothing else.

Sources: ``SymbolImplementationFutures``, ``SymbolImplementationOption``, ``SymbolImplementationPower``
(``settleOnLiquidate``), ``EverlastingOptionPricing.getEverlastingTimeValueAndDelta`` and ``DpmmLinearPricing``.
Products are written with every division in the order in which the contracts do it; every step is checked.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

from keeper.fixed import ONE, Panic, add, div, mul, mul_div, sub, trunc_div
from keeper.protocols.deri.power import PowerDomainError, pow18
from keeper.protocols.deri.state import SymbolKind, SymbolParams

SECONDS_PER_YEAR = 31_536_000


class Quote(NamedTuple):
    """A symbol at one price and volatility. ``failure`` is the revert where there is no quote; then the rest is 0."""

    params: SymbolParams
    index_price: int
    volatility: int
    """0 for futures."""
    failure: str = ""
    price: int = 0
    """What a volume is worth: the index price of futures, the theoretical price of options and power symbols."""
    fair: int = 0
    """What the mark price is measured against for funding: index price, intrinsic value, or price squared."""
    k_times_liquidity: int = 0
    """The DPMM's ``K`` before its division by ``L`` (and, for options, by ``ONE``)."""
    delta: int = 0
    """The derivative of ``price`` with respect to the index price."""
    maintenance_per_volume: int = 0
    """``M``. The futures' maintenance is computed from the notional instead; there it serves screening alone."""
    initial_margin_per_volume: int = 0
    """0 for futures, which compute it from the notional."""

    @property
    def doubt(self) -> str:
        """Why a computed quote is not to be acted on, else empty."""
        return "theoretical price is negative" if self.price < 0 else ""


def quote(params: SymbolParams, index_price: int, volatility: int) -> Quote:
    """Price a symbol. Never raises: what makes the contract revert is the quote's ``failure``."""
    try:
        if params.kind is SymbolKind.FUTURES:
            return _futures(params, index_price)
        if params.kind is SymbolKind.OPTION:
            return _option(params, index_price, volatility)
        if params.kind is SymbolKind.POWER:
            return _power(params, index_price, volatility)
    except (Panic, PowerDomainError) as why:
        return Quote(params, index_price, volatility, failure=str(why))
    return Quote(
        params, index_price, volatility, failure=f"symbol {params.name} is of a kind that the keeper can't price"
    )


def _futures(params: SymbolParams, price: int) -> Quote:
    return Quote(
        params,
        index_price=price,
        volatility=0,
        price=price,
        fair=price,
        k_times_liquidity=mul(price, params.alpha),
        delta=ONE,
        maintenance_per_volume=mul_div(price, params.maintenance_margin_ratio, ONE),
    )


def _option(params: SymbolParams, price: int, volatility: int) -> Quote:
    strike = params.strike_price
    intrinsic = max(sub(price, strike) if params.is_call else sub(strike, price), 0)
    time_value, delta, u = time_value_and_delta(params, price, volatility)
    theoretical = add(intrinsic, time_value)
    if intrinsic > 0:
        delta = add(delta, ONE if params.is_call else -ONE)
    elif price == strike:
        delta = ONE // 2 if params.is_call else -ONE // 2
    k_times_liquidity = mul(mul(div(mul(price, price), theoretical), abs(delta)), params.alpha)
    ratio = params.maintenance_margin_ratio
    delta_part = mul_div(mul_div(delta, price if params.is_call else -price, ONE), ratio, ONE)
    gamma_part = div(mul_div(sub(mul_div(u, u, ONE), ONE), time_value, ONE), 8)
    gamma_part = mul_div(mul_div(gamma_part, ratio, ONE), ratio, ONE)
    maintenance = add(delta_part, gamma_part)
    return Quote(
        params,
        index_price=price,
        volatility=volatility,
        price=theoretical,
        fair=intrinsic,
        k_times_liquidity=k_times_liquidity,
        delta=delta,
        maintenance_per_volume=maintenance,
        initial_margin_per_volume=max(
            mul_div(maintenance, params.initial_margin_ratio, ratio),
            mul_div(price, params.min_initial_margin_ratio, ONE),
        ),
    )


def time_value_and_delta(params: SymbolParams, price: int, volatility: int) -> tuple[int, int, int]:
    """The everlasting option's time value, its delta, and ``u``."""
    strike = params.strike_price
    years = params.funding_period_s * ONE // SECONDS_PER_YEAR
    u2 = add(mul_div(mul_div(div(8 * ONE * ONE, volatility), ONE, volatility), ONE, years), ONE)
    u = isqrt(mul(u2, ONE))
    if price == strike:
        return mul_div(strike, ONE, u), 0, u
    moneyness = mul_div(price, ONE, strike)
    tilt = ONE - u if price > strike else ONE + u
    time_value = mul_div(strike, pow18(moneyness, trunc_div(tilt, 2)), u)
    return time_value, div(mul_div(tilt, time_value, price), 2), u


def _power(params: SymbolParams, price: int, volatility: int) -> Quote:
    one_minus_ht = sub(ONE, div(mul(mul_div(volatility, volatility, ONE), params.funding_period_s), SECONDS_PER_YEAR))
    squared = mul_div(price, price, ONE)
    theoretical = mul_div(squared, ONE, one_minus_ht)
    maintenance = mul_div(theoretical, params.maintenance_margin_ratio, ONE)
    return Quote(
        params,
        index_price=price,
        volatility=volatility,
        price=theoretical,
        fair=squared,
        k_times_liquidity=mul(mul(2, theoretical), params.alpha),
        delta=div(mul(2, theoretical), price),
        maintenance_per_volume=maintenance,
        initial_margin_per_volume=mul_div(maintenance, params.initial_margin_ratio, params.maintenance_margin_ratio),
    )
