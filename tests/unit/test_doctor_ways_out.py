"""`keeper doctor` on private relays and on alerts: is somebody there? No credential is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from keeper.doctor.findings import Finding
from keeper.doctor.relays import examine_relay
from keeper.ops.checkup import examine_operating
from keeper.settings import RelaySettings, Settings
from tests.unit.ops_views import SIGNER

KEY = "a-key-in-the-url-0123456789"
CHAIN_ID = 56
DEAD = "http://127.0.0.1:9"

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def answering(response: Handler) -> AsyncIterator[str]:
    """The URL of a server that answers every request like this."""
    app = web.Application()
    app.add_routes([web.route("*", "/{tail:.*}", response)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def text(status: int, body: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    return answer


async def relayed(relay: RelaySettings) -> list[Finding]:
    found = [finding async for finding in examine_relay("lite", relay, CHAIN_ID)]
    assert all(KEY not in f"{finding}" for finding in found)
    return found


@pytest.mark.parametrize(
    ("status", "body", "level", "words"),
    [
        (200, '{"result": "0x38"}', "ok", "it answers"),
        (400, '{"error": {"message": "method not found"}}', "ok", "it answers"),
        (200, '{"result": "0x1"}', "fault", "it serves another chain (0x1)"),
        (403, "no", "fault", "it refuses us (HTTP 403)"),
        (404, "<html>", "fault", "it speaks no JSON-RPC (HTTP 404)"),
        (200, "[" * 100_000, "fault", "it speaks no JSON-RPC"),
        (503, "", "warning", "in trouble (HTTP 503)"),
    ],
    ids=["answers", "takes transactions only", "another chain", "refuses", "no relay", "nonsense", "in trouble"],
)
async def test_a_relay_is_asked_and_its_answer_is_understood(status: int, body: str, level: str, words: str) -> None:
    async with answering(text(status, body)) as url:
        [finding] = await relayed(RelaySettings(kind="raw", url=f"{url}/{KEY}"))
    assert (finding.level, bool(finding.remedy)) == (level, level != "ok")
    assert words in finding.came


@pytest.mark.parametrize("url", [f"{DEAD}/{KEY}", f"ws://user:{KEY}@127.0.0.1:9"])
async def test_a_relay_that_is_not_there_is_a_fault(url: str) -> None:
    [finding] = await relayed(RelaySettings(kind="private", url=url))
    assert finding.level == "fault"
    assert "no usable answer" in finding.came
    assert "nothing of this market is sent" in finding.remedy


async def test_a_bundle_relay_is_asked_by_whom_it_knows(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["X-Flashbots-Signature"])
        return web.json_response({"result": hex(CHAIN_ID)})

    identity = tmp_path / "identity"
    async with answering(answer) as url:
        relay = RelaySettings(kind="bundle", url=url, identity_key_file=identity)
        [missing] = await relayed(relay)
        assert (missing.level, seen) == ("fault", [])
        identity.write_text("11" * 32)
        identity.chmod(0o600)
        known, reached = await relayed(relay)
    assert [known.level, reached.level] == ["ok", "ok"]
    assert seen[0].startswith(f"{known.came}:0x")


async def operating(folder: Path, **files: bytes) -> list[tuple[str, str]]:
    """The level of each finding and what came; the files are the token's and the alert URLs'."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    settings = Settings.model_validate(
        {
            "mode": "observe",
            "http": {"token_file": folder / "token"} if "token" in files else {},
            "alerts": {"urls_file": folder / "alerts"} if "alerts" in files else {},
            "chains": {"local": {"chain_id": 1, "endpoints": ["http://node"]}},
            "markets": {"lite": {"protocol": "deri-v3", "chain": "local", "pool": SIGNER, "native_price_b0": 1}},
        }
    )
    found = [finding async for finding in examine_operating(settings)]
    assert all(KEY not in f"{finding}" for finding in found)
    return [(finding.level.value, f"{finding.subject}: {finding.came}") for finding in found]


async def test_whom_alerts_go_to_is_looked_at_line_by_line(tmp_path: Path) -> None:
    async with answering(text(200, "")) as url:
        host = url.removeprefix("http://")
        urls = f"# ours\njson://user:{KEY}@{host}/{KEY}\nform://127.0.0.1:9/{KEY}\npagerduty://{KEY}@{KEY}\n"
        found = await operating(tmp_path, alerts=urls.encode())
    assert found == [
        ("ok", f"alerts line 2 (json): {host} answers; `keeper alerts test` sends a message"),
        ("warning", "alerts line 3 (form): nobody answers at 127.0.0.1:9 (ConnectionRefusedError)"),
        ("ok", "alerts line 4 (pagerduty): Apprise knows it; `keeper alerts test` sends a message"),
    ]


@pytest.mark.parametrize(
    ("files", "level", "words"),
    [
        ({"alerts": f"nothing://{KEY}".encode()}, "fault", "line 1 (nothing) is none that is known"),
        ({"alerts": b"\xff\xfe"}, "fault", "it is no text"),
        ({"alerts": b""}, "warning", "nobody is told"),
        ({"token": b"short"}, "fault", "it has 5"),
        ({"token": b"\xff\xfe"}, "fault", "it is no text"),
        ({"token": b"0123456789abcdef"}, "ok", "token"),
    ],
    ids=["unknown service", "alerts no text", "no service", "short token", "token no text", "good token"],
)
async def test_what_the_daemon_would_refuse_is_a_fault(
    files: dict[str, bytes], level: str, words: str, tmp_path: Path
) -> None:
    [(found, came)] = await operating(tmp_path, **files)
    assert found == level
    assert words in came
