"""Every example in config/ is complete but for endpoints and keys: with those in place it loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.settings import load

EXAMPLES = sorted((Path(__file__).parents[2] / "config").glob("*.toml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_once_its_secrets_are_there(example: Path, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("wss://node.example/key")
    text = example.read_text()
    for line in text.splitlines():
        for word in line.split('"'):
            if word.startswith("file:"):
                text = text.replace(word, f"file:{secret}")
    path = tmp_path / "keeper.toml"
    path.write_text(text)
    settings = load(path)
    assert settings.markets
    assert {market.chain for market in settings.markets.values()} == set(settings.chains)


def test_there_are_examples() -> None:
    assert {"devnet", "deri-bnb-option", "deri-bnb-lite", "deri-arbitrum-pool1"} <= {path.stem for path in EXAMPLES}
