"""The lanes of a chain, together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keeper.engine.live import LiveExecutor
from keeper.errors import StoreError
from keeper.model import Header, Liquidation
from tests.unit.lane_alone import header, liquidation

Pair = tuple[str, str]


class Stub:
    """As much of a lane as sending and ending need."""

    def __init__(self, address: str, error: Exception | None = None, unsure: frozenset[Pair] = frozenset()) -> None:
        self.address = address
        self.error = error
        self.closed = False
        self.unsure = unsure
        self.told: frozenset[Pair] = frozenset()

    def unsure_of(self, head: Header) -> frozenset[Pair]:
        return self.unsure

    async def submit(self, batch: Sequence[Liquidation], head: Header, unsure: frozenset[Pair]) -> None:
        self.told = unsure

    async def close(self) -> None:
        if self.error is not None:
            raise self.error
        self.closed = True


async def test_every_lane_is_closed_also_if_one_can_t_be() -> None:
    lanes = [Stub("0x1", StoreError("room", "the disk is full", "free some")), Stub("0x2")]
    with pytest.raises(StoreError):
        await LiveExecutor(lanes).close()  # type: ignore[arg-type]
    assert lanes[1].closed


async def test_a_lane_is_told_what_another_one_may_have_got_back_by_a_reorg() -> None:
    lanes = [Stub("0x1"), Stub("0x2", unsure=frozenset({("pool", "7")}))]
    executor = LiveExecutor(lanes)  # type: ignore[arg-type]
    await executor.submit([liquidation("7")], "0x1", header(101))
    assert lanes[0].told == {("pool", "7")}
    await executor.submit([liquidation("7")], "0x2", header(101))
    assert lanes[1].told == frozenset()
