"""The live end of a plan: the lanes of one chain, one for each signer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from keeper.chain.lane import Lane
from keeper.chain.transaction import Fees
from keeper.model import Header, Liquidation


class LiveExecutor:
    """Sends through whichever lane the loop has chosen. The lanes do the rest."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = tuple(lanes)
        self._lanes: Mapping[str, Lane] = {lane.address: lane for lane in lanes}

    def senders(self) -> Sequence[str]:
        return tuple(self._lanes)

    def in_flight(self, market: str) -> Sequence[str]:
        return [account for lane in self._lanes.values() for account in lane.accounts_in_flight(market)]

    def call_data(self, market: str, account: str) -> bytes:
        return next((data for lane in self.lanes if (data := lane.call_data(market, account))), b"")

    def held_back(self, sender: str, market: str, account: str, number: int) -> str:
        return self._lanes[sender].held_back(market, account, number)

    def fee_per_gas_wei(self, head: Header) -> int:
        return self.lanes[0].fee_per_gas_wei(head)

    def data_fee_wei(self, length: int) -> int:
        return self.lanes[0].data_fee_wei(length)

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        # A reorg may have given another lane its transaction back, which it will know when it has looked.
        others = (lane.unsure_of(head) for address, lane in self._lanes.items() if address != sender)
        await self._lanes[sender].submit(batch, head, frozenset().union(*others))

    def withdraw(self, market: str, account: str, reason: str) -> None:
        for lane in self._lanes.values():
            lane.withdraw(market, account, reason)

    def sweep(self) -> None:
        for lane in self.lanes:
            lane.sweep()

    def closed(self, market: str, account: str, transaction_hash: str) -> bool:
        if any(lane.sent(transaction_hash) for lane in self._lanes.values()):
            return True
        for lane in self._lanes.values():
            if lane.in_flight(market, account):
                lane.withdraw(market, account, "somebody else was first")
                lane.lost(market)
        return False

    def rival_seen(self, market: str, account: str, transaction_hash: str, fees: Fees) -> None:
        """A liquidation of the account waits to be mined; unless it is one of ours, somebody else's."""
        if not any(lane.sent(transaction_hash) for lane in self.lanes):
            for lane in self.lanes:
                lane.rival_seen(market, account, fees)

    async def on_head(self, head: Header) -> None:
        for lane in self._lanes.values():
            await lane.on_head(head)

    async def close(self) -> None:
        """All at once: each may wait a little for answers."""
        for ended in await asyncio.gather(*(lane.close() for lane in self.lanes), return_exceptions=True):
            if ended is not None:
                raise ended
