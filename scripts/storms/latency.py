"""From a price seen to bytes handed over, by the running daemon: many accounts watched, and 1, 20 or 100 that fall.

The accounts that are to fall stand in groups, each a step further away. Step by step prices fall, so that a price event
has exactly one group as its candidates; what the journal says of each of its transactions is the figure. It counts from
the first byte of the price server's answer until the bytes of the transaction are handed to the connections.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.daemon import run_daemon
from keeper.devnet.deri_world import Cohort, DeriWorld, moved, three_futures
from scripts.demos.stage import percentile
from scripts.storms.scene import allowed, blocks, load, scene

GROUPS = {1: 40, 20: 10, 100: 6}
"""How often each size of a group falls."""
NEAREST, STEP = 0.05, 0.003
WARMING = 6
"""The first groups of one account are not counted: a new process knows little yet."""
TARGET_US = {"p50": 2_000, "p99": 8_000}
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Microseconds by the size of the group: of the first transaction of each group, and of all."""

    watched: int
    first_us: Mapping[int, tuple[int, ...]]
    all_us: Mapping[int, tuple[int, ...]]
    loads: tuple[str, str]

    @property
    def good(self) -> bool:
        first = [us for each in self.first_us.values() for us in each]
        return percentile(first, 50) <= TARGET_US["p50"] and percentile(first, 99) <= TARGET_US["p99"]

    def figures(self) -> dict[str, object]:
        found: dict[str, object] = {"accounts watched": self.watched}
        for size, first in self.first_us.items():
            every = self.all_us[size]
            found[f"{size} at once, the first, p50 / p99"] = _pair(first)
            if size > 1:
                found[f"{size} at once, all of them, p50 / p99"] = _pair(every)
        before, after = self.loads
        return found | {"machine before": before, "machine after": after}


def _pair(values: tuple[int, ...]) -> str:
    return f"{percentile(values, 50) / 1000:.2f} / {percentile(values, 99) / 1000:.2f} ms ({len(values)})"


def world(watched: int, sizes: list[int]) -> DeriWorld:
    """One cohort for each group, a step further away than the one before, and everybody else far away."""
    groups = tuple(
        Cohort(f"group {number}", size, 1, (_distance(number), _distance(number) + STEP / 10))
        for number, size in enumerate(sizes)
    )
    return replace(
        three_futures(watched),
        cohorts=(*groups, Cohort("calm", watched - sum(sizes), 0, (0.45, 0.60))),
        liquidity_usd=watched * 100_000,
        lock_seconds=1,
    )


def _distance(number: int) -> float:
    return NEAREST + STEP * number


async def storm(folder: Path, watched: int, seed: int) -> Verdict:
    """Play it. Raises ``TimeoutError`` if a group is not liquidated."""
    chance = random.Random(seed)
    sizes = [size for size, times in GROUPS.items() for _ in range(times)]
    before = load()
    options = AnvilOptions(block_time=1, prune_history=64)
    async with scene(folder, world(watched, sizes), options=options) as place, run_daemon(place.config) as daemon:
        await daemon.wait_for(allowed, 120)
        await blocks(place.node, 3)
        groups: list[list[int]] = []
        for number in range(len(sizes)):
            last = _latest(place.journal)
            fall = Decimal(str(round(_distance(number) + STEP / 2, 6)))
            place.market.oracle.move(moved(place.market.world.symbols, -fall))
            async with asyncio.timeout(SECONDS):
                while len(found := _sent(place.journal, last)) < sizes[number]:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.2)
            groups.append(found)
            await blocks(place.node, 2)
            await asyncio.sleep(chance.uniform(0, 1))
        assert await daemon.stop() == 0, daemon.tail()
    first: dict[int, list[int]] = defaultdict(list)
    every: dict[int, list[int]] = defaultdict(list)
    for size, group in list(zip(sizes, groups, strict=True))[WARMING:]:
        first[size].append(group[0])
        every[size] += group
    return Verdict(
        watched,
        {size: tuple(values) for size, values in first.items()},
        {size: tuple(values) for size, values in every.items()},
        (before, load()),
    )


def _latest(journal: Path) -> int:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
        return int(connection.execute("SELECT coalesce(max(id), 0) FROM intents").fetchone()[0])


def _sent(journal: Path, after: int) -> list[int]:
    """Microseconds from the price to the bytes, for the intents after that one, in their order."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute(
            "SELECT s.elapsed_us FROM states s WHERE s.state = 'sent' AND s.intent_id > ? AND s.elapsed_us IS NOT NULL"
            " ORDER BY s.intent_id",
            (after,),
        ).fetchall()
    return [int(row[0]) for row in rows]
