"""A node that forwards to Anvil and misbehaves when told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp
from aiohttp import web

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Forward: TypeAlias = Callable[[], Awaitable[Json]]
Lie: TypeAlias = Callable[[list[Json], Forward], Awaitable[Json]]
"""Given the parameters and a way to ask the real node, what to answer."""


class NodeSaysNo(Exception):  # noqa: N818
    """Answer with a JSON-RPC error of this text."""


class CutConnection(Exception):  # noqa: N818
    """Close the connection without an answer."""


class LyingNode:
    """Forwards everything; what is in ``lies`` is answered by the lie instead. ``asked`` counts by method."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream, self._session = upstream, session
        self.lies: dict[str, Lie] = {}
        self.asked: list[str] = []
        self.url = ""

    def once(self, method: str, lie: Lie) -> None:
        """Lie the first time the method is asked, then forward."""

        async def first(params: list[Json], forward: Forward) -> Json:
            del self.lies[method]
            return await lie(params, forward)

        self.lies[method] = first

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        calls = asked if isinstance(asked, list) else [asked]
        try:
            answers = [await self._answer(call) for call in calls]
        except CutConnection:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        return web.json_response(answers if isinstance(asked, list) else answers[0])

    async def _answer(self, call: dict[str, Json]) -> dict[str, Json]:
        method, params = str(call["method"]), call.get("params")
        assert isinstance(params, list)
        self.asked.append(method)

        async def forward() -> Json:
            async with self._session.post(self._upstream, json=call) as response:
                answer: dict[str, Json] = json.loads(await response.text())
            if isinstance(fault := answer.get("error"), dict):
                raise NodeSaysNo(str(fault.get("message")))
            return answer.get("result")

        lie = self.lies.get(method)
        try:
            result = await (lie(params, forward) if lie else forward())
        except NodeSaysNo as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": str(error)}}
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}


@asynccontextmanager
async def lying_node(upstream: str) -> AsyncIterator[LyingNode]:
    """A node in front of ``upstream``, on a free port of this machine."""
    async with aiohttp.ClientSession() as session:
        node = LyingNode(upstream, session)
        app = web.Application()
        app.router.add_post("/", node.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            node.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield node
        finally:
            await runner.cleanup()
