"""Asking nodes: many endpoints, one chain. Rotation on trouble, throttling, racing broadcast, and calls counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import structlog
from asyncio_throttle.throttler import Throttler
from eth_utils import keccak

from keeper.chain.answers import Json, RpcError, UnreachableError, is_rate_limit, is_unknown_block, quantity
from keeper.chain.endpoint import Endpoint, Health
from keeper.chain.transport import Call, HttpTransport, Subscription, WebsocketTransport, unreachable
from keeper.errors import ChainError, ConfigError

log = structlog.get_logger(__name__)

REQUEST_S = 5.0
PATIENCE_S = 3.0
"""How long a request keeps going round the endpoints before its failure is raised."""
UNKNOWN_BLOCK_S = 0.15
"""How long a block that no endpoint knows is waited for: it is on its way, or a reorg took it."""
SLOW_S = 0.25
"""An endpoint whose answers take this much longer than twice the fastest one's is asked after the others."""
LARGEST_BATCH = 50
"""JSON-RPC calls in one message; the strictest common providers take this many."""


class _Throttle(Protocol):
    async def acquire(self) -> None: ...


class Link:
    """One endpoint with its connection, its throttle and its record."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.name = endpoint.name
        self.health = Health()
        self.transport = WebsocketTransport(endpoint) if endpoint.websocket else HttpTransport(endpoint)
        self.chain_id: int | None = None
        """None until it said so."""
        rate = endpoint.requests_per_second
        self._throttle: _Throttle | None = Throttler(rate) if rate else None

    async def throttle(self, calls: int) -> None:
        """Wait until ``calls`` more are within the endpoint's rate."""
        if self._throttle is not None:
            for _ in range(calls):
                await self._throttle.acquire()


@dataclass(frozen=True, slots=True)
class Reply:
    """What one endpoint said to a broadcast transaction."""

    endpoint: str
    accepted: bool
    message: str
    """The node's text if it refused, or why it was not reached."""
    refused: bool
    """The node itself said no; false also when its answer is not known."""


@dataclass(slots=True)
class Broadcast:
    """A transaction that at least one endpoint accepted; ``replies`` grows as the others answer."""

    raw: bytes = field(repr=False)
    replies: list[Reply] = field(default_factory=list)
    _rest: Sequence[asyncio.Task[list[Reply]]] = field(default=(), repr=False)

    @property
    def transaction_hash(self) -> str:
        return "0x" + keccak(self.raw).hex()

    @property
    def accepted(self) -> bool:
        return any(reply.accepted for reply in self.replies)

    async def settled(self) -> Sequence[Reply]:
        """Every endpoint's reply, once all have answered or failed."""
        if self._rest:
            await asyncio.wait(self._rest)
        return self.replies


class TransactionRefusedError(ChainError):
    """No endpoint accepted a transaction. ``certain`` is false if one may have and its answer was lost."""

    def __init__(self, transaction_hash: str, replies: Sequence[Reply]) -> None:
        self.transaction_hash = transaction_hash
        self.replies = tuple(replies)
        self.certain = all(reply.refused for reply in replies)
        self.message = next((r.message for r in replies if r.refused), replies[0].message if replies else "")
        """The text of the first node that refused, else why the first was not reached."""
        super().__init__(
            f"an endpoint to accept transaction {transaction_hash}",
            "; ".join(f"{r.endpoint}: {r.message}" for r in replies) or "there was none to ask",
            "see what the nodes say",
        )


_KNOWN_ALREADY = ("already known", "already imported", "known transaction", "alreadyknown", "already exists")


class WrongChainError(UnreachableError, ConfigError):
    """An endpoint serves another chain. At the start that is a fault of the configuration; later the endpoint is as
    good as unreachable, and the others are asked.
    """


class Rpc:
    """The chain behind a list of endpoints. Used as an async context manager.

    Entering asks every endpoint for its chain id: ``ConfigError`` names one that serves another chain,
    ``ChainError`` if none answers. Endpoints that don't answer then are checked when they first do.
    """

    def __init__(self, endpoints: Iterable[Endpoint], chain_id: int) -> None:
        self.chain_id = chain_id
        self.links = tuple(Link(endpoint) for endpoint in endpoints)
        self.calls: Counter[str] = Counter()
        """Calls by method, as sent: one in a batch counts as one, and so does each attempt."""
        self._background: set[asyncio.Task[list[Reply]]] = set()

    async def __aenter__(self) -> Rpc:
        try:
            await self._check_chain()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for link in self.links:
            await link.transport.close()

    # Asking

    async def request(
        self,
        method: str,
        params: Sequence[Json] = (),
        *,
        link: Link | None = None,
        timeout_s: float = REQUEST_S,
        patience_s: float = PATIENCE_S,
    ) -> Json:
        """One call. Raises ``RpcError`` if a node answers with an error, ``UnreachableError`` if none answers.

        With ``link`` only that endpoint is asked, once.
        """
        [answer] = await self.batch([(method, params)], link=link, timeout_s=timeout_s, patience_s=patience_s)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(
        self,
        calls: Sequence[Call],
        *,
        link: Link | None = None,
        timeout_s: float = REQUEST_S,
        patience_s: float = PATIENCE_S,
    ) -> list[Json | RpcError]:
        """Several calls, answered in order; a call's own error stands in its place. Raises ``UnreachableError``."""
        chunks = [calls[at : at + LARGEST_BATCH] for at in range(0, len(calls), LARGEST_BATCH)]
        if link is not None:
            answered = [await self._ask(link, chunk, timeout_s) for chunk in chunks]
        else:
            answered = [await self._ask_around(chunk, timeout_s, patience_s) for chunk in chunks]
        return [answer for chunk in answered for answer in chunk]

    async def _ask_around(self, calls: Sequence[Call], timeout_s: float, patience_s: float) -> list[Json | RpcError]:
        """Ask the endpoints in their order until one gives an answer that can be used."""
        began = time.monotonic()
        pause = 0.05
        while True:
            failure: UnreachableError | None = None
            partial: list[Json | RpcError] | None = None
            for link in self.order():
                try:
                    answers = await self._ask(link, calls, timeout_s)
                except UnreachableError as error:
                    failure = error
                    continue
                errors = [answer for answer in answers if isinstance(answer, RpcError)]
                if any(map(is_rate_limit, errors)):
                    failure = unreachable(link.endpoint, f"it is throttling: {errors[0].message!r}")
                elif any(map(is_unknown_block, errors)):
                    partial = answers
                else:
                    return answers
            waited = time.monotonic() - began
            if partial is not None and waited >= UNKNOWN_BLOCK_S:
                return partial
            if partial is None and waited >= patience_s:
                raise failure or UnreachableError(
                    f"an endpoint for chain {self.chain_id}", "none is left to ask", "check the configured endpoints"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    def order(self) -> list[Link]:
        """The endpoints of this chain, best first: fit to decide on, not failing, not slow, HTTP, by priority."""
        usable = [link for link in self.links if link.chain_id in (None, self.chain_id)]
        fastest_s = min((link.health.latency_s for link in usable if link.health.latency_s), default=0.0)

        def rank(link: Link) -> tuple[bool, bool, bool, bool, bool, int, float]:
            health = link.health
            slow = health.latency_s > SLOW_S + 2 * fastest_s
            # A websocket comes after HTTP: a big answer on it would hold up the heads behind it.
            websocket = link.endpoint.websocket
            priority = link.endpoint.priority
            return not health.trusted, health.cooling, health.shaky, slow, websocket, priority, health.latency_s

        return sorted(usable, key=rank)

    def fit(self, link: Link) -> bool:
        """Whether to believe this endpoint: always, if no other one is trusted and answering."""
        others = (each.health for each in self.links if each is not link and each.chain_id == self.chain_id)
        return link.health.trusted or not any(health.trusted and not health.cooling for health in others)

    async def _ask(self, link: Link, calls: Sequence[Call], timeout_s: float) -> list[Json | RpcError]:
        await self._identify(link)
        await link.throttle(len(calls))
        return await self._exchange(link, calls, timeout_s)

    async def _exchange(self, link: Link, calls: Sequence[Call], timeout_s: float) -> list[Json | RpcError]:
        self.calls.update(method for method, _ in calls)
        began = time.monotonic()
        try:
            answers = await link.transport.exchange(calls, timeout_s)
        except UnreachableError as error:
            self._failed(link, error)
            raise
        results = [_result(link, method, answer) for (method, _), answer in zip(calls, answers, strict=True)]
        throttled = next((each for each in results if isinstance(each, RpcError) and is_rate_limit(each)), None)
        if throttled is not None:
            self._failed(link, throttled)
        else:
            self._answered(link, time.monotonic() - began)
        return results

    # Subscribing

    async def subscribe(self, link: Link, params: Sequence[Json], timeout_s: float = REQUEST_S) -> Subscription:
        """``eth_subscribe`` on a websocket endpoint. Raises ``RpcError`` or ``UnreachableError``."""
        if not isinstance(link.transport, WebsocketTransport):
            raise unreachable(link.endpoint, "it can't push: it is not a websocket")
        await self._identify(link)
        self.calls["eth_subscribe"] += 1
        try:
            answer, subscription = await link.transport.subscribe(params, timeout_s)
        except UnreachableError as error:
            self._failed(link, error)
            raise
        if isinstance(result := _result(link, "eth_subscribe", answer), RpcError):
            raise result
        return subscription

    # Sending

    def broadcast(self, raws: Sequence[bytes], timeout_s: float = REQUEST_S) -> list[asyncio.Future[Broadcast]]:
        """Give signed transactions, in their order and as one message, to every endpoint of the chain at once.

        Each one's future is done at its first acceptance ("already known" is one), or fails with
        ``TransactionRefusedError`` when all endpoints have answered or failed and none took it. Never waits for the
        throttle.
        """
        tasks = [asyncio.create_task(self._send(link, raws, timeout_s)) for link in self.order()]
        told = asyncio.get_running_loop().create_future
        sent = [(Broadcast(raw, [], tasks), told()) for raw in raws]
        unheard = set(tasks)

        def heard(task: asyncio.Task[list[Reply]]) -> None:
            unheard.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                # A fault in our own code: loud, and no endpoint's answer.
                log.error("endpoint.broadcast-failed", exc_info=error)
            elif not task.cancelled():
                for (broadcast, _), reply in zip(sent, task.result(), strict=True):
                    broadcast.replies.append(reply)
            for broadcast, future in sent:
                if future.done():
                    continue
                if broadcast.accepted:
                    future.set_result(broadcast)
                elif not unheard:
                    future.set_exception(TransactionRefusedError(broadcast.transaction_hash, broadcast.replies))

        for task in tasks:
            self._background.add(task)
            task.add_done_callback(heard)
            task.add_done_callback(self._background.discard)
        if not tasks:
            for broadcast, future in sent:
                future.set_exception(TransactionRefusedError(broadcast.transaction_hash, ()))
        return [future for _, future in sent]

    async def send_raw_transaction(self, raw: bytes, timeout_s: float = REQUEST_S) -> Broadcast:
        """``broadcast`` of a single transaction."""
        [future] = self.broadcast([raw], timeout_s)
        return await future

    async def _send(self, link: Link, raws: Sequence[bytes], timeout_s: float) -> list[Reply]:
        calls: list[Call] = [("eth_sendRawTransaction", ["0x" + raw.hex()]) for raw in raws]
        replies: list[Reply] = []
        try:
            await self._identify(link)
            for at in range(0, len(calls), LARGEST_BATCH):
                chunk = calls[at : at + LARGEST_BATCH]
                answers = await self._exchange(link, chunk, timeout_s)
                if len(chunk) > 1 and all(isinstance(answer, RpcError) for answer in answers):
                    # It may have refused the message as a whole, and not what is in it.
                    answers = [answer for call in chunk for answer in await self._exchange(link, [call], timeout_s)]
                replies += [_reply(link, answer) for answer in answers]
        except ChainError as error:
            lost = Reply(link.name, accepted=False, message=error.came, refused=False)
            replies += [lost] * (len(raws) - len(replies))
        return replies

    # Keeping the record

    async def _check_chain(self) -> None:
        found = await asyncio.gather(*(self._identify(link) for link in self.links), return_exceptions=True)
        for error in found:
            if isinstance(error, WrongChainError) or not isinstance(error, UnreachableError | None):
                raise error
        if all(isinstance(error, UnreachableError) for error in found):
            raise ChainError(
                f"at least one endpoint of chain {self.chain_id} to answer",
                "; ".join(
                    f"{link.name}: {error.came}"
                    for link, error in zip(self.links, found, strict=True)
                    if isinstance(error, UnreachableError)
                )
                or "none is configured",
                "check the endpoints and the network",
            )

    async def _identify(self, link: Link) -> None:
        """Ask for the chain id unless it is known. Raises ``WrongChainError`` or another ``UnreachableError``."""
        if link.chain_id is None:
            [answer] = await self._exchange(link, [("eth_chainId", [])], REQUEST_S)
            if isinstance(answer, RpcError):
                raise unreachable(link.endpoint, f"it would not tell its chain id: {answer.message!r}")
            link.chain_id = quantity(answer)
            if link.chain_id != self.chain_id:
                log.error("endpoint.wrong-chain", endpoint=link.name, expected=self.chain_id, came=link.chain_id)
        if link.chain_id != self.chain_id:
            raise WrongChainError(
                f"chain {self.chain_id} at {link.name}",
                f"it serves chain {link.chain_id}",
                "correct the endpoint or the chain id in the configuration",
            )

    def _failed(self, link: Link, error: ChainError) -> None:
        link.health.failed()
        if link.health.streak == 1:
            log.warning("endpoint.failing", endpoint=link.name, came=error.came)

    def _answered(self, link: Link, seconds: float) -> None:
        if link.health.streak:
            log.info("endpoint.recovered", endpoint=link.name, failures=link.health.streak)
        link.health.answered(seconds)


def _reply(link: Link, answer: Json | RpcError) -> Reply:
    """What an endpoint's answer to a transaction means."""
    if not isinstance(answer, RpcError):
        return Reply(link.name, accepted=True, message="", refused=False)
    known = any(known in answer.message.lower() for known in _KNOWN_ALREADY)
    # A node that has no time for it says nothing about the transaction.
    return Reply(link.name, accepted=known, message=answer.message, refused=not (known or is_rate_limit(answer)))


def _result(link: Link, method: str, answer: Mapping[str, Json]) -> Json | RpcError:
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, Mapping):
        return RpcError(method, link.name, 0, str(error))
    code = error.get("code")
    return RpcError(
        method, link.name, code if isinstance(code, int) else 0, str(error.get("message", "")), error.get("data")
    )
