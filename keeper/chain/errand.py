"""One transaction at a time through a lane, each waited for: what a command of the owner's sends, not the daemon.

It goes the same way as a liquidation: journaled first, priced, replaced when it is stuck, within the gas budget.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from keeper.chain.answers import fields
from keeper.chain.blocks import header_of
from keeper.chain.lane import Lane, LaneSettings
from keeper.chain.relay import PublicRelay
from keeper.chain.rpc import Rpc
from keeper.chain.signer import Signer
from keeper.errors import ChainError
from keeper.model import Header, Liquidation, Outcome, OutcomeState
from keeper.store.journal import Journal

ERRAND = "errand"
"""The note of an errand's intent in the journal: it is no liquidation, and earns nothing."""
PATIENCE_S = 300.0
LOOK_S = 0.25
_ON_ITS_WAY = (OutcomeState.INTENDED, OutcomeState.SENT, OutcomeState.REPLACED)


class Errands:
    """Owns a lane for a while. ``start`` once, then ``send`` any number of times; ``close`` at the end."""

    def __init__(self, rpc: Rpc, signer: Signer, journal: Journal, settings: LaneSettings) -> None:
        # Nothing is earned that a share could be paid from: an errand bids like a transfer does.
        policy = "fixed-tip" if settings.fees.policy == "profit-share" else settings.fees.policy
        settings = replace(settings, fees=replace(settings.fees, policy=policy))
        self._rpc = rpc
        self._max_fee_wei = settings.fees.max_fee_wei
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._lane = Lane(signer, rpc, PublicRelay(rpc), journal, settings, outcomes=self._hear)

    async def start(self) -> None:
        """Reconcile the journal with the chain, as the daemon does. Raises ``ChainError`` or ``StoreError``."""
        await self._lane.start(await self._head())

    async def close(self) -> None:
        await self._lane.close()

    async def send(
        self, market: str, name: str, to: str, data: bytes, gas_limit: int, patience_s: float = PATIENCE_S
    ) -> Outcome:
        """Send ``data`` to ``to`` and wait until it is mined. ``name`` stands in the journal for the account.

        Raises ``ChainError`` if it is refused, reverts, or is not mined in time; the last may still be mined later.
        """
        head = await self._head()
        self._outcomes.pop((market, name), None)
        self._lane.resume(market, name)
        # It is worth to its owner what the operator's ceiling lets it cost.
        reward_wei = gas_limit * self._max_fee_wei
        now_ns = time.perf_counter_ns()
        item = Liquidation(
            market, name, to, data, gas_limit, 0, reward_wei, now_ns, now_ns, head.number + 1, note=ERRAND
        )
        await self._lane.submit([item], head)
        try:
            async with asyncio.timeout(patience_s):
                outcome = await self._ending(market, name, head)
        except TimeoutError:
            raise ChainError(
                f"the {name} to be mined within {patience_s:.0f} s",
                "it was not; it is journaled and may still be mined",
                "look at the fee ceiling; the next start of the keeper takes it up again",
            ) from None
        if outcome.state is not OutcomeState.MINED:
            raise ChainError(
                f"the {name} to be mined", f"it was {outcome.state.value}: {outcome.reason}", "correct that first"
            )
        return outcome

    async def _ending(self, market: str, name: str, head: Header) -> Outcome:
        while (outcome := self._outcomes.get((market, name))) is None or outcome.state in _ON_ITS_WAY:
            await asyncio.sleep(LOOK_S)
            latest = await self._head()
            if latest.hash != head.hash:
                head = latest
                await self._lane.on_head(head)
        return outcome

    async def _head(self) -> Header:
        return header_of(fields(await self._rpc.request("eth_getBlockByNumber", ["latest", False])))

    def _hear(self, outcome: Outcome) -> None:
        self._outcomes[outcome.market, outcome.account] = outcome
