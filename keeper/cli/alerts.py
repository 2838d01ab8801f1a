"""`keeper alerts`: are the services reached that are to wake somebody?"""

from __future__ import annotations

import typer

from keeper.cli.options import ConfigOption
from keeper.cli.progress import waiting
from keeper.errors import ConfigError
from keeper.ops import logs
from keeper.ops.alerts import Message, courier
from keeper.settings import load
from keeper.views import Level

app = typer.Typer(help="Messages to those who operate the keeper.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Without this, a single command would take the place of the whole."""


@app.command()
def test(config: ConfigOption) -> None:
    """Send a test message to every service, and say which took it."""
    settings = load(config)
    secrets = logs.configure(settings.log.format, "error")
    if settings.alerts.urls_file is None:
        raise ConfigError("alerts.urls_file in the configuration", "there is none", "name a file with one URL a line")
    deliver = courier(settings.alerts, secrets)
    with waiting("telling every service"):
        failed = deliver(Message(Level.INFO, "keeper: test", "This is how an alert of your keeper arrives."))
    if failed:
        raise ConfigError(
            "every service to take the test message", f"{', '.join(failed)} did not", "check the URL and the network"
        )
    typer.echo("every service took the test message")
