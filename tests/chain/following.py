"""A market kept up with a development node by hand: one advance whenever a test asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from keeper.chain.answers import fields
from keeper.chain.blocks import filter_params, header_of, logs_of
from keeper.chain.calls import PinnedReader
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Rpc
from keeper.devnet.rpc import DevNode, Json
from keeper.model import Advance, Header, Log
from keeper.protocols.market import Market


class Follower:
    """Follows a node for one market and remembers every block it handed over, so that a reorg can be undone."""

    def __init__(self, node: DevNode, market: Market, rpc: Rpc) -> None:
        self.market = market
        self.rpc = rpc
        self.reader = PinnedReader(rpc)
        self._node = node
        self._blocks: list[tuple[Header, tuple[Log, ...]]] = []

    async def start(self) -> Header:
        head = await self._header("latest")
        await self.market.bootstrap(self.reader, head)
        self._blocks = [(head, ())]
        return head

    async def follow(self) -> Advance:
        """Bring the market to the node's head, over a reorg if there was one."""
        head = await self._header("latest")
        new = [head]
        while new[-1].number > self._blocks[-1][0].number:
            new.append(await self._header(new[-1].parent_hash))
        gone: list[tuple[Header, tuple[Log, ...]]] = []
        while self._blocks[-1][0].hash != new[-1].hash:
            gone.append(self._blocks.pop())
            if self._blocks[-1][0].number < new[-1].number:
                new.append(await self._header(new[-1].parent_hash))
        fresh = [(header, await self._logs(header)) for header in reversed(new[:-1])]
        self._blocks += fresh
        advance = Advance(
            head,
            logs=tuple(log for _, logs in fresh for log in logs),
            undone=tuple(log for _, logs in reversed(gone) for log in logs),
        )
        await self.market.apply(advance, self.reader)
        return advance

    async def _header(self, which: str) -> Header:
        method = "eth_getBlockByHash" if len(which) == 66 else "eth_getBlockByNumber"
        return header_of(fields(cast("dict[str, Json]", await self._node.rpc(method, which, False))))

    async def _logs(self, header: Header) -> tuple[Log, ...]:
        params = cast("dict[str, Json]", filter_params(self.market.log_filter()))
        return logs_of(await self._node.rpc("eth_getLogs", params | {"blockHash": header.hash}))


@asynccontextmanager
async def following(node: DevNode, market: Market) -> AsyncIterator[Follower]:
    """A follower whose market has been read at the node's head."""
    async with Rpc([Endpoint(node.http_url)], await node.chain_id()) as rpc:
        follower = Follower(node, market, rpc)
        await follower.start()
        yield follower
