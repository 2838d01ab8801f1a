"""`keeper doctor`: is everything as it must be before the first block?"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict

import typer
from rich.console import Console
from rich.text import Text

from keeper.cli.options import ConfigOption, JsonOption, quiet_settings
from keeper.cli.progress import as_they_come
from keeper.doctor import examine
from keeper.doctor.findings import Finding, Level
from keeper.ops.checkup import examine_operating
from keeper.settings import Settings

_STYLE = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


def doctor(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Look at everything that can be wrong before the first block. Exit code 1 if something is."""
    # What goes wrong is a finding here, with a line of its own.
    settings = quiet_settings(config, level="critical")
    found = asyncio.run(_examine(settings, show=not as_json))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    faults = sum(finding.level is Level.FAULT for finding in found)
    raise typer.Exit(1 if faults else 0)


async def _examine(settings: Settings, *, show: bool) -> list[Finding]:
    console = Console()
    found = []
    async for finding in as_they_come("examining", _everything(settings)):
        found.append(finding)
        if show:
            console.print(line(finding), soft_wrap=True)
    if show:
        counts = Counter(finding.level for finding in found)
        console.print(f"{counts[Level.OK]} fine, {counts[Level.WARNING]} warnings, {counts[Level.FAULT]} faults")
    return found


async def _everything(settings: Settings) -> AsyncIterator[Finding]:
    async for finding in examine(settings):
        yield finding
    async for finding in examine_operating(settings):
        yield finding


def line(finding: Finding) -> Text:
    """One finding: what was looked at, what came, what to do."""
    text = Text(f"{finding.level.value:<8}", style=_STYLE[finding.level])
    text.append(f"{finding.subject}: {finding.came}", style="default")
    if finding.remedy:
        text.append(f"\n        → {finding.remedy}", style="bold default")
    return text
