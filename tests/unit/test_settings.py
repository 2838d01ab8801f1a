"""What the configuration accepts, and with what sentence it refuses the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.errors import ConfigError
from keeper.settings import DeriSettings, Mode, load

ADDRESS = "0x243681B8Cd79E3823fF574e07B2378B8Ab292c1E"
GOOD = f"""
[chains.local]
chain_id = 31337
endpoints = ["ws://127.0.0.1:8545", "http://127.0.0.1:8545"]

[[chains.local.signers]]
address = "{ADDRESS}"
keystore = "keys/one.json"
password_file = "/run/secrets/password"

[markets.lite]
protocol = "deri-v3"
chain = "local"
pool = "{ADDRESS.lower()}"
price_servers = ["http://127.0.0.1:9000"]
native_price_b0 = 300
"""


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "keeper.toml"


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_a_good_file_is_read_and_its_relative_paths_count_from_it(write: Path) -> None:
    write.write_text(GOOD)
    settings = load(write)
    assert settings.mode is Mode.LIVE
    signer = settings.chains["local"].signers[0]
    assert signer.keystore == write.parent / "keys/one.json"
    assert signer.password_file == Path("/run/secrets/password")
    assert settings.store.path == write.parent / "var/keeper.sqlite"
    market = settings.markets["lite"]
    assert isinstance(market, DeriSettings)
    assert market.pool == ADDRESS


def test_a_relay_is_identified_by_a_file_beside_the_configuration(write: Path) -> None:
    relay = 'relay = {kind = "bundle", url = "https://relay.example", identity_key_file = "identity"}'
    write.write_text(GOOD + relay)
    settings = load(write)
    found = settings.markets["lite"].relay
    assert found is not None
    assert found.identity_key_file == write.parent / "identity"


def test_the_environment_overrides_the_file(write: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_MODE", "observe")
    monkeypatch.setenv("KEEPER_CHAINS__LOCAL__GAS__MAX_FEE_GWEI", "7.5")
    write.write_text(GOOD)
    settings = load(write)
    assert settings.mode is Mode.OBSERVE
    assert settings.chains["local"].gas.max_fee_wei == 7_500_000_000


@pytest.mark.parametrize("folder", ["", "{folder}/"])
def test_an_endpoint_may_stand_in_a_file_of_its_own(write: Path, folder: str) -> None:
    (write.parent / "endpoint").write_text("https://node.example/v1/key-123\n")
    path = folder.format(folder=write.parent) + "endpoint"
    write.write_text(GOOD.replace('"ws://127.0.0.1:8545"', f'"file:{path}"'))
    settings = load(write)
    assert settings.chains["local"].endpoints[0] == "https://node.example/v1/key-123"
    assert "key-123" not in repr(settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("chain_id = 31337", "chain_id = 31337\nchain_idd = 1"), "chains.local.chain_idd"),
        (("chain_id = 31337", 'chain_id = "many"'), "chains.local.chain_id"),
        (('chain = "local"', 'chain = "bnb"'), "names chain 'bnb'; known: local"),
        (('protocol = "deri-v3"', 'protocol = "deri-v9"'), "markets.lite"),
        ((ADDRESS.lower(), "0x1234"), "expected an address"),
        (('keystore = "keys/one.json"', ""), "expected exactly one of keystore, key_file and remote, got none"),
        (("native_price_b0 = 300", "native_price_b0 = 0"), "native_price_b0"),
        (("[markets.lite]", "[markets.lite"), "valid TOML"),
    ],
)
def test_what_is_wrong_is_named(write: Path, change: tuple[str, str], named: str) -> None:
    assert change[0] in GOOD
    assert named in refusal(write, GOOD.replace(*change))


def test_live_without_a_signer_is_refused(write: Path) -> None:
    start = GOOD.index("[[chains")
    end = GOOD.index("[markets")
    assert "needs at least one [[chains.local.signers]]" in refusal(write, GOOD[:start] + GOOD[end:])


def test_a_missing_file_is_named_with_what_to_do(write: Path) -> None:
    with pytest.raises(ConfigError, match=r"keeper\.toml.*pass --config FILE"):
        load(write)


def test_a_refusal_never_shows_a_value_that_may_be_a_credential(write: Path) -> None:
    text = refusal(write, GOOD.replace("ws://127.0.0.1:8545", "sw://user:hunter22@node.example"))
    assert "hunter22" not in text
    assert "chains.local.endpoints" in text
