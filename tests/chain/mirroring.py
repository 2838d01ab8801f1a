"""A market kept up by the real ingestion: heads, pinned reads, store. What the daemon does, without deciding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from keeper.chain.blocks import header_of
from keeper.chain.calls import PinnedReader
from keeper.chain.clock import Clock
from keeper.chain.endpoint import Endpoint
from keeper.chain.heads import Heads, HistoryLostError
from keeper.chain.rpc import Rpc
from keeper.devnet.rpc import DevNode
from keeper.engine.recovery import Mirrored, insist, rebuild, recover
from keeper.errors import ChainError
from keeper.model import Advance, Header, LogFilter
from keeper.store.mirror import Identity, MirrorStore

RETRY_S = 0.05


class Mirroring:
    """Keeps a market in step with the chain for as long as its task runs."""

    def __init__(self, market: Mirrored, rpc: Rpc, store: MirrorStore) -> None:
        self.market = market
        self.rpc = rpc
        self.heads = Heads(rpc, LogFilter(frozenset()))
        self.clock = Clock()
        self.advances: list[Advance] = []
        self.head: Header | None = None
        self.rebuilt = 0
        self.task: asyncio.Task[None] | None = None
        self._reader = PinnedReader(rpc)
        self._store = store

    async def run(self) -> None:
        parts = self.market, self._store, self.heads, self._reader
        self.head = await insist(self.market.name, lambda: recover(*parts), ChainError, pause_s=RETRY_S)
        async with self.heads:
            while True:
                try:
                    await self._follow()
                except* HistoryLostError:
                    self.rebuilt += 1
                self.head = await insist(self.market.name, lambda: rebuild(*parts), ChainError, pause_s=RETRY_S)

    async def _follow(self) -> None:
        """Take advances as they come, and apply all that have gathered as one."""
        waiting: asyncio.Queue[Advance] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._apply(waiting))
            async for advance in self.heads.advances():
                self.clock.observe(advance.head)
                self.advances.append(advance)
                waiting.put_nowait(advance)

    async def _apply(self, waiting: asyncio.Queue[Advance]) -> None:
        while True:
            advance = await waiting.get()
            applied = False
            while not applied:
                while not waiting.empty():
                    advance = _joined(advance, waiting.get_nowait())
                try:
                    await self.market.apply(advance, self._reader)
                    applied = True
                except ChainError:
                    await asyncio.sleep(RETRY_S)
            self.head = advance.head
            self.heads.log_filter = self.market.log_filter()
            await self._store.save(self.market.rows(), self.heads.recent.up_to(advance.head.hash))

    async def becomes(self, digest: str, head_hash: str, within_s: float = 20.0) -> float:
        """Wait until the mirror stands at that head with that digest; the seconds it took."""
        began = time.monotonic()
        while self.task is None or not self.task.done():
            if self.head is not None and self.head.hash == head_hash and self.market.digest() == digest:
                return time.monotonic() - began
            if time.monotonic() - began > within_s:
                raise AssertionError(f"not exact at {head_hash} after {within_s} s: the mirror stands at {self.head}")
            await asyncio.sleep(0.002)
        await self.task
        raise AssertionError("the mirror ended by itself")


def _joined(earlier: Advance, later: Advance) -> Advance:
    return Advance(later.head, earlier.logs + later.logs, earlier.undone + later.undone, later.seen_ns)


def identity(market: Mirrored, chain_id: int) -> Identity:
    return Identity(chain_id, market.name, "0x" + "00" * 20)


@asynccontextmanager
async def mirroring(
    market: Mirrored, endpoints: Sequence[Endpoint], path: Path, chain_id: int = 31337
) -> AsyncIterator[Mirroring]:
    """Run a mirror over these endpoints with its store at ``path``. A failure of its task is the test's."""
    async with Rpc(endpoints, chain_id) as rpc:
        store = await MirrorStore.open(path, identity(market, chain_id))
        mirror = Mirroring(market, rpc, store)
        mirror.task = asyncio.create_task(mirror.run())
        try:
            yield mirror
        finally:
            mirror.task.cancel()
            with suppress(asyncio.CancelledError):
                await mirror.task
            await store.close()


async def exact(mirror: Mirroring, make: Callable[[], Mirrored], node: DevNode, within_s: float = 20.0) -> float:
    """Wait until the mirror equals one read from nothing at the node's present head; the seconds it took."""
    began = time.monotonic()
    market, head = make(), header_of(await node.block())
    async with Rpc([Endpoint(node.http_url)], await node.chain_id()) as rpc:
        await market.bootstrap(PinnedReader(rpc), head)
    await mirror.becomes(market.digest(), head.hash, within_s)
    return time.monotonic() - began
