"""Following the chain: heads linked by hash, with the logs of every block complete.

``advances`` takes the newest head told, links it to the blocks known by parent hash, fetches what is between them, asks
for the logs of the blocks that can hold any, and yields one ``Advance`` for all of it. Nothing is remembered before all
of it is there, so a failure at any point leaves the next attempt the same work.

Logs are asked for by block hash and not subscribed to: a stream can't tell when it has told all of a block.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType

import structlog

from keeper.chain.answers import RpcError, UnreachableError, fields
from keeper.chain.blocks import BloomFilter, RecentBlocks, header_of, joined_filter
from keeper.chain.logs import BlockBloom, LogFetcher
from keeper.chain.rpc import Link, Rpc
from keeper.chain.watch import HEAD_S, HeadWatch, Sighting, sighting_of
from keeper.errors import ChainError
from keeper.model import Advance, Block, Header, Log, LogFilter

log = structlog.get_logger(__name__)

LONGEST_LINK = 16
"""Blocks fetched one by one to link a head to its ancestor. A longer gap is passed over by its logs alone."""
LONGEST_GAP = 50_000
"""Blocks that are caught up with. Reading everything anew is cheaper than the logs of more."""
REACH_BACK = 64
"""Blocks before the first head that a reorg may undo without everything being read anew."""


class HistoryLostError(ChainError):
    """The chain has left the blocks that are remembered: the mirror has to be built anew."""


class Heads:
    """The chain's head as it moves. Used as an async context manager, after ``start``.

    ``log_filter`` may grow at any time. Recent blocks are then asked again, so that a contract that a market learnt of
    a moment ago is not missed: the next ``Advance`` holds their logs, old ones once more.
    """

    def __init__(self, rpc: Rpc, log_filter: LogFilter, *, silence_blocks: int = 8) -> None:
        self._rpc = rpc
        self._fetcher = LogFetcher(rpc)
        self._log_filter = log_filter
        self._bloom_filter = BloomFilter.of(log_filter)
        self._look_back_due = False
        self._started_at = 0
        """Blocks up to this number are in what was read at the start."""
        self._head_link: Link | None = None
        self._watch = HeadWatch(rpc, lambda block_hash: block_hash in self.recent, silence_blocks)
        self.recent = RecentBlocks()

    @property
    def log_filter(self) -> LogFilter:
        return self._log_filter

    @log_filter.setter
    def log_filter(self, wanted: LogFilter) -> None:
        # What was wanted once stays: a reorg may bring back a contract that it took away.
        grown = joined_filter((self._log_filter, wanted))
        if grown != self._log_filter:
            self._log_filter = grown
            self._bloom_filter = BloomFilter.of(grown)
            self._look_back_due = True
            self._watch.wake()

    @property
    def live(self) -> bool:
        """A websocket pushes heads at present."""
        return self._watch.live

    @property
    def block_time_s(self) -> float:
        """The median time between the last heads as they came."""
        return self._watch.block_time_s

    async def start(self, blocks: Sequence[Block] = ()) -> Header:
        """Take up where ``blocks`` (from the store) end, else at the present head; that header.

        What happened since comes as the first ``Advance``.
        """
        self._look_back_due = not blocks
        if not blocks:
            block = fields(await self._rpc.request("eth_getBlockByNumber", ["latest", False]))
            blocks = [Block(header_of(block))]
        self.recent = RecentBlocks(blocks)
        self._started_at = self.recent.head.number
        return self.recent.head

    async def catch_up(self) -> Advance | None:
        """One move to the present head, before ``advances`` is run; None if there was none. Raises ``ChainError``."""
        return await self._advance_by_any(await self._watch.latest())

    async def __aenter__(self) -> Heads:
        await self._watch.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._watch.__aexit__(kind, error, trace)

    async def advances(self) -> AsyncIterator[Advance]:
        """Every move of the head, several blocks in one when they come faster than they are taken.

        Trouble with nodes is waited out. Raises ``HistoryLostError`` when the chain went on, or back, too far.
        """
        failing = False
        while True:
            sighting: Sighting | None = None
            advance: Advance | None = None
            try:
                if self._look_back_due and not (failing and self._watch.has_news):
                    advance = await self._look_back()
                elif (sighting := await self._watch.next()) is not None:
                    advance = await self._advance_by_any(sighting)
            except HistoryLostError:
                raise
            except ChainError as error:
                if not failing:
                    log.warning("heads.behind", number=self.recent.head.number, came=error.came)
                failing = True
                self._watch.suspect()
                await self._watch.think_again(sighting)
                continue
            if failing:
                log.info("heads.caught-up", number=self.recent.head.number)
                failing = False
            if advance is not None:
                yield advance

    # Moving on

    async def _look_back(self) -> Advance | None:
        """The head once more, with all that the present filter wants of the blocks since the start; None if nothing.

        After a start there is but one block: then this also reaches back a little, for a reorg to find an ancestor.
        """
        wanted, head, recent = self._log_filter, self.recent.head, self.recent
        link = self._head_link or (await self._watch.latest()).link
        if len(recent) == 1 and head.number > 0:
            number = hex(max(0, head.number - REACH_BACK))
            answer = await self._rpc.request("eth_getBlockByNumber", [number, False], link=link, timeout_s=HEAD_S)
            recent = RecentBlocks([Block(header_of(fields(answer))), Block(head)])
        logs = await self._fetcher.between(link, wanted, recent.oldest.number + 1, head)
        recent.add_logs(logs)
        self.recent = recent
        self._look_back_due = wanted != self._log_filter
        # What was read at the start has the earlier ones in it; they are remembered for a reorg that undoes them.
        since = tuple(each for each in logs if each.block_number > self._started_at)
        return Advance(head, since, seen_ns=time.perf_counter_ns()) if since else None

    async def _advance_by_any(self, sighting: Sighting) -> Advance | None:
        """Ask the endpoint that told of the head, and the others if it can't answer. Raises its ``ChainError``."""
        failures: list[tuple[Link, ChainError]] = []
        for link in sorted(self._rpc.order(), key=lambda link: link is not sighting.link or link.health.cooling):
            try:
                return await self._advance_to(sighting, link)
            except ChainError as error:
                failures.append((link, error))
        # Everything is read anew only if all that are sound agree on it.
        lost = [error for _, error in failures if isinstance(error, HistoryLostError)]
        sound = [error for link, error in failures if link.health.trusted and not link.health.cooling]
        doubts = [error for error in sound if error not in lost]
        raise (doubts or lost or [error for _, error in failures])[0]

    async def _advance_to(self, sighting: Sighting, link: Link) -> Advance | None:
        """Link, fetch, and only then remember. None if that head is behind or known."""
        recent = self.recent
        if sighting.header.hash in recent or recent.passed_over(sighting.header.number):
            return None
        gap = sighting.header.number - recent.head.number
        if gap > LONGEST_GAP:
            await self._confirm(sighting.header, link)
            raise HistoryLostError(
                f"at most {LONGEST_GAP} blocks to catch up with", f"there are {gap}", "everything is read anew"
            )
        if gap <= LONGEST_LINK:
            ancestor, path = await self._link(sighting, link)
            logs = await self._logs_of_path(path, link)
            blocks = [Block(each.header, logs.get(each.header.hash, ())) for each in path]
        else:
            ancestor = await self._common_ancestor(link)
            first = recent.number_of(ancestor) + 1
            stretch = await self._fetcher.between(link, self._log_filter, first, sighting.header)
            blocks = [Block(sighting.header, stretch)]
        if ancestor != recent.head.hash:
            self._watch.suspect()
            self._started_at = min(self._started_at, recent.number_of(ancestor))
        if self._look_back_due and ancestor != recent.head.hash:
            raise HistoryLostError(
                "to look back through the blocks that new contracts were met in",
                "a reorg took some of them away first",
                "everything is read anew",
            )
        undone = tuple(each for block in recent.after(ancestor) for each in block.logs)
        recent.replace_after(ancestor, blocks)
        self._head_link = link
        for block in blocks:
            self._watch.forget(block.header.hash)
        new = tuple(each for block in blocks for each in block.logs)
        return Advance(sighting.header, new, undone, sighting.seen_ns)

    async def _confirm(self, header: Header, link: Link) -> None:
        """Raises ``UnreachableError`` if the endpoint doesn't know that block: who told of it may be alone with it."""
        number = hex(header.number)
        answer = await self._rpc.request("eth_getBlockByNumber", [number, False], link=link, timeout_s=HEAD_S)
        if not isinstance(answer, Mapping) or header_of(answer).hash != header.hash:
            raise UnreachableError(
                f"block {header.number} ({header.hash}) at {link.name}",
                "it does not know it",
                "its next head will tell",
            )

    async def _link(self, sighting: Sighting, link: Link) -> tuple[str, list[Sighting]]:
        """The newest known ancestor's hash, and the sightings from there to the head, each the parent of the next."""
        path = [sighting]
        fetch = 1
        while (parent := path[-1].header.parent_hash) not in self.recent:
            if (known := self._watch.told(parent)) is not None:
                path.append(known)
                continue
            lowest = path[-1].header.number
            if lowest <= self.recent.oldest.number:
                raise HistoryLostError(
                    f"an ancestor among the last {len(self.recent)} blocks", "the chain left them all", "read anew"
                )
            numbers = range(lowest - 1, max(lowest - 1 - fetch, self.recent.oldest.number - 1), -1)
            answers = await self._rpc.batch(
                [("eth_getBlockByNumber", [hex(number), False]) for number in numbers],
                link=link,
                timeout_s=HEAD_S,
            )
            for answer in answers:
                if path[-1].header.parent_hash in self.recent:
                    break
                if isinstance(answer, RpcError):
                    raise answer
                found = sighting_of(answer, link)
                if found.header.hash != path[-1].header.parent_hash:
                    raise UnreachableError(
                        f"block {path[-1].header.parent_hash}, the parent of one seen",
                        f"{link.name} has moved to another fork",
                        "its next head will tell",
                    )
                path.append(found)
            fetch = min(fetch * 4, 64)
        return parent, path[::-1]

    async def _common_ancestor(self, link: Link) -> str:
        """The newest known block that is still in the chain, asked for in growing steps back from the head."""
        blocks = self.recent.blocks
        steps = sorted({0, *(1 << power for power in range(8)), len(blocks) - 1})
        at = [len(blocks) - 1 - step for step in steps if step < len(blocks)]
        for chunk in (at[:1], at[1:]):
            answers = await self._rpc.batch(
                [("eth_getBlockByNumber", [hex(blocks[index].header.number), False]) for index in chunk],
                link=link,
                timeout_s=HEAD_S,
            )
            for index, answer in zip(chunk, answers, strict=True):
                known = blocks[index].header.hash
                if isinstance(answer, Mapping) and answer.get("hash") == known:
                    return known
        raise HistoryLostError(
            f"one of the last {len(blocks)} blocks in the chain", f"{link.name} knows none of them", "read anew"
        )

    async def _logs_of_path(self, path: Sequence[Sighting], link: Link) -> dict[str, tuple[Log, ...]]:
        """The wanted logs of each block by its hash. A block whose bloom excludes them costs no call."""
        if not self._log_filter.addresses:
            return {}
        blocks = [BlockBloom(each.header.hash, each.bloom, each.link) for each in path]
        return await self._fetcher.of_blocks(link, self._log_filter, blocks, self._bloom_filter)
