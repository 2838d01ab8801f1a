"""Telling people, by mail, chat or webhook, through Apprise: once for each trouble, and in time.

A trouble is told when it has lasted as long as it may, once, and once more when it is over. What comes and goes is not
told again before the quiet period has passed since it was told last. Sending happens in a thread of its own: a
service that hangs or fails delays other alerts, never the keeper.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import apprise
import structlog

from keeper.errors import ConfigError
from keeper.ops.health import Finding
from keeper.ops.logs import Secrets
from keeper.settings import AlertSettings
from keeper.views import Level

_log = structlog.get_logger(__name__)

WAITING = 100
"""Messages that may wait for a slow service; then the oldest are dropped."""
ATTEMPTS = 3
RETRY_S = 5.0

_RANK = {Level.INFO: 0, Level.WARNING: 1, Level.CRITICAL: 2}
_TYPE = {
    Level.INFO: apprise.NotifyType.INFO,
    Level.WARNING: apprise.NotifyType.WARNING,
    Level.CRITICAL: apprise.NotifyType.FAILURE,
}


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to everybody who is to be told."""

    level: Level
    title: str
    body: str


Deliver = Callable[[Message], Sequence[str]]
"""Sends a message; the names of the services that did not take it. Blocks."""


@dataclass(slots=True)
class _Trouble:
    """What is known of one key over time. Times are Unix seconds."""

    since: float
    told_at: float | None = None
    """When it was told since it began; None: not yet."""


class Alerts:
    """Owns what was told and when. ``update`` with everything that is amiss, as often as one likes."""

    def __init__(
        self, settings: AlertSettings, tell: Callable[[Message], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._least = _RANK[Level(settings.least_level)]
        self._quiet_s = settings.quiet_minutes * 60
        self._tell = tell
        self._clock = clock
        self._present: dict[str, tuple[Finding, _Trouble]] = {}
        self._last_told: dict[str, float] = {}

    def since(self, key: str) -> float:
        """Since when something that is amiss has been so, in Unix seconds."""
        return self._present[key][1].since

    def update(self, found: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
        """Take in what is amiss now. What has become so, and what no longer is."""
        now = self._clock()
        current = {finding.key: finding for finding in found}
        begun = [finding for key, finding in current.items() if key not in self._present]
        ended = [finding for key, (finding, _) in self._present.items() if key not in current]
        for finding in ended:
            _, trouble = self._present.pop(finding.key)
            if trouble.told_at is not None:
                lasted = _duration(now - trouble.since)
                self._tell(Message(Level.INFO, f"keeper: over: {finding.name}", f"{finding.text}\nIt lasted {lasted}."))
        for key, finding in current.items():
            _, trouble = self._present.get(key, (finding, _Trouble(now)))
            self._present[key] = (finding, trouble)
            due = trouble.told_at is None and now - trouble.since >= finding.patience_s
            quiet = now - self._last_told.get(key, -self._quiet_s) < self._quiet_s
            if due and not quiet and _RANK[finding.level] >= self._least:
                trouble.told_at = self._last_told[key] = now
                self._tell(Message(finding.level, f"keeper: {finding.level}: {finding.name}", finding.text))
        return begun, ended

    def notice(self, name: str, level: Level, text: str) -> None:
        """Tell of something that happened once and does not last."""
        if _RANK[level] >= self._least:
            self._tell(Message(level, f"keeper: {level}: {name}", text))


class Outbox:
    """Owns the messages that wait and the thread that sends them. ``outbox`` makes one."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alerts")
        self._failing: set[str] = set()

    def put(self, message: Message) -> None:
        """Have a message sent soon. Never blocks."""
        _log.info("alert", level_of_alert=message.level.value, title=message.title, text=message.body)
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(message)

    async def run(self) -> None:
        """Send what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            message = await self._waiting.get()
            for attempt in range(ATTEMPTS):
                failed = await loop.run_in_executor(self._thread, self._deliver, message)
                for name in set(failed) - self._failing:
                    _log.warning("alert not delivered", service=name, remedy="try `keeper alerts test`")
                for name in self._failing - set(failed):
                    _log.info("alerts are delivered again", service=name)
                self._failing = set(failed)
                if not failed or attempt + 1 == ATTEMPTS:
                    break
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """Let go of the thread; a service that hangs in it is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def outbox(deliver: Deliver) -> AsyncIterator[Outbox]:
    """Messages put in are sent in the background until the block is left."""
    box = Outbox(deliver)
    task = asyncio.create_task(box.run(), name="alerts")
    try:
        yield box
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        box.close()


def courier(settings: AlertSettings, secrets: Secrets) -> Deliver:
    """How messages leave: to every service of the URLs' file, each by itself. Nothing leaves where there is no file.

    Raises ``ConfigError`` if the file can't be read or holds a line that Apprise does not know.
    """
    services = services_of(settings, secrets)
    last: dict[str, Message] = {}

    def deliver(message: Message) -> Sequence[str]:
        failed = []
        for name, service in services:
            if last.get(name) is message:
                continue  # A retry is for those that failed.
            if service.notify(body=message.body, title=message.title, notify_type=_TYPE[message.level]):
                last[name] = message
            else:
                failed.append(name)
        return failed

    return deliver


def services_of(settings: AlertSettings, secrets: Secrets) -> list[tuple[str, apprise.Apprise]]:
    """The services in the URLs' file, each with a name that tells no credential.

    Raises ``ConfigError`` if the file can't be read or holds a line that Apprise does not know.
    """
    # Apprise logs what it sends to, credentials and all.
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    logging.getLogger("apprise").propagate = False
    with warnings.catch_warnings():
        # With the first URL Apprise loads all its services, also those that use what Python 3.13 has removed.
        warnings.simplefilter("ignore", DeprecationWarning)
        return [_service(number, url) for number, url in _urls(settings.urls_file, secrets)]


def _urls(path: Path | None, secrets: Secrets) -> list[tuple[int, str]]:
    if path is None:
        return []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        came = f"it can't be read ({getattr(error, 'strerror', 'it is no text')})"
        raise ConfigError(f"a file with alert URLs at {path}", came, "correct alerts.urls_file") from None
    found = []
    for number, line in enumerate(lines, start=1):
        url = line.strip()
        if url and not url.startswith("#"):
            secrets.add(url)
            secrets.add_url(url)
            found.append((number, url))
    return found


def _service(number: int, url: str) -> tuple[str, apprise.Apprise]:
    service = apprise.Apprise()
    name = f"line {number} ({urlsplit(url).scheme})"
    if not service.add(url):
        raise ConfigError(
            "an Apprise URL on every line of alerts.urls_file", f"{name} is none that is known", "see Apprise's list"
        )
    return name, service


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
