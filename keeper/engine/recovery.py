"""Bringing a market's mirror up: from the store if it holds a good one, else from the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from keeper.chain.heads import Heads
from keeper.errors import StoreError
from keeper.model import Advance, Header, LogFilter, Reader
from keeper.protocols.market import Row
from keeper.store.mirror import MirrorStore

log = structlog.get_logger(__name__)


class Mirrored(Protocol):
    """As much of a ``Market`` as keeping its mirror needs."""

    name: str

    async def bootstrap(self, reader: Reader, head: Header) -> None: ...

    async def restore(self, rows: Sequence[Row], head: Header) -> None: ...

    async def apply(self, advance: Advance, reader: Reader) -> None: ...

    def log_filter(self) -> LogFilter: ...

    def rows(self) -> Sequence[Row]: ...

    def digest(self) -> str: ...

    def accounts_watched(self) -> int: ...


async def recover(market: Mirrored, store: MirrorStore, heads: Heads, reader: Reader) -> Header:
    """Restore the mirror, or read it anew; the header it is true at, from which ``heads`` goes on.

    What happened since a stored head comes as the first ``Advance``, also if a reorg took that head away meanwhile. A
    store whose rows the market refuses is moved aside.
    """
    try:
        stored = await store.load()
        if stored is not None:
            await market.restore(stored.rows, stored.head)
    except StoreError as error:
        await store.renew(error.came)
    else:
        if stored is not None:
            heads.log_filter = market.log_filter()
            log.info("mirror.restored", market=market.name, number=stored.head.number, rows=len(stored.rows))
            return await heads.start(stored.blocks)
    return await rebuild(market, store, heads, reader)


async def rebuild(market: Mirrored, store: MirrorStore, heads: Heads, reader: Reader) -> Header:
    """Read the mirror anew at the present head, also after ``HistoryLostError``; that header."""
    await store.clear()
    head = await heads.start()
    await market.bootstrap(reader, head)
    heads.log_filter = market.log_filter()
    await store.save(market.rows(), heads.recent.up_to(head.hash))
    log.info("mirror.built", market=market.name, number=head.number, accounts=market.accounts_watched())
    return head
