"""What somebody meets who types `keeper` for the first time, or types it wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from keeper import __version__
from keeper.cli import app
from keeper.doctor.findings import Level
from keeper.doctor.host import examine_host
from keeper.settings import Settings
from keeper.store.hold import hold
from keeper.store.journal import Journal
from tests.unit.ops_views import SIGNER


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by the words that are typed. Typer's own classes for them are private."""
    inner = getattr(command, "commands", None)
    if not inner:
        yield path, command
        return
    for name, each in inner.items():
        yield from commands(each, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_and_every_option_says_what_it_is_for(words: tuple[str, ...]) -> None:
    command = ALL[words]
    assert command.help
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []
    shown = CliRunner().invoke(app, [*words, "-h"])
    assert (shown.exit_code, "Usage:" in shown.output) == (0, True)
    wrong = CliRunner().invoke(app, [*words, "--no-such-option"])
    assert (wrong.exit_code, "Usage:" in wrong.output) == (2, True)


def test_it_says_which_version_it_is() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"keeper {__version__}\n"


def test_where_findings_can_not_be_written_is_said_before_they_are_looked_for(tmp_path: Path) -> None:
    words = ["replay", "--config", str(tmp_path / "none.toml"), "--from", "1", "--to", "2", "--out"]
    refused = CliRunner().invoke(app, [*words, str(tmp_path / "nowhere" / "out.csv")])
    assert refused.exit_code == 2
    assert "the folder" in refused.output


async def test_the_port_of_a_keeper_that_runs_is_no_fault(tmp_path: Path) -> None:
    store = tmp_path / "keeper.sqlite"
    await (await Journal.open(store)).close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings.model_validate(
            {
                "mode": "observe",
                "store": {"path": store},
                "http": {"port": taken.getsockname()[1]},
                "chains": {"local": {"chain_id": 1, "endpoints": ["http://node"]}},
                "markets": {"lite": {"protocol": "deri-v3", "chain": "local", "pool": SIGNER, "native_price_b0": 1}},
            }
        )
        assert [finding.level async for finding in examine_host(settings)] == [Level.OK, Level.FAULT]
        with hold(store):
            assert [finding.level async for finding in examine_host(settings)] == [Level.WARNING, Level.WARNING]
