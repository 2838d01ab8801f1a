"""The keeper is killed at random moments of a storm, and started again each time.

Prices swing to both sides and ever further, so that every second some accounts fall; some of them are safe again a
moment later. A kill comes at a random moment of a start or of the work after it. When the last kill is over the keeper
is left alone until nothing moves any more, and then its journal is held against the chain.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from keeper.devnet.daemon import Daemon, run_daemon
from keeper.devnet.deri_world import Cohort, DeriWorld, moved, three_futures
from scripts.storms.books import read_books
from scripts.storms.scene import Scene, allowed, blocks, held, load, mined, repeated, scene

ACCOUNTS_PER_KILL = 12
EARLY = 0.15
"""The part of the kills that come while the keeper is still starting."""
STARTING_S = 2.0
WORKING_S = 2.5
NEAREST, FARTHEST = 0.05, 0.55
"""How far the nearest and the farthest account are from being liquidated, as fractions of the starting prices."""
STEP_S = (0.3, 0.9)
QUIET_BLOCKS = 4
STOP_S = 180.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a storm of kills did. Every figure but the first four ought to be zero."""

    kills: int
    liquidated: int
    reverted: int
    cancelled: int
    liquidated_twice: int
    """Accounts that two mined transactions of ours closed."""
    sent_twice: int
    """Accounts that two different transactions of ours were mined for, whatever became of them."""
    nonces_lost: int
    """Mined transactions of ours that the journal does not know, transactions that the node still holds (they wait for
    a nonce that nobody uses), and intents without an end."""
    rewards_missing_b0: int
    """On chain less in the journal."""
    fees_missing_wei: int

    @property
    def faults(self) -> int:
        return sum(
            map(
                abs,
                (
                    self.liquidated_twice,
                    self.sent_twice,
                    self.nonces_lost,
                    self.rewards_missing_b0,
                    self.fees_missing_wei,
                ),
            )
        )

    @property
    def good(self) -> bool:
        return self.faults == 0

    def figures(self) -> dict[str, object]:
        return {
            "kills": self.kills,
            "accounts liquidated": self.liquidated,
            "transactions reverted": self.reverted,
            "transactions cancelled": self.cancelled,
            "accounts liquidated twice": self.liquidated_twice,
            "accounts sent twice": self.sent_twice,
            "nonces lost": self.nonces_lost,
            "rewards on chain less in the journal (B0)": self.rewards_missing_b0,
            "fees on chain less in the journal (wei)": self.fees_missing_wei,
            "machine": load(),
        }


def world(kills: int) -> DeriWorld:
    """Longs and shorts at all distances, enough of them for every kill to find some falling."""
    each = kills * ACCOUNTS_PER_KILL // 2
    return replace(
        three_futures(2 * each),
        cohorts=(
            Cohort("longs", each, 1, (NEAREST, FARTHEST)),
            Cohort("shorts", each, -1, (NEAREST, FARTHEST)),
        ),
        lock_seconds=1,
    )


async def storm(folder: Path, kills: int, seed: int, *, tell: bool = True) -> Verdict:
    """Play it. Raises ``AssertionError`` if the keeper ends by itself or does not come to rest."""
    chance = random.Random(seed)
    async with scene(folder, world(kills)) as place:
        began = time.monotonic()
        done = Progress(kills)
        async with _swinging(place, done, chance):
            for number in range(1, kills + 1):
                await _one_kill(place, chance)
                done.kills = number
                if tell and number % 10 == 0:
                    print(f"{number} kills, {time.monotonic() - began:.0f} s, {load()}", flush=True)
        async with run_daemon(place.config) as daemon:
            await daemon.wait_for(allowed, 60)
            await _rest(place, daemon)
            assert await daemon.stop() == 0, daemon.tail()
        return await judge(place, kills)


@dataclass(slots=True)
class Progress:
    """How far the storm has come."""

    wanted: int
    kills: int = 0

    @property
    def swing(self) -> float:
        """How far prices swing by now."""
        return NEAREST + (FARTHEST - NEAREST) * min(1.0, (self.kills + 1) / self.wanted)


async def _one_kill(place: Scene, chance: random.Random) -> None:
    async with run_daemon(place.config) as daemon:
        early = chance.random() < EARLY
        if not early:
            await daemon.wait_for(allowed, 60)
        await asyncio.sleep(chance.uniform(0, STARTING_S if early else WORKING_S))
        assert daemon.process.returncode is None, daemon.tail()
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL


@asynccontextmanager
async def _swinging(place: Scene, done: Progress, chance: random.Random) -> AsyncIterator[None]:
    """Prices swing meanwhile; then they stay where they began."""
    task = asyncio.create_task(_swing(place, done, chance))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        place.market.oracle.move(moved(place.market.world.symbols, "0"))


async def _swing(place: Scene, done: Progress, chance: random.Random) -> None:
    for side in itertools.cycle((-1, 1)):
        # Not always to the end: so that each swing leaves some for the next.
        reach = done.swing * chance.uniform(0.9, 1.0)
        place.market.oracle.move(moved(place.market.world.symbols, Decimal(round(side * reach, 6))))
        await asyncio.sleep(chance.uniform(*STEP_S))


async def _rest(place: Scene, daemon: Daemon) -> None:
    """Wait until the chain counts all that was sent, the keeper has looked at it, and nothing new comes."""
    node, us = place.node, place.market.liquidator
    async with asyncio.timeout(STOP_S):
        quiet, before = 0, (-1, -1)
        while quiet < QUIET_BLOCKS:
            await blocks(node, 1)
            latest = await node.quantity("eth_getTransactionCount", us, "latest")
            pending = await node.quantity("eth_getTransactionCount", us, "pending")
            books = await asyncio.to_thread(read_books, place.journal)
            still = (latest, books.open) == before and latest == pending
            before = (latest, books.open)
            quiet = quiet + 1 if still else 0


async def judge(place: Scene, kills: int) -> Verdict:
    """Hold the journal against the chain."""
    us = place.market.liquidator
    chain = await mined(place, [us])
    books = read_books(place.journal)
    waiting = await held(place, us)
    unknown = sum(one.hash not in books.hashes for one in chain)
    closed = [one for one in chain if one.ok and one.account is not None]
    rewards_b0 = await place.market.token_b0_balance(us)
    spent_wei = place.balance_wei - await place.node.balance_wei(us)
    return Verdict(
        kills=kills,
        liquidated=len({one.account for one in closed}),
        reverted=sum(not one.ok for one in chain),
        cancelled=sum(one.ok and one.account is None for one in chain),
        liquidated_twice=len(repeated(closed)),
        sent_twice=len(repeated(chain)),
        nonces_lost=waiting + unknown + books.open,
        rewards_missing_b0=rewards_b0 - books.rewards_b0,
        fees_missing_wei=spent_wei - books.fees_wei,
    )
