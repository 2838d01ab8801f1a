"""`keeper run`: the daemon."""

from __future__ import annotations

import asyncio

from keeper import app
from keeper.cli.options import ConfigOption
from keeper.ops import logs
from keeper.settings import load


def run(config: ConfigOption) -> None:
    """Watch the configured markets and liquidate. SIGTERM or SIGINT ends it cleanly."""
    settings = load(config)
    secrets = logs.configure(settings.log.format, settings.log.level)
    asyncio.run(app.run(settings, secrets))
