"""A keeper as its operator has it: a local market, the daemon, its web server, and somebody who receives the alerts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import Daemon, LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import DeriWorld, three_futures

TOKEN = "0123456789abcdef-a-token-of-this-test"
STAKE_DERI = 60_000 * 10**18
WORLD = three_futures(30)


@dataclass(slots=True)
class Inbox:
    """What an alert service received: titles, the oldest first."""

    titles: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        message = await request.json()
        self.titles.append(message["title"])
        self.bodies.append(message["message"])
        return web.json_response({})


@dataclass(slots=True)
class Operated:
    """A keeper at work. ``url`` is where its web server listens."""

    node: Anvil
    market: DeriDevnet
    config: Path
    daemon: Daemon
    inbox: Inbox
    url: str
    http: aiohttp.ClientSession

    async def ready(self) -> tuple[int, Mapping[str, Any]]:
        async with self.http.get(f"{self.url}/ready") as response:
            return response.status, await response.json()

    async def until_red(self, cause: str, seconds: float = 15.0) -> float:
        """Wait until it is not ready for that cause and no other; after how many seconds."""
        began = time.monotonic()
        body: Mapping[str, Any] = {}
        while time.monotonic() - began < seconds:
            status, body = await self.ready()
            critical = [each["name"].partition(":")[0] for each in body["causes"] if each["level"] == "critical"]
            if status == 503 and critical == [cause]:
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise AssertionError(f"not red for {cause} within {seconds} s: {body}\n{self.daemon.tail()}")

    async def until_green(self, seconds: float = 30.0) -> float:
        """Wait until it is ready; after how many seconds."""
        began = time.monotonic()
        body: Mapping[str, Any] = {}
        while time.monotonic() - began < seconds:
            status, body = await self.ready()
            if status == 200:
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        raise AssertionError(f"not ready within {seconds} s: {body}\n{self.daemon.tail()}")

    async def told(self, wanted: str, seconds: float = 15.0) -> None:
        """Wait until an alert with that title arrived."""
        async with asyncio.timeout(seconds):
            while wanted not in self.inbox.titles:  # noqa: ASYNC110 - another process's messages
                await asyncio.sleep(0.05)

    async def text(self, path: str) -> str:
        async with self.http.get(f"{self.url}{path}") as response:
            return await response.text()

    async def post(self, path: str, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        async with self.http.post(f"{self.url}{path}", headers=headers) as response:
            return response.status

    async def blocks(self, count: int) -> None:
        """Let the chain go on."""
        target = await self.node.block_number() + count
        async with asyncio.timeout(10 + 2 * count):
            while (number := await self.node.block_number()) < target:  # noqa: ASYNC110 - another process's blocks
                await asyncio.sleep(0.05 * (target - number))

    async def qualify(self) -> None:
        """Stake for the liquidator, and wait until the keeper says that it is ready."""
        await self.market.confirm(await self.market.stake(self.market.liquidator, STAKE_DERI))
        await self.until_green()


@asynccontextmanager
async def operated(
    folder: Path,
    *,
    world: DeriWorld = WORLD,
    gas: str = "",
    store: Path | None = None,
    market_extra: str = "",
    signer: str | None = None,
) -> AsyncIterator[Operated]:
    """Run it all. ``store`` is the journal's folder, ``signer`` a remote signer's URL in place of the keystore."""
    inbox = Inbox()
    async with (
        run_anvil(AnvilOptions(block_time=1)) as node,
        deri_market(node, world) as market,
        _serve(inbox) as port,
        aiohttp.ClientSession() as http,
    ):
        (folder / "token").write_text(TOKEN)
        (folder / "alerts").write_text(f"json://127.0.0.1:{port}/inbox\n")
        (folder / "token").chmod(0o600)
        config = write_config(
            folder,
            node.http_url,
            [LocalMarket("lite", market.pool.address, market.oracle.url)],
            market.liquidator_key,
            extra='[alerts]\nurls_file = "alerts"\nquiet_minutes = 0.1',
            gas=gas,
            http='port = 0\ntoken_file = "token"',
            market_extra=market_extra,
        )
        text = config.read_text()
        if store is not None:
            text = text.replace('path = "keeper.sqlite"', f'path = "{store}/keeper.sqlite"')
        if signer is not None:
            text = text.replace('keystore = "keystore.json"\npassword_file = "password"', f'remote = "{signer}"')
        config.write_text(text)
        async with run_daemon(config) as daemon:
            said = await daemon.wait_for(lambda event: event.get("event") == "console")
            yield Operated(node, market, config, daemon, inbox, str(said["url"]), http)


@asynccontextmanager
async def _serve(inbox: Inbox) -> AsyncIterator[int]:
    app = web.Application()
    app.add_routes([web.post("/inbox", inbox.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
