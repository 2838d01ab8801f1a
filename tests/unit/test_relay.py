"""What is made of several endpoints' answers to one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from keeper.chain.relay import Answer, Delivery, PublicRelay
from keeper.chain.rpc import Broadcast, Reply, TransactionRefusedError


def refusal(text: str) -> Reply:
    return Reply("http://node.example", accepted=False, message=text, refused=True)


class Refusing:
    """Endpoints that all said no."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = replies

    def broadcast(self, raws: Sequence[bytes]) -> Sequence[asyncio.Future[Broadcast]]:
        told: asyncio.Future[Broadcast] = asyncio.get_running_loop().create_future()
        told.set_exception(TransactionRefusedError("0x01", self._replies))
        return [told]


@pytest.mark.parametrize("texts", [("method not found", "nonce too low"), ("nonce too low", "method not found")])
async def test_a_refusal_that_is_understood_says_more_than_one_that_is_not(texts: tuple[str, ...]) -> None:
    [told] = PublicRelay(Refusing([refusal(text) for text in texts])).send_all([b"\x01"], 5)
    assert await told == Delivery(Answer.NONCE_TOO_LOW, "nonce too low", certain=True)


async def test_without_a_refusal_nothing_is_known() -> None:
    lost = Reply("http://node.example", accepted=False, message="connection reset", refused=False)
    [told] = PublicRelay(Refusing([lost])).send_all([b"\x01"], 5)
    delivery = await told
    assert (delivery.answer, delivery.certain) == (Answer.UNCERTAIN, False)
