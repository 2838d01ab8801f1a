"""The station: looks at the running keeper twice a second, and tells those who want to know.

It owns the snapshot, what is amiss, the alerts, the metrics, the switch and the web server. The keeper runs as well
without it: whatever fails here is logged, and nothing of it reaches the liquidating.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from keeper import __version__
from keeper.engine.loop import DecisionLog, MarketLoop
from keeper.errors import ConfigError, KeeperError
from keeper.model import Outcome, OutcomeState
from keeper.ops.alerts import Alerts, Message, courier, outbox
from keeper.ops.earnings import MOST_ENTRIES, steps
from keeper.ops.feed import Feed
from keeper.ops.health import PAUSED, Finding, findings
from keeper.ops.logs import Secrets
from keeper.ops.metrics import Metrics
from keeper.ops.picture import RunningChain, chain_view, market_view, plain
from keeper.ops.server import Source, WebServer
from keeper.ops.summary import summary
from keeper.protocols.deri.stake.watch import Alert as StakeAlert
from keeper.protocols.deri.stake.watch import AlertKind
from keeper.protocols.market import Market
from keeper.settings import HttpSettings, Settings
from keeper.store.db import open_engine
from keeper.store.ledger import entries
from keeper.views import Cause, Figures, Level, Snapshot

_log = structlog.get_logger(__name__)

LOOK_S = 0.5
FIGURES_S = 1.0
FIGURES_SHARE = 50
"""Looking at a market's accounts may take one part in so many of the event loop's time."""
LISTEN_AGAIN_S = 5.0
HISTORY_S = 2.0
MISMATCH_S = 5.0
"""A disagreement with the chain is shown for at least this long."""
DAY_HOURS = 24.0


_STAKES = {
    AlertKind.HEADROOM_LOW: ("headroom-low", Level.WARNING, True),
    AlertKind.MISMATCH: ("mirror-mismatch", Level.CRITICAL, True),
    AlertKind.LOCK_ENDED: ("lock-ended", Level.INFO, False),
    AlertKind.PRIVILEGER_CHANGED: ("contracts-changed", Level.WARNING, False),
    AlertKind.IMPLEMENTATION_CHANGED: ("contracts-changed", Level.WARNING, False),
}
"""What is made of an alert about stakes: its name here, its level, and whether it lasts until it is cleared."""


class Station:
    """Used as an async context manager around the keeper's work. ``watch`` names what there is to look at."""

    def __init__(
        self,
        settings: Settings,
        secrets: Secrets,
        *,
        figures_of: Callable[[Market], Figures | None],
        read_anew: Callable[[Market], bool],
        native_price_e18: Mapping[str, int],
    ) -> None:
        """``read_anew`` clears what stops a market; ``native_price_e18`` is by market.

        Raises ``ConfigError`` if the token or the alert URLs can't be used.
        """
        self.feed = Feed()
        self.snapshot: Snapshot | None = None
        self.metrics = Metrics(lambda: self.snapshot)
        self.metrics.prepare(settings.markets)
        self._settings = settings
        self._figures_of = figures_of
        self._read_anew = read_anew
        self._native_price_e18 = native_price_e18
        self._token = read_token(settings.http, secrets)
        self._deliver = courier(settings.alerts, secrets)
        self._chains: Mapping[str, RunningChain] = {}
        self._raised: dict[str, Finding] = {}
        self._started_at = time.time()
        self._beat = time.monotonic()
        self._mirror_since: dict[str, tuple[int, float]] = {}
        self._figures: dict[str, tuple[float, Figures | None]] = {}
        self._marker = settings.store.path.with_name(settings.store.path.name + ".paused")
        self._paused = False
        self._alerts: Alerts | None = None
        self._stack = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: WebServer | None = None
        self._trouble = ""
        self._summary_day = ""
        self._disagreed: dict[str, tuple[int, float]] = {}
        self._history: dict[float, tuple[float, object]] = {}

    async def __aenter__(self) -> Station:
        self._loop = asyncio.get_running_loop()
        self._paused = self._marker.exists()
        if self._paused:
            _log.warning(
                "paused", remedy="resume in the console, or remove the marker and restart", marker=str(self._marker)
            )
        box = await self._stack.enter_async_context(outbox(self._deliver))
        self._alerts = Alerts(self._settings.alerts, box.put)
        tasks = [asyncio.create_task(self._look(), name="station")]
        if self._settings.http.enabled:
            tasks.append(asyncio.create_task(self._listen(), name="console"))
        if self._settings.alerts.urls_file is not None and self._settings.alerts.summary_at is not None:
            tasks.append(
                asyncio.create_task(self._summarise(self._settings.alerts.summary_at, box.put), name="summary")
            )
        self._stack.push_async_callback(_end, tasks)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    # What the keeper tells

    def watch(self, chains: Mapping[str, RunningChain]) -> None:
        """These are the chains, with their markets."""
        self._chains = chains

    def join(self, loop: MarketLoop) -> None:
        """A loop that is about to begin: a pause holds for it from its first decision on."""
        if self._paused:
            loop.stop_sending(PAUSED)

    def outcome(self, outcome: Outcome) -> None:
        """What became of a liquidation."""
        self.feed.outcome(outcome)

    def decisions(self, journal: DecisionLog) -> DecisionLog:
        """The journal of what is left, with the console hearing of it too."""
        return _Decisions(journal, self)

    def condition(self, name: str, subject: str, level: Level, text: str | None) -> None:
        """Something is amiss until it is told again with None."""
        finding = Finding(name, subject, level, text or "")
        if text is None:
            self._raised.pop(finding.key, None)
        else:
            self._raised[finding.key] = finding

    def notice(self, name: str, level: Level, text: str) -> None:
        """Something happened that does not last."""
        self.feed.cause(Cause(name, level, text), cleared=False)
        if self._alerts is not None:
            self._alerts.notice(name, level, text)

    def stakes(self, alert: StakeAlert) -> None:
        """Something about our stakes. Being below the average shows as ``not-eligible`` already."""
        if alert.kind is AlertKind.BELOW_AVERAGE:
            return
        name, level, lasts = _STAKES[alert.kind]
        if lasts:
            self.condition(name, alert.subject, level, None if alert.cleared else alert.text)
        else:
            self.notice(name, level, f"{alert.market}: {alert.text}")

    # The switch

    def pause(self, wanted: bool) -> None:
        """Stop or resume sending. May be called from any thread; outlives a restart."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._pause, wanted)

    def _pause(self, wanted: bool) -> None:
        if wanted == self._paused:
            return
        self._paused = wanted
        try:
            _mark(self._marker, wanted=wanted)
        except OSError as error:
            _log.error("the pause does not outlive a restart", marker=str(self._marker), came=error.strerror)
        said = "paused: nothing is sent" if wanted else "resumed"
        _log.warning("operator", said=said)
        self.feed.operator(said)
        self._apply_pause()
        self._take()

    def _apply_pause(self) -> None:
        for chain in self._chains.values():
            for loop in chain.loops.values():
                if self._paused and not loop.stopped_by:
                    loop.stop_sending(PAUSED)
                elif not self._paused and loop.stopped_by == PAUSED:
                    loop.resume()

    def read_anew(self, market: str) -> None:
        """Have a market that a mismatch has stopped read from the chain anew. May be called from any thread.

        Sending stays stopped until that is done; what is asked for meanwhile changes nothing.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._have_read, market)

    def _have_read(self, market: str) -> None:
        for chain in self._chains.values():
            if market in chain.loops and self._read_anew(chain.loops[market].market):
                said = f"{market} is read anew"
                _log.warning("operator", said=said)
                self.feed.operator(said)

    # Looking

    async def _look(self) -> None:
        while True:
            try:
                self._apply_pause()
                self._take()
            except Exception:  # noqa: BLE001
                # A fault in what only looks: loud, and not in the way of what works.
                _log.exception("the station can't look")
            await asyncio.sleep(LOOK_S)

    def _take(self) -> None:
        now = time.time()
        chains = [chain_view(chain) for chain in self._chains.values()]
        markets = [
            market_view(
                loop,
                self._settings.markets[name],
                self._figures_now(loop.market, ready=loop.head is not None),
                mirror_age_s=self._mirror_age_s(name, loop.head.number if loop.head else 0, chain.head.number),
                native_price_e18=self._native_price_e18[name],
            )
            for chain in self._chains.values()
            for name, loop in chain.loops.items()
        ]
        snapshot = Snapshot(
            now, self._started_at, __version__, self._settings.mode.value, self._paused, tuple(chains), tuple(markets)
        )
        found = [*findings(snapshot), *self._mismatches(snapshot), *self._raised.values()]
        if not markets:
            found.append(Finding("starting", "", Level.CRITICAL, "the keeper is starting", patience_s=60.0))
        # One cause for one key: what two parts of the keeper notice is one trouble.
        found = list({finding.key: finding for finding in found}.values())
        self.snapshot = replace(snapshot, causes=self._causes(found))
        self._beat = time.monotonic()

    def _causes(self, found: list[Finding]) -> tuple[Cause, ...]:
        alerts = self._alerts
        if alerts is None:
            return ()
        begun, ended = alerts.update(found)
        for group, cleared in ((begun, False), (ended, True)):
            for one in group:
                if one.name != "starting":
                    self.feed.cause(Cause(one.key, one.level, one.text), cleared=cleared)
        return tuple(Cause(one.key, one.level, one.text, alerts.since(one.key)) for one in found)

    def _mismatches(self, snapshot: Snapshot) -> Iterator[Finding]:
        """A disagreement is over within a block where the mirror is read anew; long enough for nobody to see it."""
        now = time.monotonic()
        for market in snapshot.markets:
            count, until = self._disagreed.get(market.name, (0, 0.0))
            seen = market.figures.mismatches if market.figures else 0
            if seen > count:
                count, until = seen, now + MISMATCH_S
            self._disagreed[market.name] = (count, until)
            stopped = market.figures is not None and bool(market.figures.mismatch)
            if now < until and not stopped:  # What stops a market is a cause by itself.
                said = f"the chain disagreed with the mirror of {market.name}, {count} times so far: it is read anew"
                yield Finding("mirror-mismatch", market.name, Level.CRITICAL, said)

    def _mirror_age_s(self, market: str, mirrored: int, head: int) -> float:
        """For how long a mirror has stood still behind the head."""
        now = time.monotonic()
        number, since = self._mirror_since.get(market, (-1, now))
        if number != mirrored or mirrored >= head:
            self._mirror_since[market] = (mirrored, now)
            return 0.0
        return now - since

    def _figures_now(self, market: Market, *, ready: bool) -> Figures | None:
        if not ready:
            return None
        now = time.monotonic()
        due, figures = self._figures.get(market.name, (0.0, None))
        if now >= due:
            figures = self._figures_of(market)
            took_s = time.monotonic() - now
            self._figures[market.name] = (now + max(FIGURES_S - LOOK_S / 2, took_s * FIGURES_SHARE), figures)
        return figures

    # Telling

    async def _listen(self) -> None:
        """Put the web server up, as soon as its port is free."""
        source = Source(
            snapshot=lambda: self.snapshot,
            beat=lambda: self._beat,
            feed=self.feed,
            metrics=self.metrics.text,
            history=self._earnings,
            pause=self.pause,
            read_anew=self.read_anew,
        )
        while True:
            server = WebServer(self._settings.http, self._token, source)
            try:
                server.start()
            except ConfigError as error:
                if not self._trouble:
                    _log.error("no console", error=str(error))
                    self.condition("console-unreachable", "", Level.WARNING, str(error))
                self._trouble = str(error)
                await asyncio.sleep(LISTEN_AGAIN_S)
                continue
            self._server = server
            if self._trouble:
                self.condition("console-unreachable", "", Level.WARNING, None)
            _log.info("console", url=server.url, switch="with the token" if self._token else "off: no http.token_file")
            return

    async def _earnings(self, hours: float) -> object:
        """For the web server, in its thread: a reader of its own, so that the journal's writer never waits."""
        due, known = self._history.get(hours, (0.0, None))
        if time.monotonic() < due:
            return known
        engine = open_engine(self._settings.store.path)
        try:
            found = await entries(engine, time.time() - hours * 3600, MOST_ENTRIES)
        except SQLAlchemyError as error:
            _log.warning("the journal can't be read", came=str(getattr(error, "orig", error)))
            found = []
        finally:
            await engine.dispose()
        known = plain({market: tuple(rows) for market, rows in steps(found, hours).items()})
        if len(self._history) > 8:
            self._history.clear()
        self._history[hours] = (time.monotonic() + HISTORY_S, known)
        return known

    async def _summarise(self, at: str, tell: Callable[[Message], None]) -> None:
        """Once a day say that all is well, or what is not."""
        self._summary_day = _day_of(datetime.now(UTC), at)
        while True:
            await asyncio.sleep(20)
            day = _day_of(datetime.now(UTC), at)
            if day == self._summary_day or self.snapshot is None:
                continue
            self._summary_day = day
            engine = open_engine(self._settings.store.path)
            try:
                found = await entries(engine, time.time() - DAY_HOURS * 3600, MOST_ENTRIES)
                tell(summary(self.snapshot, found))
            except (SQLAlchemyError, KeeperError) as error:
                _log.warning("no daily summary", came=str(getattr(error, "orig", error)))
            finally:
                await engine.dispose()


@dataclass(frozen=True, slots=True)
class _Decisions:
    journal: DecisionLog
    station: Station

    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool:
        self.station.outcome(Outcome(market, account, OutcomeState.SKIPPED, reason))
        return await self.journal.skip(lane, market, account, reason, reward_b0, for_block)


def read_token(settings: HttpSettings, secrets: Secrets) -> str | None:
    """The token of the switch; None where none is configured. Raises ``ConfigError`` if its file is of no use."""
    path = settings.token_file
    if path is None:
        return None
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        came = f"it can't be read ({getattr(error, 'strerror', 'it is no text')})"
        raise ConfigError(f"a file with a token at {path}", came, "correct http.token_file") from None
    if len(token) < 16:
        raise ConfigError(
            f"a token of at least 16 characters in {path}", f"it has {len(token)}", "write 32 random ones there"
        )
    secrets.add(token)
    return token


def _mark(marker: Path, *, wanted: bool) -> None:
    if wanted:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def _day_of(now: datetime, at: str) -> str:
    """The day whose summary is due: it begins at ``at``."""
    hour, minute = (int(part) for part in at.split(":"))
    begun = (now.hour, now.minute) >= (hour, minute)
    return now.date().isoformat() + ("" if begun else " before")


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
