"""At a new head, with all receipts settled: replace, cancel, send again, and fill gaps between nonces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from keeper.chain.books import Books
from keeper.chain.budget import Budget, Limits
from keeper.chain.dispatch import Dispatch, Draft
from keeper.chain.gas import ETHEREUM, FeeMarket, FeeRules, FeeSettings, cheaper_to_cancel
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.receipts import Node, tally
from keeper.chain.settlement import Settlement
from keeper.chain.tending import Circumstances, Step, cancellation, tend
from keeper.chain.transaction import Fees
from keeper.errors import ChainError
from keeper.model import Header, OutcomeState
from keeper.store.journal import Intent, Journal

log = structlog.get_logger(__name__)

FILLABLE_GAP = 16
"""A wider gap than this is no gap: the node had told a wrong count."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How one lane behaves."""

    chain_id: int
    fees: FeeSettings
    limits: Limits
    fee_rules: FeeRules = ETHEREUM
    low_balance_wei: int = 0
    patience_blocks: int = 3
    """How long a transaction that could have been mined is left as it is."""
    finality_blocks: int = 12
    max_in_flight: int = 256


class Mending:
    """Looks after what is in flight. What to do with one nonce is ``tending.tend``; here it is done for all."""

    def __init__(
        self,
        node: Node,
        journal: Journal,
        nonces: Nonces,
        settlement: Settlement,
        books: Books,
        dispatch: Dispatch,
        budget: Budget,
        settings: LaneSettings,
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._journal = journal
        self._nonces = nonces
        self._settlement = settlement
        self._books = books
        self._dispatch = dispatch
        self._budget = budget
        self._settings = settings
        self._clock = clock
        self._gap: frozenset[int] = frozenset()
        """Nonces that nobody used and others wait for, as of the last look."""
        self._agreed: frozenset[int] = frozenset()
        """Those of them that two looks in a row agree on."""
        self._gap_unseen = False

    async def mend(self, head: Header, market: FeeMarket, losses: Mapping[str, int]) -> None:
        """One round; whoever calls has the turn. ``losses`` are competitions lost in a row, by market."""
        count = self._settlement.count
        self._take_gap(count)
        room = self._budget.room(self._clock()).wei - self._nonces.at_risk_wei()
        live = self._nonces.live()
        behind_wei = sum(_wanted_wei(slot) for slot in live)
        drafts: list[Draft] = []
        again: list[Slot] = []
        for slot in live:
            behind_wei -= _wanted_wei(slot)
            around = self._around(head, market, losses, slot, behind_wei)
            move = tend(slot, around)
            if move.step is Step.RESEND:
                again.append(slot)
            elif move.fees is not None:
                cancels = move.step is Step.CANCEL or slot.current.cancels
                more_wei = max(0, move.fees.max_wei * slot.current.gas_limit - slot.at_risk_wei)
                if cancels or more_wei <= room:
                    room -= 0 if cancels else more_wei
                    reason = "cancelled: " + (slot.useless or "it blocks others") if cancels else "offered dearer"
                    drafts.append(Draft(slot, slot.current.intent, move.fees, cancels, reason=reason))
        for slot in self._nonces.to_fill(count):
            if fees := cancellation(slot, self._around(head, market, losses, slot, 0)):
                drafts.append(self._filling(slot, fees, head))
            elif slot.forms:
                # Too dear to cancel: what stands there may be mined after all, and the others behind it with it.
                again.append(slot)
        self._dispatch.again(again, head.number)
        await self._dispatch.send(drafts, head.number)

    async def cancel(
        self, head: Header, market: FeeMarket, losses: Mapping[str, int], why: Callable[[Form], str]
    ) -> None:
        """Cancel at once where there is a reason and it costs less than a revert; whoever calls has the turn."""
        drafts: list[Draft] = []
        for slot in self._nonces.live():
            form = slot.current
            if form.cancels or not (reason := why(form)):
                continue
            fees = cancellation(slot, self._around(head, market, losses, slot, 0))
            if fees and cheaper_to_cancel(form.fees, form.gas_limit, fees, market.base_fee_wei or 0):
                drafts.append(Draft(slot, form.intent, fees, cancels=True, reason=f"cancelled: {reason}"))
        await self._dispatch.send(drafts, head.number)

    def _around(
        self, head: Header, market: FeeMarket, losses: Mapping[str, int], slot: Slot, behind_wei: int
    ) -> Circumstances:
        of = slot.current.intent.market if slot.forms else ""
        return Circumstances(
            head.number,
            market,
            self._settings.fees,
            self._settings.patience_blocks,
            slot.nonce <= self._settlement.count,
            behind_wei,
            losses.get(of, 0),
            self._dispatch.relay_of(of).resend_blocks,
        )

    def _filling(self, slot: Slot, fees: Fees, head: Header) -> Draft:
        """A transfer to ourselves at a spare nonce that others wait behind."""
        if slot.forms:
            return Draft(slot, slot.current.intent, fees, cancels=True, reason="cancelled: its nonce has to be filled")
        filler = Intent(
            self._journal.allot(), self._settings.chain_id, self._books.lane,
            "", "", "", b"", 0, 0, 0, head.number, "fills a gap", self._clock(),
        )  # fmt: skip
        return Draft(slot, filler, fees, cancels=True, is_new=True)

    async def look_for_gap(self) -> None:
        """Ask the node for nonces that nobody used and others wait for. What it doesn't answer, the next head asks."""
        missing = self._nonces.missing(self._settlement.count)
        self._agreed = frozenset()
        if missing:
            try:
                pending = (await tally(self._node, self._books.lane, "pending")).count
            except ChainError as error:
                if not self._gap_unseen:
                    log.warning("lane.gap-unseen", lane=self._books.lane, error=str(error))
                self._gap_unseen = True
                return
            missing = [nonce for nonce in missing if nonce >= pending]
        self._gap_unseen = False
        self._agreed, self._gap = self._gap & set(missing), frozenset(missing)

    def _take_gap(self, count: int) -> None:
        """Let the nonces of a gap be spare."""
        if len(self._agreed) > FILLABLE_GAP:
            log.error("lane.nonces-far-ahead", lane=self._books.lane, chain=count, ours=self._nonces.next)
            for slot in self._nonces.live():
                slot.live = False
                for intent in slot.intents():
                    self._books.give_up(intent, OutcomeState.ABANDONED, "signed for a nonce that is out of reach")
            self._nonces.next = count
        else:
            self._nonces.slots |= {nonce: Slot(nonce, live=False) for nonce in self._agreed}
        self._agreed = frozenset()


def _wanted_wei(slot: Slot) -> int:
    """What a live transaction is expected to earn if it is mined."""
    return 0 if slot.useless or slot.current.cancels else slot.current.intent.reward_wei
