"""Compiled contracts are loaded by name, and only if they are what the sources say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.crypto import keccak

from keeper.devnet import artifacts
from keeper.devnet.artifacts import load_artifact
from keeper.errors import ConfigError

SOURCE = "contract Box {}"
ABI = [
    {"type": "constructor", "inputs": [{"name": "size", "type": "uint256"}], "stateMutability": "nonpayable"},
    {
        "type": "function",
        "name": "put",
        "inputs": [{"name": "what", "type": "int256"}],
        "outputs": [{"name": "", "type": "bool"}],
        "stateMutability": "nonpayable",
    },
    *(
        {
            "type": "function",
            "name": "exists",
            "inputs": [{"name": "x", "type": kind}],
            "outputs": [],
            "stateMutability": "view",
        }
        for kind in ("address", "uint256")
    ),
    {
        "type": "event",
        "name": "Put",
        "inputs": [{"name": "what", "type": "int256", "indexed": True}],
        "anonymous": False,
    },
]


@pytest.fixture(autouse=True)
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of contracts with one that is compiled."""
    (tmp_path / "devnet").mkdir()
    (tmp_path / "devnet" / "Box.sol").write_text(SOURCE)
    (tmp_path / "out" / "Box.sol").mkdir(parents=True)
    write_artifact(tmp_path)
    monkeypatch.setattr(artifacts, "CONTRACTS", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    load_artifact.cache_clear()
    artifacts._source_hash.cache_clear()


def write_artifact(folder: Path, links: dict[str, object] | None = None) -> None:
    compiled = {
        "abi": ABI,
        "bytecode": {"object": "0x6001", "linkReferences": links or {}},
        "metadata": {"sources": {"devnet/Box.sol": {"keccak256": "0x" + keccak(text=SOURCE).hex()}}},
    }
    (folder / "out" / "Box.sol" / "Box.json").write_text(json.dumps(compiled))


def test_calls_are_encoded_and_decoded_by_name() -> None:
    box = load_artifact("Box")
    assert box.deployment(3) == bytes.fromhex("6001") + (3).to_bytes(32, "big")
    assert box.encode("put", -1) == keccak(text="put(int256)")[:4] + b"\xff" * 32
    assert box.decode("put", (1).to_bytes(32, "big")) == (True,)
    assert box.topic("Put") == keccak(text="Put(int256)")


def test_an_overloaded_function_is_named_by_its_signature() -> None:
    box = load_artifact("Box")
    assert box.encode("exists(uint256)", 1)[:4] == keccak(text="exists(uint256)")[:4]
    with pytest.raises(KeyError):
        box.encode("exists", 1)


def test_a_contract_that_is_not_compiled_is_told() -> None:
    with pytest.raises(ConfigError, match=r"the compiled contract Lid, but there is no .*make setup"):
        load_artifact("Lid", "Box.sol")


def test_a_source_that_changed_since_is_told(contracts: Path) -> None:
    (contracts / "devnet" / "Box.sol").write_text(SOURCE + " ")
    with pytest.raises(ConfigError, match=r"devnet/Box.sol has changed since; run `make setup`"):
        load_artifact("Box")


def test_a_contract_that_wants_linking_is_refused(contracts: Path) -> None:
    write_artifact(contracts, {"devnet/Lib.sol": {}})
    with pytest.raises(ConfigError, match="to need no linking"):
        load_artifact("Box")
