"""Symbols prepared for one block: what every account that holds them shares at a price, a second and a block number.

A quote (``pricing``) depends on price and volatility alone. The DPMM's ``K`` adds the pool's ``L``, funding adds the
second, the price-shift guard adds the block number; all of it is done here once, so that an account is a handful of
products (``settle.decide``). Sources: ``settleOnLiquidate`` and ``_updateLastNetVolume`` of the symbol
implementations, ``DpmmLinearPricing.calculateMarkPrice`` and ``calculateCost``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from keeper.fixed import INT256_MAX, ONE, OVERFLOW, Panic, add, div, mul_div, sub, trunc_div, wrap_int256
from keeper.protocols.deri import readings, vault
from keeper.protocols.deri.pricing import Quote, quote
from keeper.protocols.deri.readings import Unread
from keeper.protocols.deri.state import (
    MarketState,
    OracleState,
    PoolState,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
)

_IMPLEMENTATION = {
    SymbolKind.FUTURES: "SymbolImplementationFutures",
    SymbolKind.OPTION: "SymbolImplementationOption",
    SymbolKind.POWER: "SymbolImplementationPower",
    SymbolKind.UNKNOWN: "",
}

SLIPPAGE = "slippage exceeds allowance"

COST_LIMIT = 2**170
FUNDING_LIMIT = 2**130
_VOLUME_LIMITS: tuple[int, ...] = tuple(2**bits for bits in (110, 100, 90, 80, 70, 60))


class PreparedSymbol(NamedTuple):  # a tuple: nine are made on every price tick
    """One symbol at one price, second and block number, before any account of the call is closed."""

    params: SymbolParams
    state: SymbolState
    failure: str = ""
    """The revert of whatever holds the symbol (an unread oracle, a panic); empty if it can be settled."""
    doubt: str = ""
    """Why figures that can be computed are not to be acted on; empty if they are."""
    price: int = 0
    index_price: int = 0
    maintenance_per_volume: int = 0
    initial_margin_per_volume: int = 0
    delta: int = 0
    k: int = 0
    premium: int = 0
    """Mark price minus what it is measured against: what a volume of one pays in a funding period."""
    funding_diff: int = 0
    cumulative_funding: int = 0
    """``F'``: the cumulative funding per volume at this second, wrapped to 256 bits."""
    pool_funding: int = 0
    last_net_volume: int = 0
    longs_pass: bool = False
    """Whether the price-shift guard lets a long (short) be closed now."""
    shorts_pass: bool = False
    maintenance_of_notional: bool = False
    """Futures take the maintenance of the truncated notional, the others of the volume."""
    maintenance_factor: int = 0
    volume_limit: int = -1
    """Up to this volume (with costs and funding within the limits of this module) nothing in a settlement overflows
    and every product is of a known sign; -1 where that can't be promised. Beyond it, every step is checked."""

    @property
    def guard_failure(self) -> str:
        return f"{_IMPLEMENTATION[self.params.kind]}.settleOnLiquidate: {SLIPPAGE}"


class PreparedSymbols(Mapping[str, PreparedSymbol]):
    """Every symbol of a market, each prepared when it is first asked for.

    A liquidation moves the pool's liquidity, and so every symbol's ``K``; the next account to be judged holds two or
    three of them. Preparing the others as well would be most of the work of a burst.
    """

    __slots__ = ("_prepare", "_prepared", "unprepared")

    def __init__(self, unprepared: Mapping[str, Symbol], prepare: Callable[[str], PreparedSymbol]) -> None:
        self.unprepared = unprepared
        self._prepare = prepare
        self._prepared: dict[str, PreparedSymbol] = {}

    def __getitem__(self, symbol_id: str) -> PreparedSymbol:
        known = self._prepared.get(symbol_id)
        if known is None:
            known = self._prepared[symbol_id] = self._prepare(symbol_id)
        return known

    def __contains__(self, symbol_id: object) -> bool:
        return symbol_id in self.unprepared

    def __iter__(self) -> Iterator[str]:
        return iter(self.unprepared)

    def __len__(self) -> int:
        return len(self.unprepared)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A market at the block ``number`` and second ``timestamp``: everything that an account's settlement reads."""

    pool: PoolState
    number: int
    timestamp: int
    quotes: Mapping[str, Quote | Unread]
    """By symbol id: what the symbol is worth, or why its prices can't be read at this second."""
    symbols: PreparedSymbols
    """By symbol id."""
    vault_units: Mapping[str, int]
    """By vToken: the value of one raw vToken, times 10**18."""
    plain: bool
    """The pool's own figures are of a size with which nothing after the symbols can overflow."""


def prepare(market: MarketState, number: int, timestamp: int, before: Prepared | None = None) -> Prepared:
    """Prepare every symbol of a market for a block. Never raises for a symbol: its ``failure`` tells.

    ``before``, an earlier preparation of the same market, lends the quotes whose price and volatility are unchanged.
    """
    known = before.quotes if before is not None else {}
    quotes = {
        symbol_id: _quote(symbol.params, market.oracles, timestamp, known.get(symbol_id))
        for symbol_id, symbol in market.symbols.items()
    }
    return _prepared(market.pool, market.symbols, quotes, number, timestamp, vault.units(market.vault_markets))


def moved(prepared: Prepared, pool: PoolState, states: Mapping[str, SymbolState]) -> Prepared:
    """The same block and second after a liquidation: the pool and these symbols' states are the new ones."""
    symbols = dict(prepared.symbols.unprepared)
    for symbol_id, state in states.items():
        symbols[symbol_id] = Symbol(symbols[symbol_id].params, state)
    return _prepared(pool, symbols, prepared.quotes, prepared.number, prepared.timestamp, prepared.vault_units)


def mark_price(price: int, k: int, net_volume: int) -> int:
    """``DpmmLinearPricing.calculateMarkPrice``."""
    return mul_div(price, add(ONE, mul_div(k, net_volume, ONE)), ONE)


def dpmm_cost(price: int, k: int, net_volume: int, volume: int) -> int:
    """``DpmmLinearPricing.calculateCost``: what a trade of ``volume`` costs at a net volume."""
    after = net_volume + volume
    # one bound for both: their squares must fit, so neither they nor the squares' difference can overflow
    if max(after * after, net_volume * net_volume) > INT256_MAX:
        raise Panic(OVERFLOW)
    bend = mul_div(trunc_div(after * after - net_volume * net_volume, ONE), k, ONE)
    return mul_div(price, add(trunc_div(bend, 2), volume), ONE)


def _quote(
    params: SymbolParams, oracles: Mapping[str, OracleState], at: int, known: Quote | Unread | None
) -> Quote | Unread:
    if params.kind is SymbolKind.UNKNOWN:
        return quote(params, 0, 0)
    price = readings.get_value(oracles, params.price_id, at)
    if isinstance(price, Unread):
        return price
    volatility = 0 if params.volatility_id is None else readings.get_value(oracles, params.volatility_id, at)
    if isinstance(volatility, Unread):
        return volatility
    if (
        isinstance(known, Quote)
        and known.index_price == price
        and known.volatility == volatility
        and (known.params is params or known.params == params)
    ):
        return known
    return quote(params, price, volatility)


def _prepared(
    pool: PoolState,
    symbols: Mapping[str, Symbol],
    quotes: Mapping[str, Quote | Unread],
    number: int,
    timestamp: int,
    vault_units: Mapping[str, int],
) -> Prepared:
    liquidity = pool.liquidity + pool.lps_pnl
    return Prepared(
        pool=pool,
        number=number,
        timestamp=timestamp,
        quotes=quotes,
        symbols=PreparedSymbols(
            symbols, lambda key: _prepare_symbol(symbols[key], quotes[key], liquidity, number, timestamp)
        ),
        vault_units=vault_units,
        plain=_plain(pool),
    )


def _prepare_symbol(
    symbol: Symbol, quoted: Quote | Unread, liquidity: int, number: int, timestamp: int
) -> PreparedSymbol:
    params, state = symbol.params, symbol.state
    if isinstance(quoted, Unread):
        return PreparedSymbol(params, state, failure=quoted.reason)
    if quoted.failure:
        return PreparedSymbol(params, state, failure=quoted.failure)
    try:
        k = div(quoted.k_times_liquidity, liquidity)
        if params.kind is SymbolKind.OPTION:
            k = div(k, ONE)
        net_volume = state.net_volume
        premium = sub(mark_price(quoted.price, k, net_volume), quoted.fair)
        if timestamp < state.funding_timestamp:
            raise Panic(OVERFLOW)
        diff = mul_div(premium, timestamp - state.funding_timestamp, params.funding_period_s)
        pool_funding = mul_div(net_volume, diff, ONE)
        last = net_volume if number > state.last_net_volume_block else state.last_net_volume
        allowance = mul_div(params.starting_price_shift_limit, ONE, k)
        longs_pass = add(net_volume, allowance) >= last
        shorts_pass = net_volume <= add(last, allowance)
    except Panic as panic:
        return PreparedSymbol(params, state, failure=str(panic))
    futures = params.kind is SymbolKind.FUTURES
    return PreparedSymbol(
        params=params,
        state=state,
        doubt=quoted.doubt or ("" if liquidity > 0 else "the pool's liquidity is not positive"),
        price=quoted.price,
        index_price=quoted.index_price,
        maintenance_per_volume=quoted.maintenance_per_volume,
        initial_margin_per_volume=quoted.initial_margin_per_volume,
        delta=quoted.delta,
        k=k,
        premium=premium,
        funding_diff=diff,
        cumulative_funding=wrap_int256(state.cumulative_funding_per_volume + diff),
        pool_funding=pool_funding,
        last_net_volume=last,
        longs_pass=longs_pass,
        shorts_pass=shorts_pass,
        maintenance_of_notional=futures,
        maintenance_factor=params.maintenance_margin_ratio if futures else quoted.maintenance_per_volume,
        volume_limit=_volume_limit(quoted, k, state) if abs(pool_funding) < COST_LIMIT else -1,
    )


def _volume_limit(quoted: Quote, k: int, state: SymbolState) -> int:
    """The largest of a few powers of two up to which no step of a settlement can leave 256 bits.

    With ``m = |N| + limit`` every net volume of the closing is at most ``m``; the largest intermediates are ``m**2``,
    ``m**2 / ONE * K`` and ``price * r``, with ``r`` as in ``dpmm_cost``. The bounds leave every result under 2**180,
    so that sums over symbols and the reward stay far inside too.
    """
    params = quoted.params
    if (
        quoted.price < 0
        or k < 0
        or not 0 <= quoted.maintenance_per_volume < 2**110
        or not 0 <= params.maintenance_margin_ratio < 2**64
        or not 0 <= params.initial_margin_ratio < 2**64
        or not 0 <= quoted.initial_margin_per_volume < 2**110
        or not 0 <= quoted.index_price < 2**110
        or abs(state.net_cost) >= COST_LIMIT
        or abs(state.traders_pnl) >= COST_LIMIT
        or abs(state.initial_margin_required) >= COST_LIMIT
    ):
        return -1
    for limit in _VOLUME_LIMITS:
        m = abs(state.net_volume) + limit
        bend = m * m // ONE * k
        r = bend // ONE + m
        if m < 2**127 and bend < 2**254 and quoted.price * r < 2**239:
            return limit
    return -1


def _plain(pool: PoolState) -> bool:
    return (
        pool.liquidity != 0
        and abs(pool.liquidity) < COST_LIMIT
        and abs(pool.lps_pnl) < COST_LIMIT
        and abs(pool.cumulative_pnl_per_liquidity) < 2**200
        and abs(pool.initial_margin_required) < COST_LIMIT
        and 0 <= pool.min_liquidation_reward < 2**120
        and 0 <= pool.max_liquidation_reward < 2**120
        and 0 <= pool.liquidation_reward_cut_ratio < 2**64
        and pool.decimals_b0 <= 36
    )
