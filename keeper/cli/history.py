"""`keeper history` and `keeper report`: what was decided and what became of it, from the journal alone."""

from __future__ import annotations

import asyncio
import csv
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from keeper.cli.options import ConfigOption, MarketOption, quiet_settings
from keeper.errors import ConfigError, StoreError
from keeper.model import OutcomeState, Row
from keeper.protocols.registry import reward_unit, worth_of
from keeper.settings import Settings
from keeper.store.db import open_engine
from keeper.store.ledger import Entry, Totals, entries, totals

_WEI = 10**18
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOODS = {OutcomeState.MINED: "green", OutcomeState.REVERTED: "red", OutcomeState.SKIPPED: "dim"}

SinceOption = Annotated[
    str, typer.Option("--since", help="How far back (30m, 24h, 7d), or a day (2026-11-30); `all` for everything.")
]
CsvOption = Annotated[bool, typer.Option("--csv", help="For a spreadsheet: raw units, no rounding.")]


@dataclass(frozen=True, slots=True)
class Unit:
    """In what a market's rewards are counted, and what one native coin is worth in it."""

    name: str
    decimals: int
    native_price: float

    def of(self, raw: int) -> float:
        return raw / float(10**self.decimals)


def history(
    config: ConfigOption,
    since: SinceOption = "24h",
    market: MarketOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest.")] = 50,
    as_csv: CsvOption = False,
) -> None:
    """What was decided, and what became of it, newest first."""
    settings = quiet_settings(config)
    found = asyncio.run(_read(settings, since, market))[:limit]
    if as_csv:
        _csv([_row(entry) for entry in found], list(_COLUMNS))
        return
    units = units_of(settings)
    table = Table(box=None)
    for heading in ("when (UTC)", "market", "account", "became", "earned", "gas", "sent after", "transaction"):
        table.add_column(heading, justify="right" if heading in ("earned", "gas", "sent after") else "left")
    for entry in found:
        unit = units.get(entry.market, _UNKNOWN)
        mood = _MOODS.get(entry.state, "default")
        table.add_row(
            _when(entry.at),
            entry.market,
            entry.account if len(entry.account) < 20 else f"{entry.account[:10]}…",
            f"[{mood}]{entry.state.value}[/{mood}]" + (f" {entry.reason}" if entry.reason else ""),
            f"{unit.of(entry.reward_b0):,.2f} {unit.name}" if entry.reward_b0 else "",
            f"{entry.fee_wei / _WEI:.6f}" if entry.fee_wei else "",
            f"{entry.to_sent_us / 1000:.1f} ms" if entry.to_sent_us else "",
            f"{entry.transaction_hash[:10]}…" if entry.transaction_hash else "",
        )
    _console().print(table if found else _nothing(since, market))


def report(
    config: ConfigOption, since: SinceOption = "7d", market: MarketOption = None, as_csv: CsvOption = False
) -> None:
    """Earned, spent, won and lost, by market."""
    settings = quiet_settings(config)
    added = totals(asyncio.run(_read(settings, since, market)))
    units = units_of(settings)
    if as_csv:
        _csv([_total_row(total, units) for total in added], list(_TOTALS))
        return
    table = Table(box=None, title=f"since {since}", title_justify="left")
    table.add_column("market")
    for heading in ("won", "reverted", "cancelled", "given up", "left", "earned", "gas", "of it in vain", "net"):
        table.add_column(heading, justify="right")
    for total in added:
        unit = units.get(total.market, _UNKNOWN)
        net = unit.of(total.earned_b0) - total.spent_wei / _WEI * unit.native_price
        table.add_row(
            total.market,
            *(f"{n:,}" for n in (total.won, total.reverted, total.cancelled, total.abandoned, total.skipped)),
            f"{unit.of(total.earned_b0):,.2f} {unit.name}",
            f"{total.spent_wei / _WEI:.6f}",
            f"{total.lost_wei / _WEI:.6f}",
            f"{net:,.2f} {unit.name}",
        )
    _console().print(table if added else _nothing(since, market))


def _nothing(since: str, market: str | None) -> str:
    of = f" of a market {market!r}" if market is not None else ""
    return f"nothing{of} yet" if since == "all" else f"nothing{of} since {since}; try --since all"


def _console() -> Console:
    """As wide as the terminal; in a file or a pipe as wide as a table needs."""
    return Console(width=None if sys.stdout.isatty() else 150)


def moment(since: str, now: float) -> float:
    """Unix seconds of what was asked for. Raises ``ConfigError`` if it is neither a span nor a day."""
    if since == "all":
        return 0.0
    number, unit = since[:-1], since[-1:]
    if unit in _SECONDS and number.replace(".", "", 1).isdecimal():
        return now - float(number) * _SECONDS[unit]
    try:
        return datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ConfigError(
            "a span (30m, 24h, 7d), a day (2026-11-30) or `all`", repr(since), "correct --since"
        ) from None


def units_of(settings: Settings) -> dict[str, Unit]:
    """By market. A market's mirror knows the decimals of its token; one that was never read has the usual 18."""
    made = {}
    for name, market in settings.markets.items():
        unit, decimals = reward_unit(market, _pool_rows(settings.store.path, name))
        made[name] = Unit(unit, decimals, worth_of(market).native_price_e18 / _WEI)
    return made


_UNKNOWN = Unit("raw", 0, 0.0)
"""Of a market that is in the journal and no longer in the configuration."""


def _pool_rows(journal: Path, market: str) -> list[Row]:
    path = journal.with_name(f"{journal.stem}.{market}.mirror.sqlite")
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            found = connection.execute("SELECT kind, key, payload FROM mirror_rows WHERE kind = 'pool'").fetchall()
    except sqlite3.Error:
        return []  # Being made at this moment, or damaged: the daemon says so.
    return [Row(*row) for row in found]


async def _read(settings: Settings, since: str, market: str | None) -> list[Entry]:
    start, path = moment(since, time.time()), settings.store.path
    if not path.exists():
        raise StoreError(f"a journal at {path}", "there is none", "run the keeper first, or correct store.path")
    engine = open_engine(path)
    try:
        found = await entries(engine, start)
    finally:
        await engine.dispose()
    return [entry for entry in found if entry.market and market in (None, entry.market)]


_COLUMNS = (
    "at", "market", "account", "state", "reason", "transaction", "block", "expected_b0", "reward_b0", "gas_used",
    "fee_wei", "to_sent_us", "chain_id", "signer",
)  # fmt: skip
_TOTALS = (
    "market", "won", "reverted", "cancelled", "abandoned", "skipped", "underway", "earned_b0", "earned", "unit",
    "spent_wei", "lost_wei",
)  # fmt: skip


def _row(entry: Entry) -> Sequence[object]:
    return (
        _when(entry.at), entry.market, entry.account, entry.state.value, entry.reason, entry.transaction_hash or "",
        entry.block_number or "", entry.expected_b0, entry.reward_b0, entry.gas_used, entry.fee_wei,
        entry.to_sent_us or "", entry.chain_id, entry.signer,
    )  # fmt: skip


def _total_row(total: Totals, units: dict[str, Unit]) -> Sequence[object]:
    unit = units.get(total.market, _UNKNOWN)
    return (
        total.market, total.won, total.reverted, total.cancelled, total.abandoned, total.skipped, total.underway,
        total.earned_b0, unit.of(total.earned_b0), unit.name, total.spent_wei, total.lost_wei,
    )  # fmt: skip


def _csv(rows: Sequence[Sequence[object]], heading: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
