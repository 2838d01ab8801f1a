"""Liquidations of others that wait to be mined, and when to leave an account to them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.chain.transaction import Fees

Key = tuple[str, str]
"""A market and an account."""

GIVEN_BLOCKS = 2
"""A rival whose transaction is seen has so many blocks to have it mined."""
UNBELIEVED_BLOCKS = 64
"""After a transaction that was not mined in time, so long nobody is believed to be first at that account: a pending
transaction costs nothing, and must not be a way to keep us from it."""


@dataclass(frozen=True, slots=True)
class _Seen:
    fees: Fees
    at_block: int


class Rivals:
    """Owns what was seen lately of others' liquidations."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}
        self._unbelieved: dict[Key, int] = {}

    def saw(self, market: str, account: str, fees: Fees, head: int) -> None:
        """Somebody else's liquidation of an account came into the mempool after block ``head``."""
        key = market, account
        if key not in self._unbelieved and key not in self._seen:
            self._seen[key] = _Seen(fees, head)

    def want(self, market: str, account: str) -> bool:
        """Whether anybody else's liquidation of an account waits."""
        return (market, account) in self._seen

    def ahead_of(self, market: str, account: str, price_wei: int, base_fee_wei: int) -> bool:
        """Whether somebody pays more for a unit of gas than ``price_wei`` and will so be mined before."""
        seen = self._seen.get((market, account))
        return seen is not None and seen.fees.price_at(base_fee_wei) > price_wei

    def follow(self, head: int) -> None:
        """A new head: forget what has had its time."""
        for key, seen in list(self._seen.items()):
            if head - seen.at_block >= GIVEN_BLOCKS:
                del self._seen[key]
                self._unbelieved[key] = head + UNBELIEVED_BLOCKS
        self._unbelieved = {key: until for key, until in self._unbelieved.items() if until > head}
