"""A proxy between the keeper and a node that misbehaves in one way at a time, over HTTP and websocket alike."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias, cast

import aiohttp
from aiohttp import web

from keeper.devnet.rpc import Json

Message: TypeAlias = "dict[str, Json]"
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

DELAY_S = 0.4
EVERY = 3
NOT_JSON = "<html>Bad gateway</html>"


class Fault(enum.Enum):
    CUT = "cut: connections are reset, new ones too"
    CUT_CLEANLY = "cut cleanly: websockets get a proper close, new ones too"
    STALL = "stall: nothing passes, and arrives late once it is over"
    LOSE = "lose: nothing passes, and never arrives"
    DELAY = "delay: every message takes long"
    DROP = "drop: every n-th message is lost"
    TOO_MANY = "429: too many requests"
    GARBAGE = "garbage: what comes is not JSON"
    FROZEN = "frozen: the node stops at a height"
    FORKED = "forked: behind the address is a node on another fork"


class FaultyNode:
    """Stands in front of a node, and does what the present fault does. ``faulty_node`` is the way to make one."""

    def __init__(self, http_url: str, session: aiohttp.ClientSession) -> None:
        self.fault: Fault | None = None
        self.port = 0
        self._node_url = http_url
        self._fork_url = ""
        self._last_known: Message = {}
        self._passed = 0
        self._over = asyncio.Event()
        self._websockets: set[web.WebSocketResponse] = set()
        self._transports: set[asyncio.Transport] = set()
        self._session = session

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def suffering(self, fault: Fault, fork_url: str = "") -> AsyncIterator[None]:
        """Misbehave meanwhile. ``fork_url`` is the node on another fork."""
        latest = await self._ask({"id": 0, "method": "eth_getBlockByNumber", "params": ["latest", False]})
        self._last_known = cast("Message", latest["result"])
        self._fork_url = fork_url
        self._over.clear()
        self.fault = fault
        try:
            if fault in (Fault.CUT, Fault.CUT_CLEANLY, Fault.FORKED):
                await self.hang_up()
            yield
        finally:
            self.fault = None
            self._over.set()
            if fault is Fault.FORKED:
                await self.hang_up()

    async def hang_up(self) -> None:
        """End every connection: reset if the fault is a cut, else by a proper close."""
        if self.fault is Fault.CUT:
            for transport in self._transports:
                transport.abort()
        else:
            await asyncio.gather(*(client.close() for client in self._websockets), return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        if self.fault is Fault.CUT:
            transport.abort()
            raise web.HTTPServiceUnavailable
        self._transports.add(transport)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._handle_websocket(request)
            return await self._handle_http(request)
        finally:
            self._transports.discard(transport)

    async def _handle_http(self, request: web.Request) -> web.StreamResponse:
        body: Json = await request.json()
        await self._pass()
        if self.fault is Fault.TOO_MANY:
            return web.Response(status=429, text="slow down")
        if isinstance(body, list):
            answer: Json = [await self._answer(cast("Message", each)) for each in body]
        else:
            answer = await self._answer(cast("Message", body))
        await self._pass()
        if self.fault is Fault.GARBAGE:
            return web.Response(text=NOT_JSON)
        return web.json_response(answer)

    async def _handle_websocket(self, request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(max_msg_size=0)
        await client.prepare(request)
        self._websockets.add(client)
        try:
            if self.fault is Fault.CUT_CLEANLY:
                await client.close()
                return client
            async with self._session.ws_connect(self._url.replace("http", "ws"), max_msg_size=0) as node:
                sending = asyncio.create_task(self._send_on(node, client))
                try:
                    async for message in client:
                        with suppress(LostError):
                            await self._pass()
                            await node.send_str(message.data)
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
        finally:
            self._websockets.discard(client)
        return client

    async def _send_on(self, node: aiohttp.ClientWebSocketResponse, client: web.WebSocketResponse) -> None:
        """What the node says over a websocket: answers and new heads."""
        async for message in node:
            with suppress(LostError, ConnectionError):
                await self._pass()
                said = cast("Json", json.loads(message.data))
                if self.fault is Fault.FROZEN and isinstance(said, dict) and "method" in said:
                    continue
                text = NOT_JSON if self.fault is Fault.GARBAGE else json.dumps(self._distorted(said))
                await client.send_str(text)

    async def _pass(self) -> None:
        """Let one message pass, in the fault's own time; ``LostError`` if it never does."""
        self._passed += 1
        if self.fault is Fault.STALL:
            await self._over.wait()
        elif self.fault is Fault.DELAY:
            await asyncio.sleep(DELAY_S)
        elif self.fault is Fault.LOSE or (self.fault is Fault.DROP and self._passed % EVERY == 0):
            raise LostError

    async def _answer(self, request: Message) -> Json:
        return self._distorted(await self._ask(request))

    async def _ask(self, request: Message) -> Message:
        async with self._session.post(self._url, json={"jsonrpc": "2.0", **request}) as response:
            return cast("Message", await response.json(content_type=None))

    @property
    def _url(self) -> str:
        return self._fork_url if self.fault is Fault.FORKED else self._node_url

    def _distorted(self, said: Json) -> Json:
        """What a node says that is asked too often, or that knows nothing above its height."""
        if isinstance(said, list):
            return [self._distorted(each) for each in said]
        assert isinstance(said, dict)
        if self.fault is Fault.TOO_MANY and "id" in said:
            return {"jsonrpc": "2.0", "id": said["id"], "error": {"code": 429, "message": "too many requests"}}
        block = said.get("result")
        if self.fault is Fault.FROZEN and isinstance(block, dict) and _number(block) > _number(self._last_known):
            return said | {"result": self._last_known}
        return said


class LostError(Exception):
    """A message that never arrives."""


@web.middleware
async def _never_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A request that was lost hangs until its sender gives up."""
    try:
        return await handler(request)
    except LostError:
        await asyncio.sleep(3600)
        raise


def _number(block: Message) -> int:
    number = block.get("number")
    return int(number, 16) if isinstance(number, str) else 0


@asynccontextmanager
async def faulty_node(http_url: str) -> AsyncIterator[FaultyNode]:
    """A proxy in front of a node, on a free port."""
    async with aiohttp.ClientSession() as session:
        node = FaultyNode(http_url, session)
        app = web.Application(middlewares=[_never_answer], client_max_size=2**26)
        app.router.add_route("*", "/", node.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            node.port = runner.addresses[0][1]
            yield node
        finally:
            await node.hang_up()
            await runner.cleanup()
