"""The stage: what every demo shows while it plays, how it reads the keeper's journal, and its summary."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the journal says at one moment."""

    sent: int
    mined: int
    reverted: int
    rewards_b0: int
    fees_wei: int
    latencies_us: tuple[int, ...]
    """Input seen to bytes handed over, one for each intent that was sent."""
    blocks: Mapping[str, int]
    """Account (``market:id``) to the block that liquidated it."""
    skips: tuple[tuple[str, str], ...]


def read_ledger(path: Path) -> Ledger:
    """Read the journal beside the running keeper: where each intent stands. Everything is zero before there is one."""
    if not path.exists():
        return Ledger(0, 0, 0, 0, 0, (), {}, ())
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        try:
            last = connection.execute(
                "SELECT i.market, i.account, s.state, s.reason, s.block_number, s.reward_b0, s.fee_wei"
                " FROM states s JOIN intents i ON i.id = s.intent_id"
                " WHERE s.id IN (SELECT max(id) FROM states GROUP BY intent_id) ORDER BY s.id"
            ).fetchall()
            sent = connection.execute(
                "SELECT intent_id, min(elapsed_us) FROM states WHERE state = 'sent' GROUP BY intent_id"
            ).fetchall()
        except sqlite3.OperationalError:  # The tables are being made at this moment.
            return Ledger(0, 0, 0, 0, 0, (), {}, ())
    return Ledger(
        sent=len(sent),
        mined=sum(row[2] == "mined" for row in last),
        reverted=sum(row[2] == "reverted" for row in last),
        rewards_b0=sum(int(row[5]) for row in last),
        fees_wei=sum(int(row[6]) for row in last),
        latencies_us=tuple(elapsed for _, elapsed in sent if elapsed is not None),
        blocks={f"{row[0]}:{row[1]}": row[4] for row in last if row[2] == "mined"},
        skips=tuple((f"{row[0]}:{row[1]}", row[3]) for row in last if row[2] == "skipped"),
    )


def percentile(values: Iterable[int], percent: float) -> float:
    """The nearest-rank percentile; 0 of nothing."""
    ranked = sorted(values)
    if not ranked:
        return 0.0
    return float(ranked[min(len(ranked) - 1, max(0, -(-len(ranked) * int(percent * 100) // 10_000) - 1))])


@dataclass(slots=True)
class Scene:
    """What the table shows now."""

    title: str
    act: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    lines: list[tuple[float, str]] = field(default_factory=list)


class Stage:
    """Shows the scene: a live table on a terminal, lines elsewhere."""

    def __init__(self, title: str) -> None:
        self.scene = Scene(title)
        self.console = Console(width=None if sys.stdout.isatty() else 110, record=True)
        self._began = time.monotonic()
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Stage:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the live table; what is printed from now on stays."""
        if self._live.is_started:
            self._live.stop()

    def act(self, text: str) -> None:
        """Begin an act of the scenario."""
        self.scene.act = text
        self.say(f"[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """One thing that happened."""
        at = time.monotonic() - self._began
        self.scene.lines.append((at, text))
        if self.console.is_terminal:
            self._live.update(self._picture())
        else:
            self.console.print(f"[dim]{at:5.1f}s[/dim]  {text}")

    def show(self, figures: Mapping[str, str]) -> None:
        """Refresh the figures of the table."""
        self.scene.figures = dict(figures)
        if self.console.is_terminal:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold")
        for name, value in self.scene.figures.items():
            table.add_row(name, value)
        lines = Text.from_markup("\n".join(f"[dim]{at:5.1f}s[/dim]  {text}" for at, text in self.scene.lines[-12:]))
        return Group(Panel(table, title=self.scene.title, title_align="left"), lines)

    def summary(self, rows: Mapping[str, str], *, good: bool) -> None:
        """The last word."""
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold")
        for name, value in rows.items():
            table.add_row(name, value)
        verdict = "[green]all that had to be done was done[/green]" if good else "[red]something is amiss[/red]"
        self.console.print(Panel(table, title=f"{self.scene.title}: {verdict}", title_align="left", expand=False))
