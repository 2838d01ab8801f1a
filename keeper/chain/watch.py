"""Being told of new heads: by every websocket that pushes them, by polling while none does.

1. On every websocket a listener subscribes to new heads; the first to be told of one counts. Silence is suspicious: a
   head that is overdue is asked for elsewhere, and a connection that kept one back, or answers no more, is given up
   and opened anew.
2. While no websocket delivers, a poller asks for the latest block instead.
3. With several endpoints, a surveyor compares their heads now and then, and at once when something is odd: one that
   lags or is on a fork of its own is neither listened to nor asked while another is fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from types import TracebackType

import structlog

from keeper.chain.answers import Json, UnreachableError, fields, quantity
from keeper.chain.blocks import header_of
from keeper.chain.rpc import Link, Rpc
from keeper.chain.survey import survey
from keeper.chain.transport import Subscription
from keeper.errors import ChainError, ConfigError
from keeper.model import Header

log = structlog.get_logger(__name__)

HEAD_S = 2.0
"""How long an answer about a head may take: longer, and the next head is here."""
SURVEY_S = 30.0
_FIRST_BLOCK_TIME_S = 1.0
_KEPT_INTERVALS = 32
_KEPT_SIGHTINGS = 1024


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


class HeadWatch:
    """Owns the connections' subscriptions and hands over the newest head. Used as an async context manager.

    ``is_known`` tells by its hash whether a block is of the chain that is followed already.
    """

    def __init__(self, rpc: Rpc, is_known: Callable[[str], bool], silence_blocks: int) -> None:
        self._rpc = rpc
        self._is_known = is_known
        self._silence_blocks = silence_blocks
        self._news = asyncio.Event()
        self._odd = asyncio.Event()
        self._newest: Sighting | None = None
        self._told: dict[str, Sighting] = {}
        self._last_hash = ""
        self._last_at = 0.0
        self._intervals: list[float] = []
        self._listening: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def live(self) -> bool:
        """A websocket pushes heads at present."""
        return bool(self._listening)

    @property
    def block_time_s(self) -> float:
        """The median time between the last heads as they came."""
        return median(self._intervals) if self._intervals else _FIRST_BLOCK_TIME_S

    @property
    def has_news(self) -> bool:
        """A head waits to be taken by ``next``."""
        return self._newest is not None

    async def __aenter__(self) -> HeadWatch:
        jobs = [self._listen(link) for link in self._rpc.links if link.endpoint.websocket]
        self._tasks = {asyncio.create_task(job) for job in (*jobs, self._poll(), self._survey())}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Asking it

    async def next(self) -> Sighting | None:
        """The newest head, once there is one that was not handed over yet; None if ``wake`` is called before."""
        self._news.clear()
        while self._newest is None:
            waiting = asyncio.create_task(self._news.wait())
            try:
                done, _ = await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            if waiting in done:
                break
            for task in done & self._tasks:
                self._tasks.discard(task)
                task.result()  # None ends but for a chain that is not ours, or by an error that nobody foresaw.
        sighting, self._newest = self._newest, None
        return sighting

    def wake(self) -> None:
        """Let ``next`` return."""
        self._news.set()

    def suspect(self) -> None:
        """Something did not fit: have the endpoints compared."""
        self._odd.set()

    def told(self, block_hash: str) -> Sighting | None:
        """A block that was told of lately, by its hash."""
        return self._told.get(block_hash)

    def forget(self, block_hash: str) -> None:
        self._told.pop(block_hash, None)

    async def think_again(self, failed: Sighting | None) -> None:
        """After a failure, let ``next`` give a newer head, what an endpoint now calls the latest, or the same again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await self._news.wait()
        if self._newest is not None:
            return
        try:
            self._announce(await self.latest())
        except ChainError:
            # The endpoint's own trouble is logged by the Rpc; the same head is tried again.
            self._newest = failed
            await asyncio.sleep(0.1)
        else:
            self._newest = self._newest or failed

    async def latest(self) -> Sighting:
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

    # Being told

    def _announce(self, sighting: Sighting) -> bool:
        """Note a head; True if it is new."""
        header = sighting.header
        sighting.link.health.height = max(sighting.link.health.height, header.number)
        if header.hash == self._last_hash or self._is_known(header.hash) or not self._rpc.fit(sighting.link):
            return False
        now = time.monotonic()
        if self._last_hash:
            self._intervals = [*self._intervals[1 - _KEPT_INTERVALS :], now - self._last_at]
        self._last_hash, self._last_at = header.hash, now
        self._told[header.hash] = sighting
        if len(self._told) > _KEPT_SIGHTINGS:
            del self._told[next(iter(self._told))]
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
        if time.monotonic() - self._last_at < silent_s - 0.25:
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
            await survey(self._rpc, max(3, math.ceil(3 / max(self.block_time_s, 0.01))), self._is_known)
            self._odd.clear()
            await asyncio.sleep(0.5)

    async def _poll(self) -> None:
        """Ask for the head while nobody pushes it."""
        while True:
            if self.live:
                await asyncio.sleep(0.1)
                continue
            # What is wrong with an endpoint is logged where it is asked, once per streak.
            with contextlib.suppress(ChainError):
                self._announce(await self.latest())
            await asyncio.sleep(max(self._soonest - time.monotonic(), min(max(self.block_time_s / 6, 0.05), 1.0)))

    @property
    def _soonest(self) -> float:
        """When the next head may be here at the earliest, so that polling a regular chain takes few questions."""
        regular = len(self._intervals) >= 8 and max(self._intervals) <= 2 * min(self._intervals)
        return self._last_at + 0.8 * min(self._intervals) if regular else 0.0
