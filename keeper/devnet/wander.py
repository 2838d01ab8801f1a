"""Prices that move by themselves: swings that grow, so that a market left alone always has something to do."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from keeper.devnet.deri_world import DeriWorld
from keeper.devnet.oracle_server import OracleServer

STEP_S = 0.5
PERIOD_S = 60.0
FIRST_SWING, GROWTH_A_MINUTE, WIDEST_SWING = 0.065, 0.005, 0.45
"""How far prices swing to either side, as fractions of where they started."""


def prices_at(world: DeriWorld, seconds: float) -> Mapping[str, int]:
    """The index prices after so many seconds of wandering; volatilities stay."""
    swing = min(FIRST_SWING + GROWTH_A_MINUTE * seconds / 60, WIDEST_SWING)
    return {
        name: int(price_e18 * (1 - swing * _wave(index, seconds)))
        for index, (name, price_e18) in enumerate(sorted(world.prices_e18().items()))
        if not name.startswith("VOL-")
    }


def _wave(index: int, seconds: float) -> float:
    """Between -1 and 1: one slow swing for all, and a ripple of each price's own."""
    slow = math.sin(2 * math.pi * seconds / PERIOD_S)
    ripple = math.sin(2 * math.pi * seconds / (7.0 + 2.3 * index) + index)
    return 0.92 * slow + 0.08 * ripple


async def wander(oracle: OracleServer, world: DeriWorld) -> None:
    """Move the signed prices until cancelled. Prices from feeds on chain are left where they are."""
    began = time.monotonic()
    while True:
        prices = prices_at(world, time.monotonic() - began)
        oracle.move({name: price for name, price in prices.items() if name in oracle.values_e18})
        await asyncio.sleep(STEP_S)
