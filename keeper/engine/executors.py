"""Where a plan ends. The same decisions reach one of several ends; only the live one can send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from keeper.model import Header, Liquidation, Outcome, OutcomeState

_log = structlog.get_logger(__name__)

Listener = Callable[[Outcome], None]


class Executor(Protocol):
    """An end of a plan, for one chain."""

    def senders(self) -> Sequence[str]:
        """The addresses that can send, in the order of preference."""
        ...

    def in_flight(self, market: str) -> Sequence[str]:
        """Accounts of the market that are on their way, oldest first."""
        ...

    def call_data(self, market: str, account: str) -> bytes:
        """What is on its way for an account; empty if nothing is."""
        ...

    def fee_per_gas_wei(self, head: Header) -> int:
        """What a unit of gas would cost in the block after ``head``."""
        ...

    def data_fee_wei(self, length: int) -> int:
        """What an L2 charges for call data of that many bytes, besides the gas."""
        ...

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        """Carry a batch out in its order. Returns once every one is handed over; what became of them is told later."""
        ...

    def held_back(self, sender: str, market: str, account: str, number: int) -> str:
        """Why an account is not to be touched in block ``number`` (in flight, or paused); empty if it may be."""
        ...

    def withdraw(self, market: str, account: str, reason: str) -> None:
        """What is on its way for the account has become useless."""
        ...

    def sweep(self) -> None:
        """The round is over: nothing more is sent in the place of what was withdrawn."""
        ...

    def closed(self, market: str, account: str, transaction_hash: str) -> bool:
        """The chain shows the account liquidated by that transaction. True if it is one of ours."""
        ...

    async def on_head(self, head: Header) -> None:
        """Look after what is on its way: receipts, ages, replacements."""
        ...

    async def close(self) -> None: ...


class Observer:
    """Decisions only: everything that would be sent is told as skipped. Holds no key and knows no way to send."""

    def __init__(self, liquidator: str, listener: Listener) -> None:
        self._liquidator = liquidator
        self._listener = listener

    def senders(self) -> Sequence[str]:
        return (self._liquidator,)

    def in_flight(self, market: str) -> Sequence[str]:
        return ()

    def call_data(self, market: str, account: str) -> bytes:
        return b""

    def fee_per_gas_wei(self, head: Header) -> int:
        return head.base_fee_per_gas_wei or 0

    def data_fee_wei(self, length: int) -> int:
        return 0

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        for item in batch:
            _log.info("would liquidate", market=item.market, account=item.account, reward_b0=item.reward_b0)
            self._listener(Outcome(item.market, item.account, OutcomeState.SKIPPED, "observing: nothing is sent"))

    def held_back(self, sender: str, market: str, account: str, number: int) -> str:
        return ""

    def withdraw(self, market: str, account: str, reason: str) -> None:
        """Nothing is on its way."""

    def sweep(self) -> None:
        """Nothing is on its way."""

    def closed(self, market: str, account: str, transaction_hash: str) -> bool:
        return False

    async def on_head(self, head: Header) -> None:
        """Nothing is on its way."""

    async def close(self) -> None:
        """Nothing is held open."""
