"""After a start, before anything is sent: what the journal left open, compared with what the chain did."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from keeper.chain.books import Books
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.receipts import Node, genesis, known, receipts, tally
from keeper.chain.settlement import Ended, Settlement
from keeper.chain.transaction import Fees, Signed
from keeper.model import Header, OutcomeState
from keeper.store.journal import OPEN_STATES, UNREAD, Journal, Standing

log = structlog.get_logger(__name__)

ANOTHER = "another one used its nonce"
NOT_SEEN = "the keeper was restarted before any node had seen it"


async def recover(
    node: Node,
    chain_id: int,
    journal: Journal,
    nonces: Nonces,
    settlement: Settlement,
    books: Books,
    head: Header,
    private_markets: frozenset[str],
    finality_blocks: int,
) -> None:
    """Fill ``nonces`` with what is still under way, and end in the journal what is not.

    Mined: it is settled. Known to the node: it is in flight again. Unknown to it: abandoned, and its nonce is spare, so
    that whatever comes next takes its place and at most one of the two can be mined. A transaction of
    ``private_markets`` is invisible until mined and counts as known. Raises ``ChainError`` or ``StoreError``.
    """
    if (first := await genesis(node)) is not None:
        await journal.bind(chain_id, first)
    latest = await tally(node, books.lane)
    pending = await tally(node, books.lane, "pending")
    final = head.number - finality_blocks
    standings = await journal.unsettled(chain_id, books.lane, final, latest.count)
    slots = _slots(standings)
    for standing in standings:
        if standing.state.state in OPEN_STATES:
            books.open(standing.intent)
    hashes = [form.signed.hash for slot in slots.values() for form in slot.forms]
    found = await receipts(node, hashes)
    seen = await known(node, [value for value in hashes if value not in found])
    mined_next = 0
    for standing in standings:
        ended = _ended(standing, slots)
        if ended is None:
            continue
        slot, form = ended
        receipt = found.get(form.signed.hash)
        if receipt is not None and receipt.block_hash == standing.state.block_hash:
            slots.pop(slot.nonce, None)
            if standing.state.reason == UNREAD:
                books.read_later(standing.intent, receipt)
            settlement.restore(Ended(slot, form, receipt))
            mined_next = max(mined_next, slot.nonce + 1)
        elif (standing.state.block_number or 0) >= final:
            books.undone(form, standing.state.fee_wei)
        else:
            # The node no longer keeps receipts of that age.
            slots.pop(slot.nonce, None)
    settlement.start(head, latest.balance_wei, max(latest.count, mined_next), mined_next)
    nonces.slots.update(slots)
    for nonce, slot in sorted(slots.items()):
        if await settlement.settle(slot, found) or nonce < latest.count:
            continue
        slot.accepted = any(form.signed.hash in seen or form.intent.market in private_markets for form in slot.forms)
        slot.live = slot.accepted and books.is_open(slot.current.intent)
        if not slot.live:
            for intent in slot.intents():
                books.give_up(intent, OutcomeState.ABANDONED, NOT_SEEN)
    in_slots = {intent.id for slot in nonces.slots.values() for intent in slot.intents()}
    for standing in standings:
        if standing.intent.id not in in_slots:
            books.give_up(standing.intent, OutcomeState.ABANDONED, ANOTHER)
    nonces.next = max(latest.count, pending.count, mined_next, *(nonce + 1 for nonce in slots), 0)
    log.info("lane.reconciled", lane=books.lane, nonce=nonces.next, in_flight=len(nonces.live()), looked_at=len(hashes))


def _slots(standings: Sequence[Standing]) -> dict[int, Slot]:
    """The nonces with all their forms, oldest first."""
    slots: dict[int, Slot] = {}
    rows = [(row, standing.intent) for standing in standings for row in standing.transactions]
    for row, intent in sorted(rows, key=lambda pair: (pair[0].at, pair[1].id)):
        form = Form(
            intent,
            Signed(row.raw, row.hash),
            Fees(row.max_wei, row.tip_wei),
            row.kind == "cancellation",
            row.at_block,
        )
        slots.setdefault(row.nonce, Slot(row.nonce)).forms.append(form)
    return slots


def _ended(standing: Standing, slots: dict[int, Slot]) -> tuple[Slot, Form] | None:
    """The mined form of an intent that the journal says has ended on chain."""
    if standing.state.block_hash is None or standing.state.hash is None:
        return None
    for slot in slots.values():
        if form := slot.by_hash(standing.state.hash):
            return slot, form
    return None
