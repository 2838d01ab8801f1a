"""What a transaction would do in the block after a given one: ``eth_call`` with state and block overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.chain.answers import Json, RpcError, octets
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError
from keeper.model import ReadCall, ReadResult

_EXECUTION_REVERTED = 3


class Simulator:
    """Asks a node. A plain ``eth_call`` at a block runs with that block's own number, which is not the next one's."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def simulate(
        self,
        calls: Sequence[ReadCall],
        *,
        sender: str,
        block_hash: str,
        number: int,
        timestamp: int,
        code: Mapping[str, bytes],
    ) -> list[ReadResult]:
        """Each call by itself on the state of that block, in a block ``number`` at ``timestamp``; ``code`` replaces
        the code at some addresses. A revert is an answer; ``ChainError`` means that the node can't simulate.
        """
        overrides: dict[str, Json] = {address: {"code": "0x" + new.hex()} for address, new in code.items()}
        block: dict[str, Json] = {"number": hex(number), "time": hex(timestamp)}
        asked: list[tuple[str, list[Json]]] = []
        for call in calls:
            request: dict[str, Json] = {"from": sender, "to": call.to, "data": "0x" + call.data.hex()}
            asked.append(("eth_call", [request, {"blockHash": block_hash}, overrides, block]))
        results = []
        for answer in await self._rpc.batch(asked):
            if not isinstance(answer, RpcError):
                results.append(ReadResult(True, octets(answer)))
            elif answer.code == _EXECUTION_REVERTED or "revert" in answer.message.lower():
                results.append(ReadResult(False, answer.revert_data))
            else:
                raise ChainError(
                    "a node that simulates calls with block overrides",
                    f"it said {answer.message!r}",
                    "use a node that takes eth_call's third and fourth parameter, or set shadow_accounts = 0",
                )
        return results
