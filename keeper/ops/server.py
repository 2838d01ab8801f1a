"""The web server: health, metrics, the console and its events. It lives in a thread with an event loop of its own.

So it can tell that the keeper's loop hangs, and nobody who talks to it can hold that loop up: bodies are not read,
connections and event streams are limited, a slow client is dropped. All it sees are snapshots, which are immutable;
all it can do, for whoever shows the token, is to pause, to resume, and to have a stopped market read anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import resources

import structlog
from aiohttp import web

from keeper.errors import ConfigError
from keeper.ops.feed import Event, Feed
from keeper.ops.picture import plain
from keeper.settings import HttpSettings
from keeper.views import Level, Snapshot

_log = structlog.get_logger(__name__)

STUCK_S = 5.0
"""A keeper that has not looked at itself for this long hangs."""
MOST_BODY_BYTES = 1024
MOST_CONNECTIONS = 128
MOST_STREAMS = 16
SEND_S = 5.0
"""A client that takes longer for what it is sent is dropped."""
LOOK_S = 0.1
"""How often the feed and the snapshot are looked at for those who listen."""
WRONG_TOKENS, WRONG_TOKENS_S = 5, 30.0
"""So many wrong tokens from one address, and it waits so long."""
REMEMBERED_GUESSERS = 256

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {
    "/": ("index.html", "text/html"),
    "/console.css": ("console.css", "text/css"),
    "/console.js": ("console.js", "text/javascript"),
}
_OPEN_TO_ALL = frozenset({"/live", "/ready", *_FILES})
"""What shows no figures; a health check has no token."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the server has everything from. The callables are called in its own thread."""

    snapshot: Callable[[], Snapshot | None]
    beat: Callable[[], float]
    """When the keeper last looked at itself, in ``time.monotonic()`` seconds."""
    feed: Feed
    metrics: Callable[[], bytes]
    history: Callable[[float], Awaitable[object]]
    """Earnings and gas over so many hours, as JSON takes it."""
    pause: Callable[[bool], None]
    """Pause (True) or resume; may be called from any thread."""
    read_anew: Callable[[str], None]
    """Have a stopped market read from the chain anew; may be called from any thread."""


@dataclass(slots=True)
class _Guesses:
    wrong: int = 0
    until: float = 0.0


@dataclass(slots=True)
class _Guard:
    """Owns the memory of wrong tokens."""

    token: str | None
    guesses: dict[str, _Guesses] = field(default_factory=dict)

    def check(self, request: web.Request) -> web.Response | None:
        """None if the request shows the token, else the refusal."""
        if self.token is None:
            return _refusal(403, "no token is configured (http.token_file), so this is switched off")
        remote = request.remote or "?"
        guesses = self.guesses.get(remote, _Guesses())
        if time.monotonic() < guesses.until:
            return _refusal(429, "too many wrong tokens; wait half a minute")
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(shown.encode(), self.token.encode()):
            self.guesses.pop(remote, None)
            return None
        if shown:
            self._wrong(remote, guesses)
        return _refusal(401, "this asks for the token (Authorization: Bearer ...)")

    def _wrong(self, remote: str, guesses: _Guesses) -> None:
        guesses.wrong += 1
        if guesses.wrong >= WRONG_TOKENS:
            _log.warning("wrong tokens", remote=remote, times=guesses.wrong)
            guesses.wrong, guesses.until = 0, time.monotonic() + WRONG_TOKENS_S
        if remote not in self.guesses and len(self.guesses) >= REMEMBERED_GUESSERS:
            del self.guesses[next(iter(self.guesses))]
        self.guesses[remote] = guesses


class WebServer:
    """Owns the thread. ``start`` returns once it listens; ``stop`` once it is gone."""

    def __init__(self, settings: HttpSettings, token: str | None, source: Source) -> None:
        self.url = ""
        self._settings = settings
        self._source = source
        self._guard = _Guard(token)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._streams = 0
        root = resources.files("keeper.ops") / "console"
        self._files = {path: ((root / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    def start(self) -> None:
        """Listen. Raises ``ConfigError`` with a sentence if the port is in use or the address is not ours."""
        host, port = self._settings.host, self._settings.port
        try:
            listener = socket.create_server((host, port), family=_family(host, port))
        except OSError as error:
            raise ConfigError(
                f"to listen on {host} port {port}",
                str(error.strerror or error),
                "choose another http.port, or stop what uses it",
            ) from None
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - it is compared, not bound
        self.url = f"http://{shown}:{listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, args=(listener,), name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and end the thread. Blocks for a moment."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It ended by itself.
                self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread is not None:
            self._thread.join(timeout=3)

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except Exception:  # noqa: BLE001
            _log.exception("the console has ended")

    async def _serve(self, listener: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[self._middleware])
        app.add_routes(
            [
                web.get("/live", self._live),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/api/snapshot", self._snapshot),
                web.get("/api/history", self._history),
                web.get("/api/events", self._events),
                web.post("/api/pause", self._pause),
                web.post("/api/resume", self._resume),
                web.post("/api/markets/{market}/bootstrap", self._bootstrap),
                *(web.get(path, self._file) for path in _FILES),
            ]
        )
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.2, lingering_time=1.0, keepalive_timeout=15.0, handle_signals=False
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener, backlog=64).start()
            while not self._stopped.is_set():
                self._shed(runner)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), 1.0)
        finally:
            await runner.cleanup()

    def _shed(self, runner: web.AppRunner) -> None:
        """Close what is too much: the connections that came last."""
        for connection in runner.server.connections[MOST_CONNECTIONS:] if runner.server else ():
            connection.force_close()

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refusal = self._refused(request)
        if refusal is not None:
            refusal.headers.update(_HEADERS)
            return refusal
        try:
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(error.status, error.reason)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _refused(self, request: web.Request) -> web.Response | None:
        if (request.content_length or 0) > MOST_BODY_BYTES or "chunked" in request.headers.get("Transfer-Encoding", ""):
            refusal = _refusal(413, "nothing here takes a body")
            refusal.force_close()
            return refusal
        if not self._local_host(request):
            return _refusal(421, "this name is not known here")
        if request.path in _OPEN_TO_ALL or request.method != "GET":
            return None
        if self._settings.is_local or self._settings.read_without_token:
            return None
        return self._guard.check(request)

    def _local_host(self, request: web.Request) -> bool:
        """A page elsewhere may have its own name resolved to this machine: what listens here only, answers to no name
        but this machine's."""
        if not self._settings.is_local:
            return True
        name = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
        return name.strip("[]") in {self._settings.host, "localhost", "127.0.0.1", "::1"}

    # Health

    def _stuck_s(self) -> float:
        return time.monotonic() - self._source.beat()

    async def _live(self, _: web.Request) -> web.Response:
        age_s = self._stuck_s()
        live = age_s < STUCK_S
        return _json({"live": live, "age_s": round(age_s, 3)}, 200 if live else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        body = readiness(self._source.snapshot(), self._stuck_s(), time.time())
        return _json(body, 200 if body["ready"] else 503)

    # Figures

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._source.metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _snapshot(self, _: web.Request) -> web.Response:
        snapshot = self._source.snapshot()
        return _json(plain(snapshot) if snapshot else None, 200 if snapshot else 503)

    async def _history(self, request: web.Request) -> web.Response:
        try:
            hours = min(max(float(request.query.get("hours", "24")), 1.0), 24.0 * 31)
        except ValueError:
            return _refusal(400, "hours: expected a number")
        return _json(await self._source.history(hours))

    async def _file(self, request: web.Request) -> web.Response:
        body, kind = self._files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: every snapshot and every event from now on, after those still remembered."""
        if self._streams >= MOST_STREAMS:
            return _refusal(503, "too many pages are open already; close one")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_HEADERS})
        self._streams += 1
        try:
            await response.prepare(request)
            await self._stream(response, last_id=_last_id(request))
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams -= 1
        return response

    async def _stream(self, response: web.StreamResponse, last_id: int) -> None:
        seen_at, sent_at = 0.0, time.monotonic()
        while not self._stopped.is_set():
            events = self._source.feed.since(last_id)
            snapshot = self._source.snapshot()
            parts = []
            if snapshot is not None and snapshot.at != seen_at:
                seen_at = snapshot.at
                parts.append(_event("snapshot", snapshot))
            parts += [_event("happened", event, event.id) for event in events]
            last_id = events[-1].id if events else last_id
            if not parts and time.monotonic() - sent_at > SEND_S:
                parts.append(b": still here\n\n")
            if parts:
                sent_at = time.monotonic()
                await asyncio.wait_for(response.write(b"".join(parts)), SEND_S)
            await asyncio.sleep(LOOK_S)

    # The switch

    async def _pause(self, request: web.Request) -> web.Response:
        return self._switch(request, pause=True)

    async def _resume(self, request: web.Request) -> web.Response:
        return self._switch(request, pause=False)

    def _switch(self, request: web.Request, *, pause: bool) -> web.Response:
        refusal = self._guard.check(request)
        if refusal is not None:
            return refusal
        self._source.pause(pause)
        return _json({"paused": pause})

    # A market that the chain's disagreement has stopped

    async def _bootstrap(self, request: web.Request) -> web.Response:
        refusal = self._guard.check(request)
        if refusal is not None:
            return refusal
        snapshot, name = self._source.snapshot(), request.match_info["market"]
        market = next((each for each in snapshot.markets if each.name == name), None) if snapshot else None
        if market is None:
            return _refusal(404, "there is no such market")
        if market.figures is None or not market.figures.mismatch:
            return _refusal(409, "nothing stops this market: there is nothing to clear")
        self._source.read_anew(name)
        return _json({"market": name, "cleared": "with the next block"}, 202)


def readiness(snapshot: Snapshot | None, stuck_s: float, now: float) -> dict[str, object]:
    """What ``/ready`` says. ``stuck_s`` is how long ago the keeper last looked at itself."""
    causes: list[dict[str, object]] = []
    if stuck_s >= STUCK_S:
        text = f"the keeper's event loop has not turned for {stuck_s:.0f} s"
        causes.append({"name": "loop-stuck", "level": Level.CRITICAL, "text": text, "age_s": round(stuck_s, 1)})
    if snapshot is None:
        causes.append({"name": "starting", "level": Level.CRITICAL, "text": "the keeper is starting", "age_s": 0})
        return {"ready": False, "causes": causes}
    causes += [
        {
            "name": cause.name,
            "level": cause.level,
            "text": cause.text,
            "since": round(cause.since, 3),
            "age_s": round(now - cause.since, 1),
        }
        for cause in snapshot.causes
    ]
    older_s = max(0.0, now - snapshot.at)
    return {
        "ready": snapshot.ready and stuck_s < STUCK_S,
        "mode": snapshot.mode,
        "paused": snapshot.paused,
        "causes": causes,
        "chains": {
            chain.name: {
                "head": chain.head,
                "head_age_s": round(chain.head_age_s + older_s, 2),
                "head_late_s": round(chain.head_late_s + older_s, 2),
                "endpoints": {each.name: each.healthy for each in chain.endpoints},
            }
            for chain in snapshot.chains
        },
        "markets": {
            market.name: {
                "mirror_block": market.mirror_block,
                "mirror_age_s": round(market.mirror_age_s + older_s, 2),
                "accounts": market.accounts,
                "eligible": any(signer.allowed for signer in market.signers),
            }
            for market in snapshot.markets
        },
    }


def _family(host: str, port: int) -> socket.AddressFamily:
    try:
        return socket.AddressFamily(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0])
    except socket.gaierror as error:
        raise ConfigError(
            "an address of this machine in http.host", f"{host!r}: {error.strerror}", "use 127.0.0.1"
        ) from None


def _last_id(request: web.Request) -> int:
    text = request.headers.get("Last-Event-ID") or request.query.get("after", "0")
    return int(text) if text.isdecimal() and len(text) < 16 else 0


def _event(name: str, value: Event | Snapshot, number: int | None = None) -> bytes:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(plain(value), separators=(',', ':'))}\n\n".encode()


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def _refusal(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
