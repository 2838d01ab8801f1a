"""Following the chain: heads by websocket or by polling, linked by hash, with the logs of every block complete.

1. On every websocket a listener subscribes to new heads; the first to be told of one counts. Silence is suspicious: a
   head that is overdue is asked for elsewhere, and a connection that kept one back, or answers no more, is given up
   and opened anew.
2. While no websocket delivers, a poller asks for the latest block instead.
3. With several endpoints, a surveyor compares their heads now and then, and at once when something is odd: one that
   lags or is on a fork of its own is neither listened to nor asked while another is fit.
4. ``advances`` takes the newest head announced, links it to the blocks known by parent hash, fetches what is between
   them, asks for the logs of the blocks that can hold any, and yields one ``Advance`` for all of it. Nothing is
   remembered before all of it is there, so a failure at any point leaves the next attempt the same work.

Logs are asked for by block hash and not subscribed to: a stream can't tell when it has told all of a block.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import TracebackType

import structlog

from keeper.chain.answers import Json, RpcError, UnreachableError, fields, quantity
from keeper.chain.blocks import BloomFilter, RecentBlocks, header_of, joined_filter
from keeper.chain.logs import BlockBloom, LogFetcher
from keeper.chain.rpc import Link, Rpc
from keeper.chain.survey import survey
from keeper.chain.transport import Subscription
from keeper.errors import ChainError, ConfigError
from keeper.model import Advance, Block, Header, Log, LogFilter

log = structlog.get_logger(__name__)

HEAD_S = 2.0
"""How long an answer about a head may take: longer, and the next head is here."""
LONGEST_LINK = 16
"""Blocks fetched one by one to link a head to its ancestor. A longer gap is passed over by its logs alone."""
LONGEST_GAP = 50_000
"""Blocks that are caught up with. Reading everything anew is cheaper than the logs of more."""
SURVEY_S = 30.0
REACH_BACK = 64
"""Blocks before the first head that a reorg may undo without everything being read anew."""
_FIRST_BLOCK_TIME_S = 1.0


class HistoryLostError(ChainError):
    """The chain has left the blocks that are remembered: the mirror has to be built anew."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A head as an endpoint told of it."""

    header: Header
    bloom: int | None
    """None if the endpoint gives none."""
    link: Link
    seen_ns: int


def sighting_of(value: Json, link: Link) -> Sighting:
    """Raises ``ChainError`` if the value is not a header."""
    block = fields(value)
    bloom = block.get("logsBloom")
    return Sighting(header_of(block), None if bloom in (None, "0x") else quantity(bloom), link, time.perf_counter_ns())


class Heads:
    """The chain's head as it moves. Used as an async context manager, after ``start``.

    ``log_filter`` may grow at any time. Recent blocks are then asked again, so that a contract that a market learnt of
    a moment ago is not missed: the next ``Advance`` holds their logs, old ones once more.
    """

    def __init__(self, rpc: Rpc, log_filter: LogFilter, *, silence_blocks: int = 8) -> None:
        self._rpc = rpc
        self._silence_blocks = silence_blocks
        self._fetcher = LogFetcher(rpc)
        self._log_filter = log_filter
        self._bloom_filter = BloomFilter.of(log_filter)
        self._look_back_due = False
        self._head_link: Link | None = None
        self._news = asyncio.Event()
        self._newest: Sighting | None = None
        self._announced: dict[str, Sighting] = {}
        self._listening: set[Link] = set()
        self._intervals: list[float] = []
        self._last_announced = ""
        self._announced_at = 0.0
        self._odd = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
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
            self._news.set()

    @property
    def live(self) -> bool:
        """A websocket pushes heads at present."""
        return bool(self._listening)

    @property
    def block_time_s(self) -> float:
        """The median time between the last heads as they came."""
        return median(self._intervals) if self._intervals else _FIRST_BLOCK_TIME_S

    async def start(self, blocks: Sequence[Block] = ()) -> Header:
        """Take up where ``blocks`` (from the store) end, else at the present head; that header.

        What happened since comes as the first ``Advance``.
        """
        self._look_back_due = not blocks
        if not blocks:
            block = fields(await self._rpc.request("eth_getBlockByNumber", ["latest", False]))
            blocks = [Block(header_of(block))]
        self.recent = RecentBlocks(blocks)
        return self.recent.head

    async def catch_up(self) -> Advance | None:
        """One move to the present head, before ``advances`` is run; None if there was none. Raises ``ChainError``."""
        return await self._advance_by_any(await self._latest())

    async def __aenter__(self) -> Heads:
        self._tasks = [
            *(asyncio.create_task(self._listen(link)) for link in self._rpc.links if link.endpoint.websocket),
            asyncio.create_task(self._poll(), name="poll for heads"),
            asyncio.create_task(self._survey(), name="survey the endpoints"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def advances(self) -> AsyncIterator[Advance]:
        """Every move of the head, several blocks in one when they come faster than they are taken.

        Trouble with nodes is waited out. Raises ``HistoryLostError`` when the chain went on, or back, too far.
        """
        failing = False
        while True:
            sighting: Sighting | None = None
            advance: Advance | None = None
            try:
                if self._look_back_due and not (failing and self._newest):
                    advance = await self._look_back()
                elif (sighting := await self._next_sighting()) is not None:
                    advance = await self._advance_by_any(sighting)
            except HistoryLostError:
                raise
            except ChainError as error:
                if not failing:
                    log.warning("heads.behind", number=self.recent.head.number, came=error.came)
                failing = True
                self._odd.set()
                await self._second_thought(sighting)
                continue
            if failing:
                log.info("heads.caught-up", number=self.recent.head.number)
                failing = False
            if advance is not None:
                yield advance

    async def _next_sighting(self) -> Sighting | None:
        """The newest head announced; None if the filter changes meanwhile."""
        while True:
            self._news.clear()
            if (sighting := self._newest) is not None:
                self._newest = None
                return sighting
            if self._look_back_due:
                return None
            waiting = asyncio.create_task(self._news.wait())
            done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            for task in done:
                if task is not waiting:
                    task.result()  # Neither ends but by an error that nobody foresaw.

    async def _second_thought(self, failed: Sighting | None) -> None:
        """Let a newer head come, or what any endpoint now calls the latest, before trying again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._news.wait()
        if self._newest is not None:
            return
        try:
            self._announce(await self._latest())
        except ChainError:
            # The endpoint's own trouble is logged by the Rpc; the same head is tried again.
            self._newest = failed
            await asyncio.sleep(0.1)
        else:
            self._newest = self._newest or failed

    # Being told

    def _announce(self, sighting: Sighting) -> bool:
        """Note a head; True if it is new."""
        header = sighting.header
        sighting.link.health.height = max(sighting.link.health.height, header.number)
        if header.hash == self._last_announced or header.hash in self.recent or not self._rpc.fit(sighting.link):
            return False
        now = time.monotonic()
        if self._last_announced:
            self._intervals = [*self._intervals[-31:], now - self._announced_at]
        self._last_announced, self._announced_at = header.hash, now
        self._announced[header.hash] = sighting
        if len(self._announced) > 1024:
            del self._announced[next(iter(self._announced))]
        self._newest = sighting
        self._news.set()
        return True

    async def _listen(self, link: Link) -> None:
        """Keep a subscription on a websocket, whatever becomes of the connection."""
        while True:
            try:
                await self._listen_on(link)
            except ConfigError:
                return  # It is of another chain, and logged as such.
            except ChainError as error:
                link.health.failed()
                if link in self._listening:
                    log.warning("heads.websocket-lost", endpoint=link.name, came=error.came)
            finally:
                self._listening.discard(link)
            # Whatever it was, the next attempt is on a connection of its own.
            await link.transport.close()
            await asyncio.sleep(max(0.0, link.health.cooling_until - time.monotonic()))

    async def _listen_on(self, link: Link) -> None:
        subscription = await self._rpc.subscribe(link, ["newHeads"], HEAD_S)
        log.info("heads.websocket", endpoint=link.name)
        # A head between the last poll and the subscription is pushed to nobody.
        self._announce(await self._latest_of(link))
        self._listening.add(link)
        heard = time.monotonic()
        while True:
            try:
                value = await subscription.next(self._overdue_s)
            except TimeoutError:
                self._odd.set()
                if not await self._keeps_back(link, time.monotonic() - heard):
                    continue
                value = await self._late_push(subscription, link)
            heard = time.monotonic()
            self._announce(sighting_of(value, link))

    @property
    def _overdue_s(self) -> float:
        return min(max(2 * self.block_time_s + 0.25, 0.5), 15.0)

    async def _keeps_back(self, link: Link, silent_s: float) -> bool:
        """Whether a silent websocket keeps a head back. Raises ``ChainError`` if it answers no more at all."""
        if time.monotonic() - self._announced_at < silent_s - 0.25:
            return True  # Another one has told of heads meanwhile.
        others = [each for each in self._rpc.links if each is not link]
        sightings = await asyncio.gather(*map(self._latest_of, others), return_exceptions=True)
        heads = [each for each in sightings if isinstance(each, Sighting) and self._rpc.fit(each.link)]
        if heads and self._announce(max(heads, key=lambda each: each.header.number)):
            return True
        if silent_s > max(self._silence_blocks * self.block_time_s, 1.0):
            # A chain that mines on demand may well be silent; then the connection still answers.
            await self._rpc.request("eth_blockNumber", link=link, timeout_s=HEAD_S)
        return False

    async def _late_push(self, subscription: Subscription, link: Link) -> Json:
        """The head that was kept back: it may have been on its way just then. Raises ``ChainError`` if not."""
        try:
            return await subscription.next(0.25)
        except TimeoutError:
            raise UnreachableError(
                f"new heads from {link.name}", "it was silent while the chain went on", "see its node"
            ) from None

    async def _survey(self) -> None:
        """Compare the endpoints every ``SURVEY_S`` seconds, and when a head is overdue or did not link."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SURVEY_S):
                    await self._odd.wait()
            await survey(self._rpc, max(3, math.ceil(3 / max(self.block_time_s, 0.01))), self.recent)
            self._odd.clear()
            await asyncio.sleep(0.5)

    async def _poll(self) -> None:
        """Ask for the head while nobody pushes it."""
        while True:
            if self.live:
                await asyncio.sleep(0.1)
                continue
            try:
                self._announce(await self._latest())
            except ChainError as error:
                log.debug("heads.poll-failed", came=error.came)
            # Not before the next head can be here, then often: two or three questions a block.
            soonest = self._announced_at + 0.8 * min(self._intervals, default=0.0)
            await asyncio.sleep(max(soonest - time.monotonic(), min(max(self.block_time_s / 6, 0.05), 1.0)))

    async def _latest(self) -> Sighting:
        """The latest block, from the first endpoint in their order that has an answer. Raises ``ChainError``."""
        failure: ChainError | None = None
        for link in self._rpc.order():
            try:
                return await self._latest_of(link)
            except ChainError as error:
                failure = error
        raise failure or UnreachableError("an endpoint", "none is left to ask", "check the configured endpoints")

    async def _latest_of(self, link: Link) -> Sighting:
        params: list[Json] = ["latest", False]
        return sighting_of(await self._rpc.request("eth_getBlockByNumber", params, link=link, timeout_s=HEAD_S), link)

    # Moving on

    async def _look_back(self) -> Advance:
        """The head once more, with all that the present filter wants of the recent blocks.

        After a start there is but one block: then this also reaches back a little, for a reorg to find an ancestor.
        """
        wanted, head, recent = self._log_filter, self.recent.head, self.recent
        link = self._head_link or (await self._latest()).link
        if len(recent) == 1 and head.number > 0:
            number = hex(max(0, head.number - REACH_BACK))
            answer = await self._rpc.request("eth_getBlockByNumber", [number, False], link=link, timeout_s=HEAD_S)
            recent = RecentBlocks([Block(header_of(fields(answer))), Block(head)])
        logs = await self._fetcher.between(link, wanted, recent.oldest.number + 1, head)
        recent.add_logs(logs)
        self.recent = recent
        self._look_back_due = wanted != self._log_filter
        return Advance(head, logs, seen_ns=time.perf_counter_ns())

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
        doubts = [error for link, error in failures if not link.health.cooling and error not in lost]
        raise (doubts or lost or [error for _, error in failures])[0]

    async def _advance_to(self, sighting: Sighting, link: Link) -> Advance | None:
        """Link, fetch, and only then remember. None if that head is behind or known."""
        recent = self.recent
        if sighting.header.hash in recent or recent.passed_over(sighting.header.number):
            return None
        gap = sighting.header.number - recent.head.number
        if gap > LONGEST_GAP:
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
            self._odd.set()
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
            self._announced.pop(block.header.hash, None)
        new = tuple(each for block in blocks for each in block.logs)
        return Advance(sighting.header, new, undone, sighting.seen_ns)

    async def _link(self, sighting: Sighting, link: Link) -> tuple[str, list[Sighting]]:
        """The newest known ancestor's hash, and the sightings from there to the head, each the parent of the next."""
        path = [sighting]
        fetch = 1
        while (parent := path[-1].header.parent_hash) not in self.recent:
            if (known := self._announced.get(parent)) is not None:
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
