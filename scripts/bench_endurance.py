"""Twenty thousand blocks of random deposits at Anvil's full speed: is the memory flat, and the mirror exact at the end?

A block is mined for every transaction. The mirror follows as fast as it can, several blocks at a time when it falls
behind, and keeps its store. Memory is the resident set of this process, which also sends the deposits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from pathlib import Path
from random import Random

import structlog

from keeper.chain.blocks import header_of
from keeper.chain.calls import PinnedReader
from keeper.chain.endpoint import Endpoint
from keeper.chain.heads import Heads
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import run_anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import ONE, three_futures
from keeper.devnet.transactions import Transaction, confirm, send
from keeper.engine.recovery import recover
from keeper.model import Header, LogFilter
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.store.mirror import Identity, MirrorStore

ACCOUNTS = 20
BLOCKS = 20_000
AT_ONCE = 100
Figure = dict[str, object]


def run() -> list[Figure]:
    """Mine, follow, compare; takes a few minutes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return asyncio.run(_measure())


class Following:
    """A mirror that follows in a task of its own."""

    def __init__(self, market: DeriMarket, rpc: Rpc, store: MirrorStore) -> None:
        self.market = market
        self.head: Header | None = None
        self.moves = 0
        self._heads = Heads(rpc, LogFilter(frozenset()))
        self._reader = PinnedReader(rpc)
        self._store = store
        self._moved = asyncio.Event()

    async def run(self) -> None:
        self.head = await recover(self.market, self._store, self._heads, self._reader)
        async with self._heads:
            async for advance in self._heads.advances():
                await self.market.apply(advance, self._reader)
                self._heads.log_filter = self.market.log_filter()
                await self._store.save(self.market.rows(), self._heads.recent.up_to(advance.head.hash))
                self.head = advance.head
                self.moves += 1
                self._moved.set()

    async def reaches(self, head_hash: str) -> None:
        async with asyncio.timeout(60):
            while self.head is None or self.head.hash != head_hash:
                self._moved.clear()
                await self._moved.wait()


async def _measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            run_anvil() as node,
            deri_market(node, three_futures(ACCOUNTS)) as devnet,
            Rpc([Endpoint(node.ws_url), Endpoint(node.http_url)], 31337) as rpc,
        ):
            store = await MirrorStore.open(Path(folder) / "mirror", Identity(31337, "bench", devnet.pool.address))
            following = Following(DeriMarket(DeriMarketConfig("bench", devnet.pool.address)), rpc, store)
            task = asyncio.create_task(following.run())
            try:
                first = await node.block_number()
                began = time.perf_counter()
                resident = await _live(devnet, first + BLOCKS)
                seconds = time.perf_counter() - began
                head = header_of(await node.block())
                await following.reaches(head.hash)
                fresh = DeriMarket(DeriMarketConfig("bench", devnet.pool.address))
                await fresh.bootstrap(PinnedReader(rpc), head)
                exact = fresh.digest() == following.market.digest()
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await store.close()
    last_half = resident[len(resident) // 2 :]
    growth = (max(last_half) - last_half[0]) / last_half[0]
    figures: dict[str, tuple[float, str, float | None]] = {
        "blocks followed": (head.number - first, "blocks", BLOCKS),
        "blocks per second, mined and followed": ((head.number - first) / seconds, "1/s", None),
        "blocks per move of the mirror": ((head.number - first) / following.moves, "blocks", None),
        "resident memory at the end": (resident[-1] / 2**20, "MiB", None),
        "growth of memory over the last half": (growth * 100, "%", 5),
        "mirrors that differ from a fresh one at the end": (int(not exact), "mirrors", 0),
    }
    return [
        {"name": f"endurance: {name}", "value": value, "unit": unit, "baseline": None, "target": target}
        for name, (value, unit, target) in figures.items()
    ]


async def _live(devnet: DeriDevnet, until: int) -> list[int]:
    """Random deposits until that block; the resident memory in bytes along the way."""
    draw, node = Random(1), devnet.node
    owners = [trader.owner for trader in devnet.traders[:20]]
    ready = []
    for owner in owners:
        await node.set_balance(owner, 10**24)
        mint = devnet.token_b0.encode("mint", owner, 10**12 * ONE)
        approve = devnet.token_b0.encode("approve", devnet.pool.address, 2**255)
        ready += [Transaction(owner, devnet.token_b0.address, data) for data in (mint, approve)]
    await confirm(node, await send(node, ready))
    resident = []
    while await node.block_number() < until:
        amounts = [draw.randrange(ONE) for _ in range(AT_ONCE)]
        deposits = [devnet.pool.encode("addMargin", amount, []) for amount in amounts]
        hashes = await send(node, [Transaction(draw.choice(owners), devnet.pool.address, data) for data in deposits])
        await confirm(node, hashes[-1:])
        resident.append(_resident())
    return resident


def _resident() -> int:
    """Bytes of memory that this process holds (``/proc/self/statm``, second field, in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
