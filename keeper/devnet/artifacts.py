"""Compiled contracts as forge left them in ``contracts/out``: ABI, init code, and calls encoded and decoded by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from eth_abi.abi import decode, encode
from eth_typing import ABIElement, ABIFunction
from eth_utils.abi import abi_to_signature, event_abi_to_log_topic, get_abi_input_types, get_abi_output_types
from eth_utils.crypto import keccak

from keeper.devnet.anvil import CONTRACTS
from keeper.devnet.rpc import DevNode
from keeper.errors import ConfigError

_BUILD = "run `make setup` (it compiles the contracts)"


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """One compiled contract. Functions are named plainly, or by their signature where a name is overloaded."""

    name: str
    abi: Sequence[ABIElement]
    init_code: bytes
    functions: Mapping[str, ABIFunction]
    """By signature, and by name where that is unique."""

    def deployment(self, *arguments: object) -> bytes:
        """The init code with the constructor's arguments."""
        constructor = next((element for element in self.abi if element["type"] == "constructor"), None)
        types = get_abi_input_types(constructor) if constructor else []
        return self.init_code + encode(types, arguments)

    def encode(self, function: str, *arguments: object) -> bytes:
        """Call data. Raises ``KeyError`` if there is no such function."""
        abi = self.functions[function]
        return keccak(text=abi_to_signature(abi))[:4] + encode(get_abi_input_types(abi), arguments)

    def decode(self, function: str, data: bytes) -> tuple[object, ...]:
        """What a call answered, one value per output."""
        return tuple(decode(get_abi_output_types(self.functions[function]), data))

    def topic(self, event: str) -> bytes:
        """An event's first topic. Raises ``KeyError`` if there is no such event."""
        for element in self.abi:
            if element["type"] == "event" and element["name"] == event:
                return event_abi_to_log_topic(element)
        raise KeyError(event)


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract at its address."""

    address: str
    artifact: Artifact

    def encode(self, function: str, *arguments: object) -> bytes:
        """Call data for one of its functions."""
        return self.artifact.encode(function, *arguments)

    async def read(self, node: DevNode, function: str, *arguments: object, tag: str | int = "latest") -> object:
        """Call a getter: its only output, or a tuple of its outputs. Raises ``RpcError`` if it reverts."""
        data = await node.call(self.address, self.encode(function, *arguments), tag=tag)
        outputs = self.artifact.decode(function, data)
        return outputs[0] if len(outputs) == 1 else outputs

    async def read_int(self, node: DevNode, function: str, *arguments: object, tag: str | int = "latest") -> int:
        """Call a getter that answers one integer."""
        answer = await self.read(node, function, *arguments, tag=tag)
        assert isinstance(answer, int)
        return answer


@lru_cache
def load_artifact(name: str, source: str | None = None) -> Artifact:
    """A contract by name; ``source`` (``Pool.sol``) where the file is not named like the contract.

    Raises ``ConfigError`` if it is not compiled, or was compiled from sources that have changed since.
    """
    path = CONTRACTS / "out" / (source or f"{name}.sol") / f"{name}.json"
    if not path.is_file():
        raise ConfigError(f"the compiled contract {name}", f"there is no {path}", _BUILD)
    compiled = json.loads(path.read_text())
    for file, facts in compiled["metadata"]["sources"].items():
        if _source_hash(CONTRACTS / file) != facts["keccak256"]:
            raise ConfigError(f"{name} compiled from its present sources", f"{file} has changed since", _BUILD)
    if compiled["bytecode"]["linkReferences"]:
        raise ConfigError(f"{name} to need no linking", "it calls external libraries", "make them internal")
    return Artifact(
        name=name,
        abi=compiled["abi"],
        init_code=bytes.fromhex(compiled["bytecode"]["object"].removeprefix("0x")),
        functions=_functions(compiled["abi"]),
    )


@lru_cache
def _source_hash(path: Path) -> str:
    return "0x" + keccak(path.read_bytes()).hex() if path.is_file() else "missing"


def _functions(abi: Sequence[ABIElement]) -> dict[str, ABIFunction]:
    functions: list[ABIFunction] = [element for element in abi if element["type"] == "function"]
    names = [function["name"] for function in functions]
    by_name = {function["name"]: function for function in functions if names.count(function["name"]) == 1}
    return by_name | {abi_to_signature(function): function for function in functions}
