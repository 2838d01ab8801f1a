"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from keeper.ops import logs
from keeper.settings import Settings, load, urls_of

PRINTED_WIDTH = 160

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration, a TOML file.", envvar="KEEPER_CONFIG")
]
MarketOption = Annotated[str | None, typer.Option("--market", "-m", help="This market only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def quiet_settings(config: Path, level: str = "error") -> Settings:
    """The settings of a command whose standard output is what it found: the log is for what goes wrong.

    Raises ``ConfigError``.
    """
    settings = load(config)
    secrets = logs.configure(settings.log.format, level)
    for url in urls_of(settings):
        secrets.add_url(url)
    return settings


def console() -> Console:
    """Standard output; tables that go elsewhere than to a terminal are not folded to the width of an imaginary one."""
    found = Console()
    return found if found.is_terminal else Console(width=PRINTED_WIDTH)
