"""What a local Deri market is to look like: symbols, rules, stakers, and cohorts of traders. Pure data, no chain.

A cohort's traders are placed by how far prices have to move against them: an account with distance 0.07 has its
maintenance margin left, and no more, once every index price has moved 7 % the wrong way from its start. So a crash of
8 % makes every long account in futures with a distance below 0.08 liquidatable, and no other. (An option's margin does
not rise forever as prices move on, so an account with options may be safe again beyond its distance.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeAlias

from coincurve import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

ONE = 10**18
_YEAR_SECONDS = 31_536_000


def e18(number: str | int | Decimal) -> int:
    """A plain number in 18-decimal fixed point. Raises ``ValueError`` if it has more decimals than that."""
    scaled = Decimal(number) * ONE
    if scaled != int(scaled):
        raise ValueError(f"{number} has more than 18 decimals")
    return int(scaled)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every kind of symbol is parametrised by (SymbolImplementation.Terms)."""

    alpha_e18: int = e18("0.1")
    funding_period_seconds: int = 259_200
    min_trade_volume_e18: int = e18("0.001")
    initial_margin_ratio_e18: int = e18("0.1")
    maintenance_margin_ratio_e18: int = e18("0.05")
    price_percent_threshold_e18: int = e18("0.01")
    time_threshold_seconds: int = 3_600
    starting_price_shift_limit_e18: int = e18("0.01")
    is_close_only: bool = False

    def as_tuple(self) -> tuple[int, int, int, int, int, int, int, int, bool]:
        """The constructor's struct."""
        return (
            self.alpha_e18,
            self.funding_period_seconds,
            self.min_trade_volume_e18,
            self.initial_margin_ratio_e18,
            self.maintenance_margin_ratio_e18,
            self.price_percent_threshold_e18,
            self.time_threshold_seconds,
            self.starting_price_shift_limit_e18,
            self.is_close_only,
        )


@dataclass(frozen=True, slots=True)
class Futures:
    """A perpetual future on an index price."""

    name: str
    price_e18: int
    """What the index starts at."""
    terms: Terms = Terms()
    fee_ratio_e18: int = e18("0.0005")

    @property
    def underlying(self) -> Futures:
        return self

    def worth(self, price: float) -> Worth:
        return Worth(price, price * self.terms.maintenance_margin_ratio_e18 / ONE)


@dataclass(frozen=True, slots=True)
class Option:
    """An everlasting call or put on a future's index price."""

    name: str
    underlying: Futures
    strike_e18: int
    is_call: bool
    volatility_e18: int = e18("0.75")
    """What the volatility ``VOL-<underlying>`` starts at; the same for all symbols on an underlying."""
    terms: Terms = Terms(min_trade_volume_e18=e18("0.01"))
    fee_ratio_itm_e18: int = e18("0.0015")
    fee_ratio_otm_e18: int = e18("0.05")
    min_initial_margin_ratio_e18: int = e18("0.01")

    @property
    def price_e18(self) -> int:
        return self.underlying.price_e18

    def worth(self, price: float) -> Worth:
        """EverlastingOption.value and SymbolImplementationOption._maintenancePerVolume, in floating point."""
        strike, sign = self.strike_e18 / ONE, 1 if self.is_call else -1
        years = self.terms.funding_period_seconds / _YEAR_SECONDS
        u = math.sqrt(8 / (self.volatility_e18 / ONE) ** 2 / years + 1)
        slope = 1 - u if price > strike else 1 + u
        time_value = strike * (price / strike) ** (slope / 2) / u
        delta = slope * time_value / price / 2
        intrinsic = max(0.0, sign * (price - strike))
        if intrinsic > 0:
            delta += sign
        elif price == strike:
            delta = sign / 2
        ratio = self.terms.maintenance_margin_ratio_e18 / ONE
        return Worth(
            intrinsic + time_value, sign * delta * price * ratio + (u * u - 1) * time_value / 8 * ratio * ratio
        )


@dataclass(frozen=True, slots=True)
class Power:
    """A perpetual on the square of a future's index price."""

    name: str
    underlying: Futures
    volatility_e18: int = e18("0.75")
    terms: Terms = Terms(min_trade_volume_e18=e18("0.000001"))
    fee_ratio_e18: int = e18("0.0005")

    @property
    def price_e18(self) -> int:
        return self.underlying.price_e18

    def worth(self, price: float) -> Worth:
        """SymbolImplementationPower._quote, in floating point."""
        years = self.terms.funding_period_seconds / _YEAR_SECONDS
        value = price**2 / (1 - (self.volatility_e18 / ONE) ** 2 * years)
        return Worth(value, value * self.terms.maintenance_margin_ratio_e18 / ONE)


SymbolSpec: TypeAlias = Futures | Option | Power


@dataclass(frozen=True, slots=True)
class Worth:
    """A symbol at some index price: its theoretical price, and the maintenance margin for a volume of one."""

    value: float
    maintenance: float


@dataclass(frozen=True, slots=True)
class Cohort:
    """Traders of one kind. Ranges are drawn from evenly."""

    name: str
    traders: int
    side: int
    """1: all long, -1: all short, 0: each trader one or the other."""
    distance: tuple[float, float]
    """The adverse move, as a fraction of the starting prices, that uses an account's margin up."""
    symbols: tuple[str, ...] = ()
    """What they trade in; empty: in any of the world's."""
    positions: tuple[int, int] = (1, 3)
    """The fewest and the most symbols that an account holds."""
    notional_usd: tuple[int, int] = (2_000, 20_000)
    """Of one position, at the starting price."""
    entry_spread: float = 0.02
    """Entry prices are up to that far from the starting price; the margin makes up for the profit or loss."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The Lite pool's parameters (PoolBase.Rules)."""

    pool_initial_margin_multiplier_e18: int = 10 * ONE
    protocol_fee_collect_ratio_e18: int = e18("0.2")
    min_liquidation_reward_e18: int = 10 * ONE
    max_liquidation_reward_e18: int = 1_000 * ONE
    liquidation_reward_cut_ratio_e18: int = e18("0.5")

    def as_tuple(self) -> tuple[int, int, int, int, int]:
        """The constructor's struct."""
        return (
            self.pool_initial_margin_multiplier_e18,
            self.protocol_fee_collect_ratio_e18,
            self.min_liquidation_reward_e18,
            self.max_liquidation_reward_e18,
            self.liquidation_reward_cut_ratio_e18,
        )


@dataclass(frozen=True, slots=True)
class Collateral:
    """What a full pool takes beside B0, through a market of the lending protocol."""

    name: str
    price_e18: int
    """In B0, for the lending protocol, the swapper and the oracle alike."""
    native: bool = False
    """The chain's own coin."""
    decimals: int = 18
    collateral_factor_e18: int = e18("0.8")
    swap_fee_bps: int = 30

    @property
    def oracle(self) -> str:
        """The price that the swapper's result is held against."""
        return f"{self.name}USD"


@dataclass(frozen=True, slots=True)
class Vaults:
    """What makes a pool a full one: traders' collateral sits in vaults, in a lending protocol."""

    collaterals: tuple[Collateral, ...] = (
        Collateral("BNB", e18(300), native=True),
        Collateral("CAKE", e18(4)),
    )
    decimals_b0: int = 18
    collateral_factor_b0_e18: int = e18("0.8")
    liquidity_multiplier_e18: int = e18("1.25")
    """What the pool counts of the lending protocol's figure."""
    reserve_ratio_b0_e18: int = e18("0.25")
    """How much of a deposit of B0 stays at hand."""
    min_ratio_b0_e18: int = e18("0.05")
    max_slippage_e18: int = e18("0.1")
    borrow_rate_per_second_e18: int = 1_600_000_000
    """Five percent a year, on the half of the lent B0 that somebody borrows."""

    def all_collaterals(self) -> tuple[Collateral, ...]:
        """What is taken, ``B0`` first."""
        b0 = Collateral(
            "B0", ONE, decimals=self.decimals_b0, collateral_factor_e18=self.collateral_factor_b0_e18, swap_fee_bps=0
        )
        return (b0, *self.collaterals)


@dataclass(frozen=True, slots=True)
class DeriWorld:
    """A whole market. The same world always gives the same accounts, addresses and keys."""

    symbols: tuple[SymbolSpec, ...]
    cohorts: tuple[Cohort, ...]
    seed: int = 1
    liquidity_usd: int = 20_000_000
    rules: Rules = Rules()
    vaults: Vaults | None = None
    """None: a Lite pool."""
    privileged: bool = True
    """False: the pool has no privileger, and anybody may liquidate."""
    lock_seconds: int = 5
    """The privileger's ``minLockTime``."""
    min_deposit_deri: int = 10_000
    stakes_deri: tuple[int, ...] = (30_000, 20_000, 10_000)
    """What others have staked; the first is above the average, so a rival."""
    liquidator_deri: int = 100_000
    """What the liquidator owns and has not staked."""
    liquidator_eth: int = 100
    delay_allowance_seconds: int = 600
    """How long a signed reading is good for."""
    chainlink: frozenset[str] = frozenset()
    """Prices that come from Chainlink feeds on chain, not from signed readings."""
    woo: frozenset[str] = frozenset()
    """Prices that come from Woo feeds on chain."""

    def prices_e18(self) -> dict[str, int]:
        """What every oracle starts at, by name: the index prices, then the volatilities that symbols need."""
        collaterals = self.vaults.collaterals if self.vaults else ()
        prices = {collateral.oracle: collateral.price_e18 for collateral in collaterals}
        prices |= {symbol.underlying.name: symbol.price_e18 for symbol in self.symbols}
        return prices | {
            volatility_name(symbol.underlying): symbol.volatility_e18
            for symbol in self.symbols
            if not isinstance(symbol, Futures)
        }


BTC = Futures("BTCUSD", e18(30_000))
ETH = Futures("ETHUSD", e18(2_000), terms=Terms(min_trade_volume_e18=e18("0.01")))
BNB = Futures("BNBUSD", e18(300), terms=Terms(min_trade_volume_e18=e18("0.1")))


def three_futures(traders: int = 200, *, seed: int = 1) -> DeriWorld:
    """The usual local market: three futures, longs and shorts at all distances, a third of them near."""
    near = traders // 3
    shorts = traders // 3
    return DeriWorld(
        symbols=(BTC, ETH, BNB),
        cohorts=(
            Cohort("near longs", near, 1, (0.05, 0.10)),
            Cohort("shorts", shorts, -1, (0.06, 0.40)),
            Cohort("far longs", traders - near - shorts, 1, (0.15, 0.60)),
        ),
        seed=seed,
        liquidity_usd=max(20_000_000, traders * 100_000),
    )


def all_kinds(traders: int = 200, *, seed: int = 1) -> DeriWorld:
    """Three futures, four everlasting options and two powers; otherwise like ``three_futures``."""
    return replace(
        three_futures(traders, seed=seed),
        symbols=(
            BTC,
            ETH,
            BNB,
            Option("BTCUSD-30000-C", BTC, e18(30_000), is_call=True),
            Option("BTCUSD-28000-P", BTC, e18(28_000), is_call=False),
            Option("ETHUSD-2100-C", ETH, e18(2_100), is_call=True),
            Option("ETHUSD-2000-P", ETH, e18(2_000), is_call=False),
            Power("BTC^2", BTC),
            Power("ETH^2", ETH, terms=Terms(min_trade_volume_e18=e18("0.0001"))),
        ),
    )


def full_pool(traders: int = 60, *, seed: int = 1) -> DeriWorld:
    """Everything at once: all kinds of symbols, vaults, and prices from Chainlink and Woo beside the signed ones."""
    return replace(
        all_kinds(traders, seed=seed),
        vaults=Vaults(),
        chainlink=frozenset({"BNBUSD"}),
        woo=frozenset({"CAKEUSD"}),
    )


def account_key(world: DeriWorld, role: str) -> bytes:
    """The private key of a role (``liquidator``, ``trader 7``) in a world: worthless outside of it."""
    return keccak(text=f"keeper devnet {world.seed} {role}")


def address_of(key: bytes) -> str:
    """The account of a private key."""
    return to_checksum_address(keccak(PrivateKey(key).public_key.format(compressed=False)[1:])[-20:])


def volatility_name(underlying: Futures) -> str:
    """The oracle of a future's volatility."""
    return f"VOL-{underlying.name}"


def moved(symbols: Sequence[SymbolSpec], change: str | Decimal) -> dict[str, int]:
    """Index prices after they all moved by a fraction of the start: ``moved(world.symbols, "-0.08")``."""
    return {symbol.underlying.name: int(symbol.price_e18 * (1 + Decimal(change))) for symbol in symbols}
