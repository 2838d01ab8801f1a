"""The lanes of a chain, together."""

from __future__ import annotations

import pytest

from keeper.engine.live import LiveExecutor
from keeper.errors import StoreError


class Stub:
    """As much of a lane as ending needs."""

    def __init__(self, address: str, error: Exception | None = None) -> None:
        self.address = address
        self.error = error
        self.closed = False

    async def close(self) -> None:
        if self.error is not None:
            raise self.error
        self.closed = True


async def test_every_lane_is_closed_also_if_one_can_t_be() -> None:
    lanes = [Stub("0x1", StoreError("room", "the disk is full", "free some")), Stub("0x2")]
    with pytest.raises(StoreError):
        await LiveExecutor(lanes).close()  # type: ignore[arg-type]
    assert lanes[1].closed
