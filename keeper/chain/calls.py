"""Many contract reads in few calls, all pinned to one block hash."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import structlog

from keeper.chain.answers import Json, RpcError, TimedOutError, asks_for_less, octets, text
from keeper.chain.multicall import AGGREGATE3_CODE, MULTICALL3, decode_aggregate3, encode_aggregate3
from keeper.chain.portion import Portion
from keeper.chain.rpc import Rpc
from keeper.model import ReadCall, ReadResult

log = structlog.get_logger(__name__)

FIRST_SIZE = 200
LARGEST_SIZE = 1_000
LARGEST_DATA = 256 * 1024
"""Bytes of call data in a batch: twice that as hexadecimal digits, below the 1 MiB that many proxies take."""
IN_FLIGHT = 4
AIM_S = 0.5
"""A batch that takes longer is too large: it holds up everything behind it at the node."""
SMALL = 32
"""So few calls that take long tell of a slow node or road: fewer at a time would only cost more trips."""
CALL_S = 3.0
_TUPLE_DATA = 6 * 32
"""Bytes that ``aggregate3`` adds to a call's own."""


class PinnedReader:
    """``keeper.model.Reader`` over an ``Rpc``: ``aggregate3`` by ``eth_call`` at a block hash (EIP-1898).

    The size of a batch follows what the node takes, and takes quickly.
    """

    def __init__(self, rpc: Rpc, multicall: str = MULTICALL3) -> None:
        self._rpc = rpc
        self._multicall = multicall
        self._deployed: bool | None = None
        self._portion = Portion(FIRST_SIZE, LARGEST_SIZE)

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        """Answer every call as of that block, in the order asked.

        A call that reverts is an answer. Raises ``ChainError`` if no node can answer, which it can't for a block that
        a reorg took away.
        """
        if not calls:
            return []
        if self._deployed is None:
            code = text(await self._rpc.request("eth_getCode", [self._multicall, _pinned(block_hash)]))
            self._deployed = len(code) > len("0x")
        results: dict[int, ReadResult] = {}
        waiting = deque(range(len(calls)))

        async def work() -> None:
            while batch := self._next_batch(calls, waiting):
                results.update(await self._read_batch(calls, batch, block_hash))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [results[index] for index in range(len(calls))]

    def _next_batch(self, calls: Sequence[ReadCall], waiting: deque[int]) -> list[int]:
        """Take as many as the node takes at a time; empty when none is left."""
        batch: list[int] = []
        data = 0
        while waiting and len(batch) < self._portion.size:
            data += len(calls[waiting[0]].data) + _TUPLE_DATA
            if batch and data > LARGEST_DATA:
                break
            batch.append(waiting.popleft())
        return batch

    async def _read_batch(self, calls: Sequence[ReadCall], batch: list[int], block_hash: str) -> dict[int, ReadResult]:
        """One batch; in halves if the node wants less at a time."""
        found: dict[int, ReadResult] = {}
        parts = deque([batch])
        while parts:
            part = parts.popleft()
            try:
                results = await self._aggregate([calls[index] for index in part], block_hash)
            except (RpcError, TimedOutError) as error:
                if len(part) == 1 or (isinstance(error, RpcError) and not asks_for_less(error)):
                    raise
                self._shrink(len(part), error.came)
                parts.extendleft(reversed(_halves(part)))
                continue
            answered = dict(zip(part, results, strict=True))
            # A call that failed without a word may have been starved of gas by those before it: it is asked again,
            # further ahead in a smaller batch. One that is alone and still says nothing has nothing to say.
            starved = [index for index, result in answered.items() if not result.ok and not result.data]
            if any(answered[index].ok for index in part if index in found):
                self._shrink(len(batch), "calls at its end ran out of gas")
            found |= answered
            if starved and len(part) > 1:
                parts.extendleft(reversed(_halves(starved)))
        return found

    async def _aggregate(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        call: dict[str, Json] = {"to": self._multicall, "data": "0x" + encode_aggregate3(calls).hex()}
        params: list[Json] = [call, _pinned(block_hash)]
        if not self._deployed:
            params.append({self._multicall: {"code": "0x" + AGGREGATE3_CODE}})
        began = time.monotonic()
        answer = await self._rpc.request("eth_call", params, timeout_s=CALL_S)
        took = time.monotonic() - began
        results = decode_aggregate3(octets(answer), len(calls))
        if took <= AIM_S:
            self._portion.took(len(calls))
        elif len(calls) > SMALL:
            self._shrink(len(calls), f"{len(calls)} calls took {took:.1f} s")
        return results

    def _shrink(self, tried: int, came: str) -> None:
        if self._portion.refused(tried):
            log.info("reads.batch-shrunk", size=self._portion.size, came=came)


def _halves(part: list[int]) -> list[list[int]]:
    middle = (len(part) + 1) // 2
    return [half for half in (part[:middle], part[middle:]) if half]


def _pinned(block_hash: str) -> dict[str, Json]:
    return {"blockHash": block_hash, "requireCanonical": True}
