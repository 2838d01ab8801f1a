"""`keeper run`: the daemon."""

from __future__ import annotations

import asyncio
import sys

from keeper import app
from keeper.cli.options import ConfigOption
from keeper.ops import logs
from keeper.settings import load

SWITCH_S = 0.0002
"""How long the loop keeps the interpreter from the journal's thread. At Python's 5 ms a commit takes 5 ms and more."""


def run(config: ConfigOption) -> None:
    """Watch the configured markets and, in mode live, liquidate. SIGTERM or SIGINT ends it cleanly."""
    settings = load(config)
    secrets = logs.configure(settings.log.format, settings.log.level)
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(app.run(settings, secrets))
