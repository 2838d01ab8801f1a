"""Carrying JSON-RPC over HTTP and websockets, raw.

Not web3.py's providers: its websocket loop ends for good on a clean close (web3.py #3689) and hides which answer
belongs to which connection, and its HTTP provider retries by itself; here every failure has to come up at once, so
that another endpoint can be asked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection

from keeper.chain.answers import Json, TimedOutError, UnreachableError, fields, items
from keeper.chain.endpoint import Endpoint

Call: TypeAlias = tuple[str, Sequence[Json]]
"""A method and its parameters."""

CONNECT_S = 3.0
MOST_WAITING = 4_096
"""Values that are kept of a subscription for who reads it."""
_LARGEST_ANSWER = 256 * 1024 * 1024

# The library logs the request line of the handshake, and a path may hold a key.
_silent = logging.getLogger("keeper.websockets")
_silent.setLevel(logging.CRITICAL)


class Transport(Protocol):
    """A way to one endpoint. Every failure is ``UnreachableError``, and none names a credential."""

    async def exchange(self, calls: Sequence[Call], timeout_s: float) -> list[Mapping[str, Json]]:
        """Send the calls as one message (a batch if several) and return the answers in the same order."""
        ...

    async def close(self) -> None: ...


_REMEDY = "check the endpoint; others are asked meanwhile"


def unreachable(endpoint: Endpoint, came: str) -> UnreachableError:
    return UnreachableError(f"an answer from {endpoint.name}", came, _REMEDY)


def _failure(endpoint: Endpoint, error: Exception) -> UnreachableError:
    """Only the error's kind: its text may quote the URL."""
    if isinstance(error, TimeoutError):
        return TimedOutError(f"an answer from {endpoint.name}", "none came in time", _REMEDY)
    if isinstance(error, OSError) and error.strerror:
        return unreachable(endpoint, error.strerror.lower())
    return unreachable(endpoint, f"the connection failed ({type(error).__name__})")


def _ordered(endpoint: Endpoint, ids: Sequence[int], answer: Json) -> list[Mapping[str, Json]]:
    """Answers by id. A lone error object for a whole batch stands for each of its calls."""
    if isinstance(answer, Mapping):
        return [answer] * len(ids)
    found = {each["id"]: each for each in map(fields, items(answer)) if isinstance(each.get("id"), int)}
    if missing := [i for i in ids if i not in found]:
        raise unreachable(endpoint, f"{len(missing)} of {len(ids)} answers were missing")
    return [found[i] for i in ids]


def _message(ids: Sequence[int], calls: Sequence[Call]) -> str:
    body = [
        {"jsonrpc": "2.0", "id": i, "method": method, "params": params}
        for i, (method, params) in zip(ids, calls, strict=True)
    ]
    return json.dumps(body if len(body) > 1 else body[0])


class HttpTransport:
    """JSON-RPC over kept-alive HTTP connections."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, calls: Sequence[Call], timeout_s: float) -> list[Mapping[str, Json]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=60))
        ids = [next(self._ids) for _ in calls]
        limits = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._endpoint.url, data=_message(ids, calls), headers=headers, timeout=limits
            ) as response:
                body = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _failure(self._endpoint, error) from None
        try:
            answer: Json = json.loads(body)
        except (ValueError, RecursionError):
            raise unreachable(self._endpoint, f"HTTP {status} with a body that is not JSON") from None
        # Some nodes send JSON-RPC errors with an HTTP error status; those say more than the status does.
        if not isinstance(answer, (dict, list)) or (isinstance(answer, dict) and not _is_answer(answer)):
            raise unreachable(self._endpoint, f"HTTP {status} with JSON that is not JSON-RPC")
        if status == 429:
            raise unreachable(self._endpoint, "HTTP 429: too many requests")
        return _ordered(self._endpoint, ids, answer)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _is_answer(answer: Mapping[str, Json]) -> bool:
    return "result" in answer or isinstance(answer.get("error"), Mapping)


class Subscription:
    """What a websocket pushes for one ``eth_subscribe``. Ends with ``UnreachableError`` when the connection does.

    Of what nobody reads the oldest is forgotten.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pushed: asyncio.Queue[Json | UnreachableError] = asyncio.Queue(MOST_WAITING)

    def put(self, value: Json | UnreachableError) -> None:
        if self._pushed.full():
            self._pushed.get_nowait()
        self._pushed.put_nowait(value)

    async def next(self, timeout_s: float) -> Json:
        """The next value pushed. ``TimeoutError`` after ``timeout_s`` of silence, ``UnreachableError`` at the end."""
        async with asyncio.timeout(timeout_s):
            value = await self._pushed.get()
        if isinstance(value, UnreachableError):
            self._pushed.put_nowait(value)
            raise value
        return value


@dataclass(slots=True)
class _Waiting:
    answered: asyncio.Future[Mapping[str, Json]]
    subscription: Subscription | None = None


class WebsocketTransport:
    """JSON-RPC and subscriptions over one websocket, opened when first needed and again after it was lost."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ids = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, _Waiting] = {}
        self._subscriptions: dict[str, Subscription] = {}

    async def exchange(self, calls: Sequence[Call], timeout_s: float) -> list[Mapping[str, Json]]:
        return await self._exchange(calls, timeout_s, None)

    async def subscribe(self, params: Sequence[Json], timeout_s: float) -> tuple[Mapping[str, Json], Subscription]:
        """``eth_subscribe``: the node's answer, and where what it pushes arrives."""
        subscription = Subscription(self._endpoint)
        [answer] = await self._exchange([("eth_subscribe", params)], timeout_s, subscription)
        return answer, subscription

    async def _exchange(
        self, calls: Sequence[Call], timeout_s: float, subscription: Subscription | None
    ) -> list[Mapping[str, Json]]:
        ids = [next(self._ids) for _ in calls]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._connected()
                for i in ids:
                    self._waiting[i] = _Waiting(loop.create_future(), subscription)
                futures = [self._waiting[i].answered for i in ids]
                await connection.send(_message(ids, calls))
                return list(await asyncio.gather(*futures))
        except (websockets.WebSocketException, OSError, TimeoutError) as error:
            raise _failure(self._endpoint, error) from None
        finally:
            for i in ids:
                waiting = self._waiting.pop(i, None)
                if waiting is not None and waiting.answered.done() and not waiting.answered.cancelled():
                    waiting.answered.exception()  # Seen: the caller knows from the error that came first.

    async def _connected(self) -> ClientConnection:
        async with self._connecting:
            if self._connection is None:
                connection = await websockets.connect(
                    self._endpoint.url,
                    open_timeout=CONNECT_S,
                    ping_interval=10,
                    ping_timeout=10,
                    close_timeout=0.5,
                    max_size=_LARGEST_ANSWER,
                    compression=None,
                    proxy=None,
                    logger=_silent,
                )
                self._connection = connection
                self._reader = asyncio.create_task(self._read(connection), name=f"read {self._endpoint.name}")
            return self._connection

    async def _read(self, connection: ClientConnection) -> None:
        came = "the node closed the connection"
        try:
            async for message in connection:
                self._dispatch(json.loads(message))
        except (websockets.WebSocketException, OSError) as error:
            came = f"the connection was cut ({type(error).__name__})"
        except (ValueError, RecursionError):
            came = "it sent something that is not JSON"
        finally:
            self._lost(unreachable(self._endpoint, came))
            # A peer that stalls must not hold this up.
            connection.transport.abort()

    def _dispatch(self, message: Json) -> None:
        if isinstance(message, list):
            for each in message:
                self._dispatch(each)
            return
        if not isinstance(message, Mapping):
            raise ValueError("not JSON-RPC")
        number = message.get("id")
        if isinstance(number, int):
            waiting = self._waiting.get(number)
            if waiting is None or waiting.answered.done():
                return  # Its asker has given up.
            if waiting.subscription is not None and isinstance(name := message.get("result"), str):
                # Here and not by the asker: a push may follow on the heels of this answer.
                self._subscriptions[name] = waiting.subscription
            waiting.answered.set_result(message)
        elif isinstance(params := message.get("params"), Mapping):
            subscription = self._subscriptions.get(str(params.get("subscription")))
            if subscription is not None:
                subscription.put(params.get("result"))
        else:
            raise ValueError("not JSON-RPC")

    def _lost(self, error: UnreachableError) -> None:
        self._connection = None
        for waiting in self._waiting.values():
            if not waiting.answered.done():
                waiting.answered.set_exception(error)
        for subscription in self._subscriptions.values():
            subscription.put(error)
        self._subscriptions.clear()

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
