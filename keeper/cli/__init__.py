"""The command line: thin. Each command reads the settings, calls one function of a room below, and prints."""

from __future__ import annotations

import sys

import typer

from keeper.cli import accounts, alerts, doctor, dry_run, history, init, rehearse, replay, run, stake
from keeper.errors import KeeperError

app = typer.Typer(
    name="keeper",
    help="An on-chain liquidator for Deri Protocol V3 and Meridian Trade.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Without this, a single command would take the place of the whole."""


app.command("run")(run.run)
app.command("dry-run")(dry_run.dry_run)
app.command("rehearse")(rehearse.rehearse_command)
app.command("replay")(replay.replay)
app.command("accounts")(accounts.accounts)
app.command("doctor")(doctor.doctor)
app.command("init")(init.init)
app.command("history")(history.history)
app.command("report")(history.report)
app.add_typer(stake.app, name="stake")
app.add_typer(alerts.app, name="alerts")


def main() -> None:
    """The entry point: an error raised on purpose is one sentence and exit code 1, never a traceback."""
    try:
        app()
    except KeeperError as error:
        sys.stderr.write(f"keeper: {error}\n")
        sys.exit(1)
