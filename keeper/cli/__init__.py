"""The command line: thin. Each command reads the settings, calls one function of a room below, and prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keeper import __version__
from keeper.cli import accounts, alerts, doctor, dry_run, history, init, rehearse, replay, run, stake
from keeper.errors import KeeperError

app = typer.Typer(
    name="keeper",
    help="An on-chain liquidator for Deri Protocol V3 and Meridian Trade.",
    epilog="Begin with `keeper init`, then `keeper doctor`; neither sends anything.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keeper {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """What comes before a command."""


_SETTING_UP, _LOOKING, _WORKING = "Setting up", "Seeing it act before it acts", "At work"

app.command("init", rich_help_panel=_SETTING_UP)(init.init)
app.command("doctor", rich_help_panel=_SETTING_UP)(doctor.doctor)
app.add_typer(stake.app, name="stake", rich_help_panel=_SETTING_UP)
app.add_typer(alerts.app, name="alerts", rich_help_panel=_SETTING_UP)
app.command("accounts", rich_help_panel=_LOOKING)(accounts.accounts)
app.command("rehearse", rich_help_panel=_LOOKING)(rehearse.rehearse_command)
app.command("dry-run", rich_help_panel=_LOOKING)(dry_run.dry_run)
app.command("replay", rich_help_panel=_LOOKING)(replay.replay)
app.command("run", rich_help_panel=_WORKING)(run.run)
app.command("history", rich_help_panel=_WORKING)(history.history)
app.command("report", rich_help_panel=_WORKING)(history.report)


def main() -> None:
    """The entry point: an error raised on purpose is one sentence and exit code 1, never a traceback."""
    try:
        app()
    except KeeperError as error:
        sys.stderr.write(f"keeper: {error}\n")
        sys.exit(1)
