"""Nodes made of a function: HTTP servers whose answers a test writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

from aiohttp import web

from keeper.chain.answers import Json

Answer: TypeAlias = Callable[[str, Sequence[Json]], object]
"""From a method and its parameters to the result. An ``Error`` is answered as one; an ``HTTPException`` is sent."""

CHAIN_ID = 7


class Error(Exception):
    """A JSON-RPC error to answer with."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message} | ({"data": data} if data is not None else {})


def chain(answer: Answer) -> Answer:
    """An answer that knows its chain id by itself."""

    def answered(method: str, params: Sequence[Json]) -> object:
        return hex(CHAIN_ID) if method == "eth_chainId" else answer(method, params)

    return answered


@asynccontextmanager
async def serving(answer: Answer, *, batches: bool = True) -> AsyncIterator[str]:
    """An HTTP node on a free port; its URL. Without ``batches`` it refuses a message with several calls as a whole."""

    def one(call: dict[str, Json]) -> dict[str, object]:
        try:
            result = answer(str(call["method"]), cast("Sequence[Json]", call["params"]))
        except Error as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": error.body}
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}

    async def handle(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        if isinstance(body, list) and not batches:
            refusal = Error(-32600, "batch requests are not supported")
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": refusal.body})
        return web.json_response([one(each) for each in body] if isinstance(body, list) else one(body))

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
