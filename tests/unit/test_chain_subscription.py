"""What a websocket pushes waits for whoever reads it, but not without end."""

from __future__ import annotations

import pytest

from keeper.chain.answers import UnreachableError
from keeper.chain.endpoint import Endpoint
from keeper.chain.transport import MOST_WAITING, Subscription, unreachable

ENDPOINT = Endpoint("ws://127.0.0.1:9")


async def test_the_oldest_give_way_to_the_newest() -> None:
    subscription = Subscription(ENDPOINT)
    for number in range(MOST_WAITING + 3):
        subscription.put(number)
    assert await subscription.next(1.0) == 3


async def test_the_end_comes_after_all_that_waits_and_stays() -> None:
    subscription = Subscription(ENDPOINT)
    for number in range(MOST_WAITING):
        subscription.put(number)
    subscription.put(unreachable(ENDPOINT, "it is gone"))
    for number in range(1, MOST_WAITING):
        assert await subscription.next(1.0) == number
    for _ in range(2):
        with pytest.raises(UnreachableError):
            await subscription.next(1.0)
