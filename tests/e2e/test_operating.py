"""What an operator, or somebody who means no good, may do to the web server; and what never leaves the process."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from keeper.devnet.daemon import PASSWORD, run_daemon
from keeper.devnet.deri_world import moved
from tests.e2e.operated import TOKEN, WORLD, Operated, operated

SECRET_KEY = "v3-0123456789abcdef0123456789abcdef"  # stands for a provider's key in an endpoint's URL


async def liquidates(keeper: Operated, change: str, seconds: float = 20.0) -> None:
    """A price move is followed by liquidations as ever."""
    since = len(keeper.daemon.events)
    keeper.market.oracle.move(moved(WORLD.symbols, change))
    await keeper.daemon.wait_for(lambda event: event.get("event") == "liquidation.mined", seconds, since)


async def test_whatever_is_done_to_the_web_server_the_liquidating_goes_on(tmp_path: Path) -> None:
    async with operated(tmp_path) as keeper:
        await keeper.qualify()
        host, port = urlsplit(keeper.url).hostname, urlsplit(keeper.url).port
        assert host is not None

        # A body of 100 MB is refused before it is read.
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /api/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000000\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()

        # Clients of the event stream that don't read are kept apart, and are not more than a few.
        slow = [await asyncio.open_connection(host, port) for _ in range(20)]
        for _, each in slow:
            each.write(b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answers = [await asyncio.wait_for(each.readline(), 5) for each, _ in slow]
        assert sum(b" 200 " in answer for answer in answers) == 16
        assert sum(b" 503 " in answer for answer in answers) == 4

        # A token is guessed: after five wrong ones the right one has to wait, too.
        assert [await keeper.post("/api/pause", f"wrong-{n}") for n in range(6)] == [401] * 5 + [429]
        assert await keeper.post("/api/pause", TOKEN) == 429
        assert await keeper.post("/api/pause", None) in (401, 429)

        # A page elsewhere that resolves its own name to this machine learns nothing.
        async with keeper.http.get(f"{keeper.url}/api/snapshot", headers={"Host": "evil.example"}) as response:
            assert response.status == 421
        async with keeper.http.get(f"{keeper.url}/nowhere") as response:
            assert response.status == 404

        await liquidates(keeper, "-0.06")
        assert (await keeper.ready())[0] == 200
        for _, each in slow:
            each.close()


async def test_a_port_in_use_is_told_in_a_sentence_and_listened_on_once_it_is_free(tmp_path: Path) -> None:
    async with operated(tmp_path) as keeper:
        await keeper.qualify()
        await keeper.daemon.stop()
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = keeper.config
        config.write_text(config.read_text().replace("port = 0", f"port = {port}"))
        async with run_daemon(config) as daemon:
            told = await daemon.wait_for(lambda event: event.get("event") == "no console")
            assert f"expected to listen on 127.0.0.1 port {port}, but" in str(told["error"])
            await daemon.wait_for(lambda event: event.get("event") == "eligibility" and bool(event["allowed"]))
            keeper.market.oracle.move(moved(WORLD.symbols, "-0.06"))
            await daemon.wait_for(lambda event: event.get("event") == "liquidation.mined")
            taken.close()
            await daemon.wait_for(lambda event: event.get("event") == "console")


async def test_a_pause_outlives_a_restart(tmp_path: Path) -> None:
    async with operated(tmp_path) as keeper:
        await keeper.qualify()
        assert await keeper.post("/api/pause", TOKEN) == 200
        await keeper.daemon.stop()
        async with run_daemon(keeper.config) as daemon:
            await daemon.wait_for(lambda event: event.get("event") == "paused")
            said = await daemon.wait_for(lambda event: event.get("event") == "console")
            keeper.market.oracle.move(moved(WORLD.symbols, "-0.06"))
            await daemon.wait_for(lambda event: event.get("reason") == "paused by the operator")
            url, headers = str(said["url"]), {"Authorization": f"Bearer {TOKEN}"}
            async with aiohttp.ClientSession() as http, http.post(f"{url}/api/resume", headers=headers) as response:
                assert response.status == 200
            await daemon.wait_for(lambda event: event.get("event") == "liquidation.mined")


def mark_endpoints(config: Path) -> None:
    """Endpoints as a provider gives them: with a key in the URL."""
    text = config.read_text()
    lines = [
        line.replace('", "', f'/?key={SECRET_KEY}", "').replace('"]', f'/?key={SECRET_KEY}"]')
        if line.startswith("endpoints")
        else line
        for line in text.splitlines()
    ]
    config.write_text("\n".join(lines) + "\n")


async def test_no_secret_is_in_log_metrics_console_or_store(tmp_path: Path) -> None:
    async with operated(tmp_path) as keeper:
        await keeper.daemon.stop()
        mark_endpoints(keeper.config)
        assert keeper.config.read_text().count(SECRET_KEY) == 2
        async with run_daemon(keeper.config) as daemon, aiohttp.ClientSession() as http:
            url = str((await daemon.wait_for(lambda event: event.get("event") == "console"))["url"])
            again = Operated(keeper.node, keeper.market, keeper.config, daemon, keeper.inbox, url, http)
            await again.qualify()
            await liquidates(again, "-0.07")
            shown = [
                await again.text(path)
                for path in ("/ready", "/metrics", "/api/snapshot", "/api/history", "/", "/console.js")
            ]
            # Also in trouble, when errors are told.
            await again.node.set_interval_mining(0)
            await again.until_red("head-stalled")
            shown += [await again.text(path) for path in ("/ready", "/metrics", "/api/snapshot")]
            await again.node.set_interval_mining(1)
            await again.until_green()
            assert await daemon.stop() == 0
            shown += [json.dumps(event) for event in daemon.events] + daemon.other_output
        shown += keeper.inbox.titles + keeper.inbox.bodies
        stored = [stored_in(tmp_path / name) for name in ("keeper.sqlite", "keeper.lite.mirror.sqlite")]
        assert sum(map(len, shown)) > 50_000
        urls = (tmp_path / "alerts").read_text().strip()
        for secret in (keeper.market.liquidator_key.hex(), PASSWORD, SECRET_KEY, TOKEN, urls):
            hits = [text[:200] for text in [*shown, *stored] if secret.lower() in text.lower()]
            assert hits == [], secret


def stored_in(path: Path) -> str:
    """Everything in a store, binary columns in hexadecimal."""
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(
            value.hex() + value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for row in connection.execute(f'SELECT * FROM "{table}"')
            for value in row
        )
