"""What a local Deri market is to look like: symbols, rules, stakers, and cohorts of traders. Pure data, no chain.

A cohort's traders are placed by how far prices have to move against them: an account with distance 0.07 has exactly
its maintenance margin left once every symbol it holds has moved 7 % the wrong way from the starting price. So a crash
of 8 % makes every long account with a distance below 0.08 liquidatable, and no other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from coincurve import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.errors import ConfigError

ONE = 10**18


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
    terms: Terms = Terms()
    fee_ratio_e18: int = e18("0.0005")


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
class DeriWorld:
    """A whole market. The same world always gives the same accounts, addresses and keys."""

    symbols: tuple[Futures, ...]
    cohorts: tuple[Cohort, ...]
    seed: int = 1
    liquidity_usd: int = 20_000_000
    rules: Rules = Rules()
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


@dataclass(frozen=True, slots=True)
class Position:
    """A position to be written: volume and cost in 1e18, cost with the volume's sign."""

    symbol: str
    volume_e18: int
    cost_e18: int


@dataclass(frozen=True, slots=True)
class Trader:
    """One account. ``p_token_id`` is what it will get: ids count from 1 in the order of seeding."""

    p_token_id: int
    cohort: str
    owner: str
    key: bytes = field(repr=False)
    side: int
    distance_e18: int
    margin_b0: int
    positions: tuple[Position, ...]


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


def plan_traders(world: DeriWorld) -> list[Trader]:
    """Every account of a world, in the order of seeding. Raises ``ConfigError`` for a cohort that can't be."""
    return list(_traders(world))


def account_key(world: DeriWorld, role: str) -> bytes:
    """The private key of a role (``liquidator``, ``trader 7``) in a world: worthless outside of it."""
    return keccak(text=f"keeper devnet {world.seed} {role}")


def address_of(key: bytes) -> str:
    """The account of a private key."""
    return to_checksum_address(keccak(PrivateKey(key).public_key.format(compressed=False)[1:])[-20:])


def moved(symbols: Sequence[Futures], change: str | Decimal) -> dict[str, int]:
    """The prices of symbols after they all moved by a fraction of the start: ``moved(world.symbols, "-0.08")``."""
    return {symbol.name: int(symbol.price_e18 * (1 + Decimal(change))) for symbol in symbols}


def _traders(world: DeriWorld) -> Iterator[Trader]:
    by_name = {symbol.name: symbol for symbol in world.symbols}
    p_token_id = 0
    for cohort in world.cohorts:
        names = cohort.symbols or tuple(by_name)
        if unknown := set(names) - by_name.keys():
            raise ConfigError(
                f"cohort {cohort.name!r} to trade in {', '.join(by_name)}",
                f"it names {', '.join(sorted(unknown))}",
                "name one of those",
            )
        # One generator for each cohort, so that a larger cohort does not change the others.
        draw = random.Random(f"{world.seed} {cohort.name}")  # noqa: S311
        for _ in range(cohort.traders):
            p_token_id += 1
            held = draw.sample(names, min(len(names), draw.randint(*cohort.positions)))
            yield _trader(world, cohort, p_token_id, [by_name[name] for name in held], draw)


def _trader(world: DeriWorld, cohort: Cohort, p_token_id: int, held: Sequence[Futures], draw: random.Random) -> Trader:
    side = cohort.side or draw.choice((1, -1))
    distance_e18 = int(draw.uniform(*cohort.distance) * ONE)
    margin_b0 = 0
    positions = []
    for symbol in held:
        step = symbol.terms.min_trade_volume_e18
        wanted_e18 = draw.randint(*cohort.notional_usd) * ONE * ONE // symbol.price_e18
        volume_e18 = max(step, wanted_e18 // step * step)
        notional_e18 = volume_e18 * symbol.price_e18 // ONE
        profit_e18 = int(notional_e18 * draw.uniform(-cohort.entry_spread, cohort.entry_spread))
        # At the distance, what is lost plus the maintenance margin of what is left is all there is.
        moved_e18 = notional_e18 * (ONE - side * distance_e18) // ONE
        margin_b0 += notional_e18 * distance_e18 // ONE - profit_e18
        margin_b0 += moved_e18 * symbol.terms.maintenance_margin_ratio_e18 // ONE
        positions.append(Position(symbol.name, side * volume_e18, side * notional_e18 - profit_e18))
    if margin_b0 <= 0:
        raise ConfigError(
            f"cohort {cohort.name!r} to have accounts with margin",
            f"trader {p_token_id} would have {margin_b0 / ONE:.2f}",
            "raise the distance or lower the entry spread",
        )
    key = account_key(world, f"trader {p_token_id}")
    return Trader(p_token_id, cohort.name, address_of(key), key, side, distance_e18, margin_b0, tuple(positions))
