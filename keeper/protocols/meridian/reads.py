"""Contract getters asked together: collect questions, read them in one go at one block, then take the answers."""

from __future__ import annotations

from functools import lru_cache

from eth_utils import keccak, to_checksum_address

from keeper.chain.reverts import reason_of
from keeper.errors import ProtocolError
from keeper.model import ReadCall, Reader, ReadResult


class Answer:
    """What one getter said; empty until its batch was read."""

    __slots__ = ("_name", "_result", "_to")

    def __init__(self, to: str, name: str) -> None:
        self._to = to
        self._name = name
        self._result = ReadResult(False, b"")

    def take(self, result: ReadResult) -> None:
        self._result = result

    @property
    def ok(self) -> bool:
        """It answered with at least one word. An account without code answers with nothing."""
        return self._result.ok and len(self._result.data) >= 32

    @property
    def reason(self) -> str:
        """Why it did not answer, in the contract's words if it has any."""
        return reason_of(self._result.data) or f"{self._name} of {self._to} reverts"

    def uint(self, index: int = 0) -> int:
        """One word of the answer. Raises ``ProtocolError`` if there is none."""
        return int.from_bytes(self._word(index), "big")

    def signed(self, index: int = 0) -> int:
        return int.from_bytes(self._word(index), "big", signed=True)

    def flag(self) -> bool:
        return self.uint() != 0

    def address(self) -> str:
        return to_checksum_address(self._word(0)[12:])

    def _word(self, index: int) -> bytes:
        word = self._result.data[32 * index : 32 * index + 32]
        if not self._result.ok or len(word) < 32:
            came = "it reverted" if not self._result.ok else "it answered nothing"
            raise ProtocolError(f"{self._name} of {self._to} to answer", came, "check the market's addresses")
        return word


class Batch:
    """Questions for one block."""

    def __init__(self) -> None:
        self._calls: list[ReadCall] = []
        self._answers: list[Answer] = []

    def ask(self, to: str, signature: str, *arguments: str | int) -> Answer:
        """Ask a getter. Arguments are single words: an address or a key as ``0x`` string, an int or a bool."""
        answer = Answer(to, signature)
        self._calls.append(ReadCall(to, call_data(signature, *arguments)))
        self._answers.append(answer)
        return answer

    async def read(self, reader: Reader, block_hash: str) -> None:
        """Fill every answer. Raises ``ChainError`` if the node can't answer; then none is filled."""
        results = await reader.read(self._calls, block_hash) if self._calls else []
        for answer, result in zip(self._answers, results, strict=True):
            answer.take(result)


def call_data(signature: str, *arguments: str | int) -> bytes:
    """A call whose arguments are all single words."""
    return _selector(signature) + b"".join(_word(argument) for argument in arguments)


@lru_cache
def _selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


def _word(argument: str | int) -> bytes:
    return bytes.fromhex(argument[2:]).rjust(32, b"\0") if isinstance(argument, str) else argument.to_bytes(32, "big")
