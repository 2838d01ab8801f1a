"""Bringing a market's mirror up: from the store if it holds a good one, else from the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from keeper.chain.heads import Heads, HistoryLostError
from keeper.errors import ChainError, KeeperError, StoreError
from keeper.model import Advance, Header, LogFilter, Reader, Row
from keeper.store.mirror import MirrorStore

log = structlog.get_logger(__name__)

AUDITED_ACCOUNTS = 20
ATTEMPTS = 5
RETRY_S = 0.1
AGAIN_S = 1.0
"""Between attempts of ``insist``."""


class Mirrored(Protocol):
    """As much of a ``Market`` as keeping its mirror needs."""

    name: str

    async def bootstrap(self, reader: Reader, head: Header) -> None: ...

    async def restore(self, rows: Sequence[Row], head: Header) -> None: ...

    async def apply(self, advance: Advance, reader: Reader) -> None: ...

    def log_filter(self) -> LogFilter: ...

    def rows(self) -> Sequence[Row]: ...

    def digest(self) -> str: ...

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]: ...

    def accounts_watched(self) -> int: ...


async def recover(market: Mirrored, store: MirrorStore, heads: Heads, reader: Reader) -> Header:
    """Restore the mirror and catch up with the chain, or read it anew; the head from which ``heads`` goes on.

    A store whose rows the market refuses is moved aside. What was restored counts only if a sample of accounts, read
    from the chain, is the same. Raises ``ChainError`` if no node can answer, or if a reorg takes the head away while
    it is being read: whoever insists has it restored again.
    """
    try:
        stored = await store.load()
        if stored is not None:
            await market.restore(stored.rows, stored.head)
    except StoreError as error:
        await store.renew(error.came)
        stored = None
    if stored is not None:
        heads.log_filter = market.log_filter()
        await heads.start(stored.blocks)
        try:
            head = await _catch_up(market, heads, reader, stored.head)
            wrong = await market.audit(reader, AUDITED_ACCOUNTS)
        except HistoryLostError as error:
            log.warning("mirror.outdated", market=market.name, number=stored.head.number, came=error.came)
        else:
            if not wrong:
                log.info("mirror.restored", market=market.name, stored=stored.head.number, number=head.number)
                return head
            log.error("mirror.wrong", market=market.name, number=head.number, accounts=wrong, remedy="it is read anew")
    return await rebuild(market, store, heads, reader)


async def _catch_up(market: Mirrored, heads: Heads, reader: Reader, head: Header) -> Header:
    """Apply what happened since ``head``, also if a reorg took it away meanwhile; the head it led to."""
    missed = Advance(head)
    attempts = 0
    while True:
        if (advance := await heads.catch_up()) is not None:
            missed = Advance(advance.head, missed.logs + advance.logs, missed.undone + advance.undone, advance.seen_ns)
        if missed.head == head:
            return head
        try:
            await market.apply(missed, reader)
        except ChainError:
            # Its head may have been taken away just then: the next look at the chain tells.
            attempts += 1
            if attempts == ATTEMPTS:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            heads.log_filter = market.log_filter()
            return missed.head


async def rebuild(market: Mirrored, store: MirrorStore, heads: Heads, reader: Reader) -> Header:
    """Read the mirror anew at the present head, also after ``HistoryLostError``; that header.

    Raises ``ChainError`` if no node can answer, or if a reorg takes that head away while it is being read.
    """
    await store.clear()
    head = await heads.start()
    await market.bootstrap(reader, head)
    heads.log_filter = market.log_filter()
    await store.save(market.rows(), heads.recent.up_to(head.hash))
    log.info("mirror.built", market=market.name, number=head.number, accounts=market.accounts_watched())
    return head


async def insist(
    market: str, read: Callable[[], Awaitable[Header]], *waited_out: type[KeeperError], pause_s: float = AGAIN_S
) -> Header:
    """``read``, again and again while it fails with one of these: other markets are at work meanwhile."""
    failing = False
    while True:
        try:
            return await read()
        except waited_out as error:
            if not failing:
                log.warning("mirror.not_read_yet", market=market, error=str(error))
            failing = True
            await asyncio.sleep(pause_s)
