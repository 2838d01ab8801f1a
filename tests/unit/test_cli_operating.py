"""keeper init, history, report, alerts: what they write and print, and with what sentence they refuse."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keeper.cli import app
from keeper.cli.history import moment
from keeper.cli.template import NETWORKS, NetworkName
from keeper.devnet.daemon import write_keystore
from keeper.errors import ConfigError
from keeper.model import OutcomeState
from keeper.settings import DeriSettings, MeridianSettings, Mode, load
from keeper.store.journal import Intent, Journal, StateRow

POOL = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
KEY = bytes(range(1, 33))


def run(*arguments: str) -> str:
    """What a command prints; it has to succeed."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    """The sentence with which a command is refused."""
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    return str(caught.value)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration as `keeper init` writes it."""
    keystore, password = write_keystore(tmp_path, KEY)
    output = tmp_path / "keeper.toml"
    run(
        *("init", "--output", str(output), "--network", "local", "--pool", POOL),
        *("--endpoint", "ws://127.0.0.1:8545", "--endpoint", "http://127.0.0.1:8545"),
        *("--price-server", "http://127.0.0.1:8546", "--keystore", str(keystore), "--password-file", str(password)),
    )
    return output


def test_init_writes_what_loads_and_starts_by_observing(config: Path) -> None:
    settings = load(config)
    assert settings.mode is Mode.OBSERVE
    [chain], [market] = settings.chains.values(), settings.markets.values()
    assert chain.endpoints == ("ws://127.0.0.1:8545", "http://127.0.0.1:8545")
    held = json.loads((config.parent / "keystore.json").read_text())["address"]
    assert chain.signers[0].address.lower() == f"0x{held.lower()}"
    assert isinstance(market, DeriSettings)
    assert market.pool == POOL
    assert config.read_text().count("#") > 8


@pytest.mark.parametrize(
    ("network", "pools"),
    [("bnb", ("lite", "option")), ("arbitrum", ("pool1",)), ("local", ()), ("base", ()), ("fuse", ()), ("telos", ())],
)
def test_init_knows_networks_and_their_pools(network: NetworkName, pools: tuple[str, ...], tmp_path: Path) -> None:
    known = NETWORKS[network]
    assert tuple(known.pools) == pools
    for pool in (*pools, POOL):
        output = tmp_path / f"{pool}.toml"
        servers = ("--price-server", "https://prices") if known.protocol == "deri-v3" else ()
        run(
            *("init", "--output", str(output), "--network", network, "--pool", pool, *servers),
            *("--endpoint", "https://node", "--keystore", "none", "--address", POOL.lower()),
        )
        settings = load(output)
        [chain], [market] = settings.chains.values(), settings.markets.values()
        assert (chain.chain_id, chain.liquidator) == (known.chain_id, POOL)
        contract = market.pool if isinstance(market, DeriSettings) else market.vault
        assert contract == known.pools.get(pool, POOL)


def test_init_refuses_in_sentences_and_leaves_nothing_half_written(config: Path, tmp_path: Path) -> None:
    assert "there is one; pass --force" in refused("init", "--output", str(config))
    assert "is a folder" in refused("init", "--output", str(tmp_path))
    new, empty, keystore = tmp_path / "new.toml", tmp_path / "empty", str(tmp_path / "keystore.json")
    empty.touch()
    good: dict[str, str] = {
        "output": str(new), "network": "bnb", "pool": "lite", "endpoint": "http://n", "price-server": "http://p",
        "keystore": "none", "address": POOL,
    }  # fmt: skip

    def said(**changed: str | None) -> str:
        chosen = good | {option.replace("_", "-"): value for option, value in changed.items()}
        return refused("init", *(word for option, value in chosen.items() if value for word in (f"--{option}", value)))

    for expected, sentence in {
        "--keystore, but it was not given": said(keystore=None),
        "an address, or a pool known by name (lite, option)": said(pool="pool1"),
        "the vault's address, but 'lite'": said(protocol="meridian", price_server=None),
        "no --price-server": said(protocol="meridian", pool=POOL),
        "endpoints as URLs": said(endpoint="ftp://n"),
        "one names no host": said(endpoint="http://"),
        "price servers as URLs": said(price_server="example.org"),
        "a readable file with one URL": said(endpoint=f"file:{tmp_path}/none"),
        "the liquidator's address": said(address="0x12"),
        "No such file": said(keystore=str(tmp_path / "none.json")),
        "an encrypted keystore": said(keystore=str(empty)),
        "--password-file, but it was not given": said(keystore=keystore),
        "a readable file at": said(keystore=keystore, password_file=str(tmp_path / "none")),
        "to write": said(output=str(empty / "new.toml")),
        "--position-manager with a vault": said(position_manager=POOL),
    }.items():
        assert expected in sentence
    assert not new.exists()


def test_init_asks_again_until_an_answer_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeper.cli.init._somebody_is_there", lambda: True)
    output = tmp_path / "keeper.toml"
    answers = ("nowhere", "base", "lite", POOL, "none", "ftp://n", "wss://n http://n", "nothing.json", "none", POOL)
    asked = CliRunner().invoke(app, ["init", "--output", str(output)], input="\n".join(answers), catch_exceptions=False)
    assert asked.exit_code == 0, asked.output
    assert asked.output.count("Expected ") == 4
    settings = load(output)
    assert settings.chains["main"].endpoints == ("wss://n", "http://n")
    market = settings.markets["main"]
    assert isinstance(market, MeridianSettings)
    assert (market.vault, market.position_manager) == (POOL, None)


def test_paths_given_to_init_count_from_where_it_is_run(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    (config.parent / "node").write_text("wss://node.example/key")
    run(
        *("init", "--output", "elsewhere/keeper.toml", "--network", "fuse", "--pool", POOL, "--endpoint", "file:node"),
        *("--keystore", "keystore.json", "--password-file", "password"),
    )
    monkeypatch.chdir(config.parent / "elsewhere")
    [chain] = load(Path("keeper.toml")).chains.values()
    assert chain.endpoints == ("wss://node.example/key",)
    assert "node.example" not in Path("keeper.toml").read_text()
    assert chain.signers[0].keystore == config.parent / "keystore.json"


async def _filled(path: Path) -> None:
    journal = await Journal.open(path)
    now = time.time()
    made = [
        Intent(journal.allot(), 31337, POOL, "main", str(number), POOL, b"", 500_000, 10**18, 10**16, 7, "", now)
        for number in (1, 2)
    ]
    await journal.intend(made, [])
    journal.record(
        StateRow(made[0].id, OutcomeState.SENT, now, elapsed_us=2_500),
        StateRow(made[0].id, OutcomeState.MINED, now, "", "", "0x" + "ab" * 32, 7, "0x", 200_000, 10**15, 5 * 10**18),
        StateRow(made[1].id, OutcomeState.REVERTED, now, "can not liquidate", "", "0x", 7, "0x", 90_000, 10**14),
    )
    await journal.drain()
    await journal.skip("", "main", "3", "the reward does not cover the gas")
    await journal.close()


def test_history_and_report_add_up_what_the_journal_holds(config: Path) -> None:
    asyncio.run(_filled(config.parent / "keeper.sqlite"))
    shown = run("history", "--config", str(config))
    for expected in ("mined", "5.00 B0", "2.5 ms", "reverted can not liquidate", "the reward does not cover the gas"):
        assert expected in shown
    rows = list(csv.DictReader(io.StringIO(run("history", "--config", str(config), "--csv"))))
    assert [row["state"] for row in rows] == ["skipped", "reverted", "mined"]
    assert rows[2]["reward_b0"] == str(5 * 10**18)
    [total] = csv.DictReader(io.StringIO(run("report", "--config", str(config), "--since", "1h", "--csv")))
    assert (total["won"], total["reverted"], total["skipped"]) == ("1", "1", "1")
    assert (total["earned"], total["unit"]) == ("5.0", "B0")
    assert (total["spent_wei"], total["lost_wei"]) == (str(11 * 10**14), str(10**14))
    # 5 B0 less 0.0011 coins at 300 B0.
    assert "4.67 B0" in run("report", "--config", str(config))


def test_a_time_is_a_span_or_a_day() -> None:
    now = 1_800_000_000.0
    assert moment("90m", now) == now - 5_400
    assert moment("1.5h", now) == now - 5_400
    assert moment("7d", now) == now - 604_800
    assert moment("2026-11-30", now) == 1_795_996_800
    assert moment("all", now) == 0
    with pytest.raises(ConfigError, match="7 days"):
        moment("7 days", now)


def test_an_alert_test_needs_somebody_to_tell(config: Path) -> None:
    assert "alerts.urls_file" in refused("alerts", "test", "--config", str(config))
