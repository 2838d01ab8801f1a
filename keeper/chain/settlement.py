"""Looking for the end of what is in flight: counts, receipts, strangers' transactions, reorgs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from keeper.chain.books import Books
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.receipts import Node, Receipt, receipts, revert_data, tally
from keeper.chain.reverts import Rule, understand
from keeper.errors import ChainError
from keeper.model import Header, OutcomeState

log = structlog.get_logger(__name__)

LOOKS_FOR_STRANGER = 4
"""So many looks in a row count a nonce as used, with no receipt of ours, before a stranger is believed to have it."""
LOOKS_WHEN_TOLD = 2
"""The same when a node also refused the nonce as too low."""
LOOK_AT_OLDEST_BLOCKS = 2
"""From this age on the oldest transaction's receipt is asked for whatever the count says: counts can lag."""

STRANGER = "its nonce was used by a transaction that is not the lane's"


@dataclass(frozen=True, slots=True)
class Ended:
    """A settled nonce that a reorg may still bring back."""

    slot: Slot
    form: Form
    receipt: Receipt


class Settlement:
    """Owns what is known of the chain's side of a signer."""

    def __init__(self, node: Node, nonces: Nonces, books: Books, rules: Sequence[Rule], finality_blocks: int) -> None:
        self._node = node
        self._nonces = nonces
        self._books = books
        self._rules = rules
        self._finality_blocks = finality_blocks
        self._turn = asyncio.Lock()
        self._mined_next = 0
        self._ended: list[Ended] = []
        self._doubtful: list[tuple[Slot, int]] = []
        self._last: Header | None = None
        self._looked_at = ""
        self._reorged = False
        self.count = 0
        """The chain's count of our transactions, as last heard, and no less than our receipts show."""
        self.balance_wei = 0

    def follow(self, head: Header) -> bool:
        """Take note of a head. True if something that had ended wants another look: after a reorg, or in doubt."""
        last, self._last = self._last, head
        final = head.number - self._finality_blocks
        self._ended = [ended for ended in self._ended if ended.receipt.block_number > final]
        if last is not None and head.hash != last.hash and head.parent_hash != last.hash and self._ended:
            self._reorged = True
        return self._reorged or bool(self._doubtful)

    def unsure_of(self, head: Header) -> frozenset[tuple[str, str]]:
        """Markets and accounts whose liquidation is mined, not final, and not yet looked for as of ``head``.

        An account that was liquidated a few blocks ago and is wanted again hints at a reorg, which the market may have
        seen before the lane has: what was mined may be in flight again.
        """
        if not self._reorged and self._last is not None and self._last.hash == head.hash:
            return frozenset()
        mined = (ended.form.intent for ended in self._ended if ended.receipt.ok and not ended.form.cancels)
        return frozenset((intent.market, intent.account) for intent in mined)

    async def look(self, head: Header, *, again: bool = True) -> None:
        """Settle what the chain has decided. Raises ``ChainError`` if the node doesn't answer; nothing is lost then.

        Not ``again`` if it was done at that head: then it is enough to wait for it.
        """
        async with self._turn:
            if self._looked_at == head.hash and not again:
                return
            await self._look_back()
            seen = await tally(self._node, self._books.lane)
            self.balance_wei = seen.balance_wei
            self.count = max(seen.count, self._mined_next)
            if not self._nonces.slots:
                # Whoever else has the key may have used it: with nothing in flight there is nothing to mix up.
                self._nonces.next = max(self._nonces.next, seen.count)
            slots = [self._nonces.slots[nonce] for nonce in sorted(self._nonces.slots)]
            due = [slot for slot in slots if slot.nonce < self.count or self._overdue(slot, slots[0], head)]
            found = await self._receipts([*due, *(slot for slot, _ in self._doubtful)])
            for slot in due:
                await self._settle_or_doubt(slot, found, head)
            for slot, _ in self._doubtful:
                await self.settle(slot, found)
            self._doubtful = [
                (slot, since)
                for slot, since in self._doubtful
                if since + self._finality_blocks > head.number and not any(e.slot is slot for e in self._ended)
            ]
            self._looked_at = head.hash

    async def settle(self, slot: Slot, found: dict[str, Receipt]) -> bool:
        """If one of a slot's forms has a receipt, end its intent by it and the others without. False if none has."""
        form = next((form for form in reversed(slot.forms) if form.signed.hash in found), None)
        if form is None:
            return False
        receipt = found[form.signed.hash]
        self._nonces.settle(slot)
        self._books.paid(receipt)
        self._nonces.next = max(self._nonces.next, slot.nonce + 1)
        self._mined_next = max(self._mined_next, slot.nonce + 1)
        self.count = max(self.count, self._mined_next)
        self._ended.append(Ended(slot, form, receipt))
        revert = None
        if not receipt.ok and not form.cancels:
            data = await self._replay(form, receipt)
            revert = understand(data, receipt.gas_used, form.gas_limit, self._rules)
        self._books.mined(form, receipt, revert)
        for other in slot.intents():
            if other.id != form.intent.id:
                self._books.give_up(other, OutcomeState.ABANDONED, f"its nonce was used by {receipt.hash}")
        return True

    def start(self, head: Header, balance_wei: int, count: int, mined_next: int) -> None:
        """Take up what the chain says at a start. ``mined_next`` is one more than the highest nonce known as mined."""
        self._last = head
        self.balance_wei, self.count, self._mined_next = balance_wei, count, mined_next

    def restore(self, ended: Ended) -> None:
        """Watch something that the journal knows to have ended lately."""
        self._ended.append(ended)

    def _overdue(self, slot: Slot, oldest: Slot, head: Header) -> bool:
        return slot is oldest and bool(slot.forms) and head.number - slot.forms[0].made_at >= LOOK_AT_OLDEST_BLOCKS

    async def _receipts(self, slots: Sequence[Slot]) -> dict[str, Receipt]:
        return await receipts(self._node, [form.signed.hash for slot in slots for form in slot.forms])

    async def _settle_or_doubt(self, slot: Slot, found: dict[str, Receipt], head: Header) -> None:
        if await self.settle(slot, found):
            return
        if slot.nonce >= self.count:
            slot.unexplained = 0
            return
        slot.unexplained += 1
        if slot.too_low:
            # Two witnesses: the count and the refusal. New transactions go past it at once.
            self._nonces.next = max(self._nonces.next, self.count)
        if not slot.live and not slot.accepted:
            self._nonces.settle(slot)
        elif slot.unexplained >= (LOOKS_WHEN_TOLD if slot.too_low else LOOKS_FOR_STRANGER):
            self._nonces.settle(slot)
            self._doubtful.append((slot, head.number))
            log.error("lane.nonce-used-by-stranger", lane=self._books.lane, nonce=slot.nonce)
            for intent in slot.intents():
                self._books.give_up(intent, OutcomeState.ABANDONED, STRANGER)

    async def _look_back(self) -> None:
        """After a reorg, ask again for every receipt that is not final: it may be gone or in another block."""
        if not self._reorged:
            return
        found = await self._receipts([ended.slot for ended in self._ended])
        self._reorged = False
        for ended in list(self._ended):
            now = found.get(ended.form.signed.hash)
            if now is None or now.block_hash != ended.receipt.block_hash:
                self._ended.remove(ended)
                await self._take_back(ended, found)

    async def _take_back(self, ended: Ended, found: dict[str, Receipt]) -> None:
        slot = ended.slot
        log.warning("lane.reorged", lane=self._books.lane, nonce=slot.nonce, transaction=ended.form.signed.hash)
        self._books.undone(ended.form, ended.receipt.fee_wei)
        if not await self.settle(slot, found):
            slot.live, slot.unexplained = True, 0
            self._nonces.slots[slot.nonce] = slot
            self._mined_next = min(self._mined_next, slot.nonce)

    async def _replay(self, form: Form, receipt: Receipt) -> bytes:
        try:
            return await revert_data(self._node, self._books.lane, form.intent, receipt)
        except ChainError as error:
            log.warning("lane.revert-unread", transaction=receipt.hash, error=str(error))
            return b""
