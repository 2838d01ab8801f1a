"""Where a signed transaction is handed in: the public endpoints, a private one, or a bundle relay. One seam.

What a node answers is sorted here, once, so that the lane thinks in six cases and not in every client's wording.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keeper.chain.rpc import Broadcast, TransactionRefusedError


class Answer(enum.Enum):
    """What became of a transaction that was handed in."""

    ACCEPTED = "accepted"
    NONCE_TOO_LOW = "nonce-too-low"
    UNDERPRICED = "underpriced"
    """A replacement that is not dear enough, or a fee below what the node or the next block takes."""
    NO_FUNDS = "insufficient-funds"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    """No answer: it may have been accepted."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer, with the node's own words for people. ``certain``: no endpoint can have taken it."""

    answer: Answer
    text: str = ""
    certain: bool = True


class Relay(Protocol):
    """A place to hand a signed transaction in. Never raises for what a node or a network does."""

    private: bool
    """The public endpoints don't see what was handed in here until it is mined."""

    resend_blocks: int
    """The same bytes are handed in again every so many blocks: nodes lose transactions, bundles expire."""

    def send_all(self, raws: Sequence[bytes], head_number: int) -> Sequence[Awaitable[Delivery]]:
        """Hand signed transactions in, in their order; what becomes of each. All of them have to be awaited."""
        ...


class Broadcaster(Protocol):
    """As much of ``keeper.chain.rpc.Rpc`` as sending needs."""

    def broadcast(self, raws: Sequence[bytes]) -> Sequence[asyncio.Future[Broadcast]]: ...


_FULL = ("pool is full", "pool limit reached", "pool overflow")
"""A pool without room takes what is dearer than what it holds."""

_WORDINGS: tuple[tuple[Answer, tuple[str, ...]], ...] = (
    (Answer.ACCEPTED, ("already known", "already imported", "known transaction", "already exists")),
    (Answer.NONCE_TOO_LOW, ("nonce too low", "nonce is too low", "invalid nonce", "old nonce", "nonce has already")),
    (
        Answer.UNDERPRICED,
        (
            "underpriced",
            "less than block base fee",
            "gas price below",
            "fee too low",
            "price too low",
            "tip too low",
            *_FULL,
        ),
    ),
    (Answer.NO_FUNDS, ("insufficient funds", "insufficient balance", "exceeds balance", "not enough funds")),
)


def sort_answer(text: str) -> Answer:
    """What a node's refusal means, from the wordings of geth, Erigon, Nethermind, Besu, Reth and Anvil."""
    squeezed = _squeeze(text)
    for answer, wordings in _WORDINGS:
        if any(_squeeze(wording) in squeezed for wording in wordings):
            return answer
    return Answer.REFUSED


def _squeeze(text: str) -> str:
    """Some clients say "nonce too low", some "NonceTooLow"."""
    return text.lower().replace(" ", "")


class PublicRelay:
    """Every endpoint of the chain at once; the first acceptance counts."""

    private = False
    resend_blocks = 2

    def __init__(self, node: Broadcaster) -> None:
        self._node = node

    def send_all(self, raws: Sequence[bytes], head_number: int) -> Sequence[Awaitable[Delivery]]:
        return [_delivery(told) for told in self._node.broadcast(raws)]


async def _delivery(told: asyncio.Future[Broadcast]) -> Delivery:
    try:
        await told
    except TransactionRefusedError as error:
        refusals = [(sort_answer(reply.message), reply.message) for reply in error.replies if reply.refused]
        if not refusals:
            return Delivery(Answer.UNCERTAIN, error.message, certain=False)
        # One that is understood says more than an endpoint that takes no transactions at all.
        answer, text = next((each for each in refusals if each[0] is not Answer.REFUSED), refusals[0])
        return Delivery(answer, text, error.certain)
    return Delivery(Answer.ACCEPTED)
