"""Every example in config/ is complete but for endpoints and keys; every setting is documented, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from keeper.settings import (
    AlertSettings,
    ChainSettings,
    DeriSettings,
    ForkSettings,
    GasSettings,
    HttpSettings,
    LogSettings,
    MeridianSettings,
    RelaySettings,
    Settings,
    SignerSettings,
    StoreSettings,
    load,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "config").glob("*.toml"))
REFERENCE = ROOT / "docs" / "configuration.md"
ADDRESS = "0x243681B8Cd79E3823fF574e07B2378B8Ab292c1E"

SECTIONS: dict[str, type[BaseModel]] = {
    "The top": Settings,
    "store": StoreSettings,
    "log": LogSettings,
    "http": HttpSettings,
    "alerts": AlertSettings,
    "fork": ForkSettings,
    "chains.NAME": ChainSettings,
    "chains.NAME.gas": GasSettings,
    "chains.NAME.signers": SignerSettings,
    "markets.NAME, Deri": DeriSettings,
    "markets.NAME, Meridian": MeridianSettings,
    "markets.NAME.relay": RelaySettings,
}
TABLES = {"gas", "signers", "relay", "chains", "markets", *SECTIONS}
"""Keys that are sections of their own."""


def secrets_in_place(text: str, folder: Path) -> str:
    """The example with every file that it names for a URL there."""
    secret = folder / "url"
    secret.write_text("wss://node.example/key")
    return re.sub(r'"file:[^"]+"', f'"file:{secret}"', text)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_once_its_secrets_are_there(example: Path, tmp_path: Path) -> None:
    path = tmp_path / "keeper.toml"
    path.write_text(secrets_in_place(example.read_text(), tmp_path))
    settings = load(path)
    assert settings.markets
    assert {market.chain for market in settings.markets.values()} == set(settings.chains)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_with_everything_that_it_offers_in_comments(example: Path, tmp_path: Path) -> None:
    offered = re.compile(r"^# (?=\[.*\]$|[a-z_]+ = )", re.MULTILINE)
    path = tmp_path / "keeper.toml"
    text = offered.sub("", example.read_text()).replace('"0x..."', f'"{ADDRESS}"')
    path.write_text(secrets_in_place(text, tmp_path))
    settings = load(path)
    if example.stem != "devnet":
        assert settings.alerts.urls_file
        assert settings.fork.anvil
        assert all(chain.archive for chain in settings.chains.values())


def test_there_are_examples() -> None:
    assert {"devnet", "deri-bnb-option", "deri-bnb-lite", "deri-arbitrum-pool1"} <= {path.stem for path in EXAMPLES}


def test_the_mempool_is_offered_where_there_is_one() -> None:
    offering = {path.stem for path in EXAMPLES if "watch_mempool" in path.read_text()}
    assert offering == {"deri-bnb-lite", "deri-bnb-option", "meridian-fuse"}


def test_the_service_hands_over_the_secrets_that_the_examples_name() -> None:
    named = {name for path in EXAMPLES for name in re.findall(r"/run/secrets/(\w+)", path.read_text())}
    unit = (ROOT / "config" / "systemd" / "keeper.service").read_text()
    assert set(re.findall(r"LoadCredential=(\w+):/etc/keeper/secrets/\1\n", unit)) == named | {"token"}


def settings_there_are() -> Iterator[tuple[str, str, str]]:
    """Section, key and default of every setting, as the reference writes them."""
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            if key in TABLES:
                continue
            default = field.default
            yield section, key, "required" if default is PydanticUndefined else shown(default)


def shown(default: object) -> str:
    match default:
        case None | ():
            return "-"
        case bool():
            return str(default).lower()
        case _:
            return str(default)


def settings_documented() -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ").replace("`", "")
        elif cells := re.match(r"\| `(\w+)` \| ([^|]+) \|", line):
            yield section, cells[1], cells[2].strip().strip("`")


def test_the_reference_has_every_setting_with_its_default_and_no_other() -> None:
    assert sorted(settings_documented()) == sorted(settings_there_are())
