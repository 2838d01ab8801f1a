"""Where transactions are tried that are not to be sent: on a fork, or by simulation at the node."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import structlog

from keeper.chain.answers import Json, RpcError, fields, items, octets, quantity
from keeper.chain.anvil import find_anvil
from keeper.chain.blocks import logs_of
from keeper.chain.fork import FUNDS_WEI, Call, Executed, Fork, GasPrice, open_fork
from keeper.chain.reverts import reason_of
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError, ConfigError
from keeper.model import Header

_log = structlog.get_logger(__name__)


class ProvingGround(Protocol):
    """A place to try transactions in."""

    async def try_out(
        self, calls: Sequence[Call], sender: str, head: Header, timestamp: int, gas: GasPrice
    ) -> list[Executed]:
        """What these would do in their order, in the block after ``head``, at that second. Raises ``ChainError``."""
        ...

    async def close(self) -> None: ...


class ForkGround:
    """On a fork that stands at the head. What is tried at one head adds up; at the next one all is forgotten."""

    def __init__(self, anvil: Path | None, upstreams: Sequence[str], chain_id: int) -> None:
        """``anvil`` is the configured program; None: the one on the PATH."""
        self._anvil = anvil
        self._upstreams = tuple(upstreams)
        self._chain_id = chain_id
        self._stack = AsyncExitStack()
        self.fork: Fork | None = None

    async def start(self) -> Fork:
        """The fork, started if it does not run. Raises ``ConfigError`` or ``ChainError`` if it can't be."""
        if self.fork is None:
            opening = open_fork(find_anvil(self._anvil), self._upstreams, self._chain_id)
            self.fork = await self._stack.enter_async_context(opening)
        return self.fork

    async def try_out(
        self, calls: Sequence[Call], sender: str, head: Header, timestamp: int, gas: GasPrice
    ) -> list[Executed]:
        fork = await self.start()
        try:
            if fork.origin is None or fork.origin.hash != head.hash:
                await fork.stand_at(head)
            here = await fork.head()
            return await fork.execute(calls, sender, timestamp=max(timestamp, here.timestamp + 1), gas=gas)
        except ChainError:
            # Whatever state it is in: the next attempt starts another one.
            await self.close()
            raise

    async def close(self) -> None:
        self.fork = None
        await self._stack.aclose()


class SimulatedGround:
    """At the live node itself: ``eth_simulateV1``; where that is unknown, ``eth_call`` with overrides, one by one.

    ``eth_call`` tells success and nothing else: such an answer is not ``executed``.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._one_by_one = False

    async def try_out(
        self, calls: Sequence[Call], sender: str, head: Header, timestamp: int, gas: GasPrice
    ) -> list[Executed]:
        block: dict[str, Json] = {"number": hex(head.number + 1), "time": hex(timestamp)}
        funds: dict[str, Json] = {sender: {"balance": hex(FUNDS_WEI)}}
        requests = [_request(call, sender) for call in calls]
        if not self._one_by_one:
            priced = block | ({"baseFeePerGas": hex(gas.base_fee_wei)} if gas.base_fee_wei is not None else {})
            sequence: dict[str, Json] = {"blockOverrides": priced, "stateOverrides": funds, "calls": requests}
            try:
                answer = await self._rpc.request(
                    "eth_simulateV1", [{"blockStateCalls": [sequence]}, hex(head.number)], timeout_s=20
                )
                results = items(fields(items(answer)[0]).get("calls"))
                return [_simulated(result, gas.price_wei) for result in results]
            except RpcError as error:
                _log.warning("the node has no eth_simulateV1: liquidations are tried one by one", came=error.came)
                self._one_by_one = True
        pinned: dict[str, Json] = {"blockHash": head.hash}
        asked: list[tuple[str, list[Json]]] = [("eth_call", [each, pinned, funds, block]) for each in requests]
        answers = await self._rpc.batch(asked)
        return [_called(answer, call, gas.price_wei) for answer, call in zip(answers, calls, strict=True)]

    async def close(self) -> None:
        """Nothing is held open."""


class FirstThatWorks:
    """On the fork as long as there is one; else by simulation, until the fork can be started again."""

    def __init__(self, fork: ForkGround, simulated: SimulatedGround) -> None:
        self.fork = fork
        self._simulated = simulated
        self._failing = ""

    async def try_out(
        self, calls: Sequence[Call], sender: str, head: Header, timestamp: int, gas: GasPrice
    ) -> list[Executed]:
        # An Anvil that died is worth another one; what it then says of this block is the answer.
        for _ in range(2):
            try:
                executed = await self.fork.try_out(calls, sender, head, timestamp, gas)
            except (ChainError, ConfigError) as error:
                self._lost(error)
            else:
                self._found()
                return executed
        return await self._simulated.try_out(calls, sender, head, timestamp, gas)

    async def start(self) -> None:
        """Start the fork now, so that it is known early whether there is one."""
        try:
            await self.fork.start()
        except (ChainError, ConfigError) as error:
            self._lost(error)

    def _lost(self, error: ChainError | ConfigError) -> None:
        if self._failing != error.came:
            _log.warning("no fork: liquidations are simulated at the node", came=error.came, remedy=error.remedy)
        self._failing = error.came

    def _found(self) -> None:
        if self._failing:
            _log.info("a fork again")
        self._failing = ""

    async def close(self) -> None:
        await self.fork.close()


def _request(call: Call, sender: str) -> dict[str, Json]:
    return {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "gas": hex(call.gas_limit)}


def _simulated(result: Json, price_wei: int) -> Executed:
    answer = fields(result)
    ok = quantity(answer.get("status")) == 1
    reason = "" if ok else reason_of(octets(answer.get("returnData"))) or "reverted without a reason"
    return Executed(ok, reason, quantity(answer.get("gasUsed")), price_wei, logs_of(answer.get("logs")), None)


def _called(answer: Json | RpcError, call: Call, price_wei: int) -> Executed:
    if isinstance(answer, RpcError):
        reason = reason_of(answer.revert_data) or answer.message
        return Executed(False, reason, call.gas_limit, price_wei, (), None, executed=False)
    return Executed(True, "", call.gas_limit, price_wei, (), None, executed=False)
