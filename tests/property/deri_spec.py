"""``liquidate()`` of Deri V3 written a second time: straight from the protocol's description, slow, shared with nobody.

``Int`` is a 256-bit signed integer whose operators behave as Solidity's do, so the formulas read as they are written
down. Nothing here comes from the engine but the records that hold the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from math import isqrt

from keeper.protocols.deri.state import AccountState, Flavour, MarketState, OracleKind, Symbol, SymbolKind


class RevertError(Exception):
    """The call reverts; the text is the reason."""


class Int:
    """A signed 256-bit integer: checked, and divided toward zero."""

    def __init__(self, value: int) -> None:
        if not -(2**255) <= value <= 2**255 - 1:
            raise RevertError("Panic(0x11)")
        self.value = value

    def __add__(self, other: Int | int) -> Int:
        return Int(self.value + _plain(other))

    def __sub__(self, other: Int | int) -> Int:
        return Int(self.value - _plain(other))

    def __mul__(self, other: Int | int) -> Int:
        return Int(self.value * _plain(other))

    def __truediv__(self, other: Int | int) -> Int:
        divisor = _plain(other)
        if divisor == 0:
            raise RevertError("Panic(0x12)")
        size = abs(self.value) // abs(divisor)
        return Int(size if (self.value < 0) == (divisor < 0) else -size)

    def __neg__(self) -> Int:
        return Int(-self.value)

    def __abs__(self) -> Int:
        return Int(abs(self.value))

    def __lt__(self, other: Int | int) -> bool:
        return self.value < _plain(other)

    def __le__(self, other: Int | int) -> bool:
        return self.value <= _plain(other)

    def __gt__(self, other: Int | int) -> bool:
        return self.value > _plain(other)

    def __ge__(self, other: Int | int) -> bool:
        return self.value >= _plain(other)


def _plain(number: Int | int) -> int:
    return number.value if isinstance(number, Int) else number


ONE = Int(10**18)


def wrapped(value: int) -> Int:
    value %= 2**256
    return Int(value - 2**256 if value >= 2**255 else value)


# --- the power function ----------------------------------------------------------------------------------------------


def exp2_factors() -> list[int]:
    with localcontext() as context:
        context.prec = 120
        return [int(Decimal(2) ** (Decimal(1) / Decimal(2**i)) * Decimal(2**128)) for i in range(1, 65)]


_FACTORS = exp2_factors()


def log2_128(v: int) -> int:
    highest = v.bit_length() - 1
    shift = highest - 128
    f = (v >> shift if shift >= 0 else v << -shift) - 2**128
    result = shift * 2**128
    for i in range(1, 129):
        if f == 0:
            break
        f = (f << 1) + ((f * f + 2**127) >> 128)
        if f > 2**128 - 1:
            result += 2 ** (128 - i)
            f = (f >> 1) - 2**127
    return result


def exp2_64x64(e: int) -> int:
    if e < -(2**70):
        return 0
    if e >= 2**70:
        raise RevertError("pow18: exponent too large")
    product = 2**127
    for i in range(1, 65):
        if (e >> (64 - i)) & 1:
            product = (product * _FACTORS[i - 1]) >> 128
    return product >> (63 - (e >> 64))


def pow18(x: Int, y: Int) -> Int:
    ratio = (x.value << 128) // 10**18
    if ratio == 0:
        raise RevertError("pow18: logarithm of zero")
    log = Int((log2_128(ratio) * 10**18) >> 128)
    exponent = Int((log * y / ONE).value << 64) / ONE
    return Int((exp2_64x64(exponent.value) * 10**18) >> 64)


# --- one symbol ------------------------------------------------------------------------------------------------------


def mark(p: Int, k: Int, n: Int) -> Int:
    return p * (ONE + k * n / ONE) / ONE


def cost(p: Int, k: Int, n: Int, q: Int) -> Int:
    r = ((n + q) * (n + q) - n * n) / ONE * k / ONE / 2 + q
    return p * r / ONE


@dataclass
class Priced:
    index: Int
    price: Int
    fair: Int
    k: Int
    maintenance: Int
    initial: Int


def futures(symbol: Symbol, p: Int, liquidity: Int) -> Priced:
    params = symbol.params
    return Priced(p, p, p, p * params.alpha / liquidity, Int(0), Int(0))


def option(symbol: Symbol, p: Int, v: Int, liquidity: Int) -> Priced:
    params = symbol.params
    x = Int(params.strike_price)
    t = Int(params.funding_period_s) * ONE / 31536000
    in_the_money = p - x if params.is_call else x - p
    intrinsic = in_the_money if in_the_money > 0 else Int(0)
    u2 = Int(8) * ONE * ONE / v * ONE / v * ONE / t + ONE
    u = Int(isqrt((u2 * ONE).value))
    ratio = p * ONE / x
    if p > x:
        tv = x * pow18(ratio, (ONE - u) / 2) / u
        delta = (ONE - u) * tv / p / 2
    elif p.value == x.value:
        tv = x * ONE / u
        delta = Int(0)
    else:
        tv = x * pow18(ratio, (ONE + u) / 2) / u
        delta = (ONE + u) * tv / p / 2
    tp = intrinsic + tv
    if intrinsic > 0:
        delta = delta + ONE if params.is_call else delta - ONE
    elif p.value == x.value:
        delta = ONE / 2 if params.is_call else -(ONE / 2)
    k = p * p / tp * abs(delta) * params.alpha / liquidity / ONE
    mmr = params.maintenance_margin_ratio
    delta_part = delta * (p if params.is_call else -p) / ONE * mmr / ONE
    gamma_part = (u * u / ONE - ONE) * tv / ONE / 8 * mmr / ONE * mmr / ONE
    m = delta_part + gamma_part
    by_ratio = m * params.initial_margin_ratio / mmr
    least = p * params.min_initial_margin_ratio / ONE
    return Priced(p, tp, intrinsic, k, m, max(least, by_ratio))


def power(symbol: Symbol, p: Int, v: Int, liquidity: Int) -> Priced:
    params = symbol.params
    one_ht = ONE - v * v / ONE * params.funding_period_s / 31536000
    pp = p * p / ONE
    tp = pp * ONE / one_ht
    k = Int(2) * tp * params.alpha / liquidity
    m = tp * params.maintenance_margin_ratio / ONE
    return Priced(p, tp, pp, k, m, m * params.initial_margin_ratio / params.maintenance_margin_ratio)


def get_value(market: MarketState, oracle_id: str, t: int) -> Int:
    oracle = market.oracles[oracle_id]
    if oracle.kind is OracleKind.OFFCHAIN and t >= oracle.timestamp + oracle.delay_allowance_s:
        raise RevertError(f"OracleOffChain.getValue: {oracle.name} expired")
    return Int(oracle.value)


_NAMES = {SymbolKind.FUTURES: "Futures", SymbolKind.OPTION: "Option", SymbolKind.POWER: "Power"}


@dataclass
class Outcome:
    """What the call came to, as far as it went."""

    revert: str | None = None
    rows: list[dict[str, int]] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=dict)
    margin: int | None = None
    reward: int | None = None
    lps_pnl: int | None = None
    cumulative: int | None = None
    symbols: dict[str, dict[str, int]] = field(default_factory=dict)


def liquidate(
    market: MarketState, account: AccountState | None, number: int, t: int, received_b0: tuple[int, ...] = ()
) -> Outcome:
    """The whole call by the book; ``received_b0`` in raw B0."""
    outcome = Outcome()
    try:
        _liquidate(market, account, number, t, received_b0, outcome)
    except RevertError as revert:
        outcome.revert = str(revert)
    return outcome


def _liquidate(
    market: MarketState,
    account: AccountState | None,
    number: int,
    t: int,
    received_b0: tuple[int, ...],
    outcome: Outcome,
) -> None:
    pool = market.pool
    name = "PoolImplementationLite.liquidate: " if pool.flavour is Flavour.LITE else "PoolImplementation.liquidate: "
    if account is None:
        raise RevertError(name + "nonexistent pTokenId")
    liquidity = Int(pool.liquidity) + pool.lps_pnl
    totals = {key: Int(0) for key in ("funding", "delta", "trader_funding", "pnl", "maintenance", "realized")}
    rows: list[dict[str, int]] = []
    for position in account.positions:
        row, after = _settle(market, position.symbol_id, liquidity, number, t, account)
        rows.append({key: value.value for key, value in row.items()})
        outcome.symbols[position.symbol_id] = after
        for key in totals:
            totals[key] = totals[key] + row[key]
    margin = Int(account.amount_b0) - totals["trader_funding"] + _vault(market, account)
    outcome.rows = rows
    outcome.sums = {key: value.value for key, value in totals.items()}
    outcome.margin = margin.value
    if not totals["maintenance"] > 0:
        raise RevertError(name + "no position")
    if not margin + totals["pnl"] < totals["maintenance"]:
        raise RevertError(name + "cannot liquidate")
    a = Int(account.amount_b0) - totals["trader_funding"] - totals["realized"]
    for received in received_b0:
        a = a + received * 10**18 // 10**pool.decimals_b0
    least, most = Int(pool.min_liquidation_reward), Int(pool.max_liquidation_reward)
    reward = least
    if a > least:
        reward = (a - least) * pool.liquidation_reward_cut_ratio / ONE + least
        if reward > most:
            reward = most
    raw = reward.value * 10**pool.decimals_b0 // 10**18
    d = totals["funding"] - totals["delta"] + totals["realized"] + a - raw * 10**18 // 10**pool.decimals_b0
    cumulative = (Int(pool.cumulative_pnl_per_liquidity) + d * ONE / pool.liquidity).value
    outcome.lps_pnl = (Int(pool.lps_pnl) + d).value
    outcome.cumulative = cumulative
    outcome.reward = raw


def _settle(
    market: MarketState, symbol_id: str, liquidity: Int, number: int, t: int, account: AccountState
) -> tuple[dict[str, Int], dict[str, int]]:
    symbol = market.symbols[symbol_id]
    params, state = symbol.params, symbol.state
    position = next(held for held in account.positions if held.symbol_id == symbol_id)
    p = get_value(market, params.price_id, t)
    if params.kind is SymbolKind.FUTURES:
        priced = futures(symbol, p, liquidity)
    else:
        v = get_value(market, params.volatility_id or "", t)
        priced = (option if params.kind is SymbolKind.OPTION else power)(symbol, p, v, liquidity)
    n, k, tp = Int(state.net_volume), priced.k, priced.price
    if t < state.funding_timestamp:
        raise RevertError("Panic(0x11)")
    diff = (mark(tp, k, n) - priced.fair) * (t - state.funding_timestamp) / params.funding_period_s
    cumulative = wrapped(state.cumulative_funding_per_volume + diff.value)
    funding = n * diff / ONE
    last = state.net_volume if number > state.last_net_volume_block else state.last_net_volume
    allowance = Int(params.starting_price_shift_limit) * ONE / k
    q, c = Int(position.volume), Int(position.cost)
    if not ((q >= 0 and n + allowance >= last) or (q <= 0 and n <= allowance + last)):
        raise RevertError(f"SymbolImplementation{_NAMES[params.kind]}.settleOnLiquidate: slippage exceeds allowance")
    trader_funding = q * wrapped(cumulative.value - position.cumulative_funding_per_volume) / ONE
    notional = q * tp / ONE
    if params.kind is SymbolKind.FUTURES:
        maintenance = abs(notional) * params.maintenance_margin_ratio / ONE
    else:
        maintenance = abs(q) * priced.maintenance / ONE
    closing = cost(tp, k, n, -q)
    n2, c2 = n - q, Int(state.net_cost) - c
    traders_pnl = -cost(tp, k, n2, -n2) - c2
    if params.kind is SymbolKind.FUTURES:
        initial = abs(n2) * p / ONE * params.initial_margin_ratio / ONE
    else:
        initial = abs(n2) * priced.initial / ONE
    row = {
        "funding": funding,
        "delta": traders_pnl - state.traders_pnl,
        "initial": initial - state.initial_margin_required,
        "index": p,
        "trader_funding": trader_funding,
        "pnl": notional - c,
        "maintenance": maintenance,
        "volume": -q,
        "cost": closing,
        "realized": closing + c,
    }
    after = {
        "net_volume": n2.value,
        "net_cost": c2.value,
        "cumulative": cumulative.value,
        "traders_pnl": traders_pnl.value,
        "initial": initial.value,
        "last_net_volume": last,
    }
    return row, after


def _vault(market: MarketState, account: AccountState) -> Int:
    if account.vault is None:
        return Int(0)
    if account.vault.liquidity is not None:
        return Int(account.vault.liquidity)
    total = Int(0)
    for v_token, balance in account.vault.balances:
        venus = market.vault_markets[v_token]
        unit = Int(venus.collateral_factor) * venus.exchange_rate_stored / ONE * venus.oracle_price / ONE
        total = total + Int(balance) * unit / ONE
    return total * market.pool.vault_liquidity_multiplier / ONE
