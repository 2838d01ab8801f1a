"""Turns a world's cohorts into accounts: owners, margins and positions, the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from keeper.devnet.deri_world import (
    ONE,
    Cohort,
    DeriWorld,
    Option,
    Power,
    SymbolSpec,
    Vaults,
    account_key,
    address_of,
)
from keeper.errors import ConfigError

_AIR = 1.2
"""An option may want its margin most where prices start; accounts that hold one begin with that much more."""


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
    """In 1e18, whatever B0's decimals are."""
    positions: tuple[Position, ...]
    at_hand_b0: int
    """The part of the margin that the pool holds as ``amountB0``, in 1e18. In a Lite pool: all of it."""
    collateral: str | None = None
    """What is in the account's vault, if there is one: a collateral's name, or ``B0``."""
    collateral_amount: int = 0
    """How much of it, in its own decimals."""


def plan_traders(world: DeriWorld) -> list[Trader]:
    """Every account of a world, in the order of seeding. Raises ``ConfigError`` for a cohort that can't be."""
    return list(_traders(world))


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


def _trader(
    world: DeriWorld, cohort: Cohort, p_token_id: int, held: Sequence[SymbolSpec], draw: random.Random
) -> Trader:
    side = cohort.side or draw.choice((1, -1))
    distance = draw.uniform(*cohort.distance)
    # Long is whoever loses when prices fall, so long puts are held by the short side.
    volumes_e18 = [
        side * _long_sign(symbol) * _volume_e18(symbol, draw.randint(*cohort.notional_usd)) for symbol in held
    ]

    def needed(move: float) -> float:
        """What is lost when prices have moved so far, and the maintenance margin of what is left then."""
        total = 0.0
        for symbol, volume_e18 in zip(held, volumes_e18, strict=True):
            start = symbol.price_e18 / ONE
            now, then = symbol.worth(start), symbol.worth(start * (1 - side * move))
            total += volume_e18 / ONE * (now.value - then.value) + abs(volume_e18) / ONE * then.maintenance
        return total

    margin = needed(distance)
    if any(isinstance(symbol, Option) for symbol in held):
        margin = max(margin, needed(0) * _AIR)
    positions = []
    for symbol, volume_e18 in zip(held, volumes_e18, strict=True):
        value = volume_e18 / ONE * symbol.worth(symbol.price_e18 / ONE).value
        profit = abs(value) * draw.uniform(-cohort.entry_spread, cohort.entry_spread)
        margin -= profit
        positions.append(Position(symbol.name, volume_e18, int((value - profit) * ONE)))
    if margin <= 0:
        raise ConfigError(
            f"cohort {cohort.name!r} to have accounts with margin",
            f"trader {p_token_id} would have {margin:.2f}",
            "raise the distance or lower the entry spread",
        )
    key = account_key(world, f"trader {p_token_id}")
    margin_b0 = int(margin * ONE)
    at_hand_b0, collateral, amount = _deposit(world.vaults, margin_b0, draw)
    return Trader(
        p_token_id=p_token_id,
        cohort=cohort.name,
        owner=address_of(key),
        key=key,
        side=side,
        distance_e18=int(distance * ONE),
        margin_b0=margin_b0,
        positions=tuple(positions),
        at_hand_b0=at_hand_b0,
        collateral=collateral,
        collateral_amount=amount,
    )


def _long_sign(symbol: SymbolSpec) -> int:
    return -1 if isinstance(symbol, Option) and not symbol.is_call else 1


def _volume_e18(symbol: SymbolSpec, notional_usd: int) -> int:
    """The volume of a notional at the starting price, in whole steps of the least that can be traded."""
    start = symbol.price_e18 / ONE
    unit = symbol.worth(start).value if isinstance(symbol, Power) else start
    step = symbol.terms.min_trade_volume_e18
    return max(step, int(notional_usd / unit * ONE) // step * step)


def _deposit(vaults: Vaults | None, margin_b0: int, draw: random.Random) -> tuple[int, str | None, int]:
    """How a margin is split: what is at hand, and which collateral, and how much of it, is in the vault."""
    if vaults is None:
        return margin_b0, None, 0
    unit = 10 ** (18 - vaults.decimals_b0)
    at_hand_b0 = margin_b0 * vaults.reserve_ratio_b0_e18 // ONE // unit * unit
    chosen = draw.choice(vaults.all_collaterals())
    counted_e18 = chosen.price_e18 * chosen.collateral_factor_e18 // ONE * vaults.liquidity_multiplier_e18 // ONE
    return at_hand_b0, chosen.name, (margin_b0 - at_hand_b0) * 10**chosen.decimals // counted_e18
