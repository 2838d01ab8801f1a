"""The mirror of a Deri pool against the number of its accounts: start cold, start warm, follow idle and touched blocks.

Calls are JSON-RPC calls of every kind, as counted by ``Rpc``: one within a batch counts as one.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from keeper.chain.calls import PinnedReader
from keeper.chain.endpoint import Endpoint
from keeper.chain.heads import Heads
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import run_anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import ONE, three_futures
from keeper.engine.recovery import recover
from keeper.model import Advance, Header, LogFilter
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.store.mirror import Identity, MirrorStore

SIZES = (1_000, 10_000)
BLOCKS = 20
TARGETS = {
    "cold start": 20.0,
    "cold start, calls": 150,
    "warm start": 1.0,
    "warm start, calls": 15,
    "calls per idle block": 2,
}
Figure = dict[str, object]


def run() -> list[Figure]:
    """Deploy pools of each size and measure; takes about two minutes, most of it deploying."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return [figure for size in SIZES for figure in asyncio.run(_measure(size))]


@dataclass(slots=True)
class Started:
    """A mirror that stands at a head, and what it took to get there."""

    market: DeriMarket
    store: MirrorStore
    rpc: Rpc
    heads: Heads
    reader: PinnedReader
    head: Header
    seconds: float
    calls: int

    async def follow(self, advances: AsyncIterator[Advance], number: int) -> float:
        """Follow the chain to block ``number``; the milliseconds from the head's coming to an exact mirror."""
        while True:
            advance = await anext(advances)
            await self.market.apply(advance, self.reader)
            took = (time.perf_counter_ns() - advance.seen_ns) / 1e6
            self.heads.log_filter = self.market.log_filter()
            await self.store.save(self.market.rows(), self.heads.recent.up_to(advance.head.hash))
            if advance.head.number >= number:
                return took


@asynccontextmanager
async def _started(devnet: DeriDevnet, path: Path) -> AsyncIterator[Started]:
    node = devnet.node
    began = time.perf_counter()
    async with Rpc([Endpoint(node.ws_url), Endpoint(node.http_url)], 31337) as rpc:
        market = DeriMarket(DeriMarketConfig("bench", devnet.pool.address))
        store = await MirrorStore.open(path, Identity(31337, "bench", devnet.pool.address))
        heads, reader = Heads(rpc, LogFilter(frozenset())), PinnedReader(rpc)
        try:
            head = await recover(market, store, heads, reader)
            took = time.perf_counter() - began
            yield Started(market, store, rpc, heads, reader, head, took, rpc.calls.total())
        finally:
            await store.close()


async def _measure(size: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mirror.sqlite"
        async with run_anvil() as node, deri_market(node, three_futures(size)) as devnet:
            async with _started(devnet, path) as cold:
                assert cold.market.accounts_watched() == size
                digest = cold.market.digest()
            async with _started(devnet, path) as warm:
                assert warm.market.digest() == digest
                followed = await _follow(devnet, warm)
    figures = {
        "cold start": (cold.seconds, "s"),
        "cold start, calls": (cold.calls, "calls"),
        "warm start": (warm.seconds, "s"),
        "warm start, calls": (warm.calls, "calls"),
    } | followed
    return [
        {
            "name": f"mirror of {size:,} accounts: {name}",
            "value": value,
            "unit": unit,
            "baseline": None,
            "target": TARGETS.get(name),
        }
        for name, (value, unit) in figures.items()
    ]


async def _follow(devnet: DeriDevnet, started: Started) -> dict[str, tuple[float, str]]:
    """Calls per block, idle and with a deposit in it, and how long that takes from its head's coming to the mirror."""
    node, calls = devnet.node, started.rpc.calls
    async with started.heads:
        advances = started.heads.advances()
        await node.mine()
        await started.follow(advances, await node.block_number())

        before = calls.total()
        for _ in range(BLOCKS):
            await node.mine()
            await started.follow(advances, await node.block_number())
        idle = (calls.total() - before) / BLOCKS

        before, latencies = calls.total(), []
        for trader in devnet.traders[:BLOCKS]:
            await devnet.confirm(await devnet.add_margin(trader.owner, ONE))
            latencies.append(await started.follow(advances, await node.block_number()))
        touched = (calls.total() - before) / BLOCKS
    return {
        "calls per idle block": (idle, "calls"),
        "calls per touched block": (touched, "calls"),
        "a touched block, head seen to mirror exact, median": (sorted(latencies)[BLOCKS // 2], "ms"),
    }
