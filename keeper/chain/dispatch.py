"""The hot path out: sign, put on disk, hand over; and what the nodes' answers say about a nonce."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

import structlog

from keeper.chain.books import Books
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.relay import Answer, Delivery, Relay
from keeper.chain.reverts import Action
from keeper.chain.signer import Signer
from keeper.chain.transaction import Fees, Transaction
from keeper.errors import SignerError, StoreError
from keeper.model import OutcomeState
from keeper.store.journal import Intent, Journal, TransactionRow

log = structlog.get_logger(__name__)

REFUSALS = 3
"""That often in a row a node may refuse a transaction for reasons of its own before it is given up."""

REST_S = 0.1
"""A burst is over when nothing was handed over for that long."""

TOO_LATE = "its nonce was used while it was signed"

HEAD_START_S = 0.001
"""How long the first transaction has the event loop to itself: a request takes about half of that to be written."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A form that is decided on but not yet signed. ``is_new``: its intent is not in the journal yet."""

    slot: Slot
    intent: Intent
    fees: Fees
    cancels: bool = False
    is_new: bool = False
    reason: str = ""
    """Why an intent is replaced or cancelled; for the journal."""
    begun_ns: int = 0


class Dispatch:
    """Owns the order of signing and the tasks that wait for nodes. Whoever drafts holds ``turn`` meanwhile."""

    def __init__(
        self,
        signer: Signer,
        journal: Journal,
        nonces: Nonces,
        books: Books,
        public: Relay,
        relays: Mapping[str, Relay],
        chain_id: int,
        transfer_gas: Callable[[], int],
        doubt: Callable[[], None],
        out_of_funds: Callable[[], None],
    ) -> None:
        self.turn = asyncio.Lock()
        self._signer = signer
        self._journal = journal
        self._nonces = nonces
        self._books = books
        self._public = public
        self._relays = relays
        self._chain_id = chain_id
        self._transfer_gas = transfer_gas
        self._doubt = doubt
        self._out_of_funds = out_of_funds
        self._handed_at = 0.0
        self._tasks: set[asyncio.Task[object]] = set()

    def relay_of(self, market: str) -> Relay:
        return self._relays.get(market, self._public)

    async def send(self, drafts: Sequence[Draft], head: int) -> bool:
        """Sign all, put all on disk in one commit, hand all over. False, with an alert, if that was not possible:
        then nothing has left and no nonce is used.
        """
        if not drafts:
            return True
        try:
            forms = await self._sign(drafts, head)
            signed_ns = time.perf_counter_ns()
            await self._put_on_disk(drafts, forms)
        except asyncio.CancelledError:
            # Whether it is on disk or not, it does not leave.
            for draft in drafts:
                if draft.is_new:
                    self._books.open(draft.intent)
                    self._books.give_up(draft.intent, OutcomeState.ABANDONED, "the keeper stopped before it was sent")
            raise
        except SignerError as error:
            self._books.raise_alert("signer", str(error))
            return False
        except StoreError as error:
            self._books.raise_alert("journal", str(error))
            return False
        self._books.clear_alert("signer")
        self._books.clear_alert("journal")
        taken: list[tuple[Draft, Form]] = []
        for draft, form in zip(drafts, forms, strict=True):
            if draft.is_new:
                self._books.open(draft.intent, draft.begun_ns)
            if self._nonces.is_settled(draft.slot):
                # The chain was quicker than signer and disk. What it mined stays as it was told.
                if draft.is_new:
                    self._books.give_up(draft.intent, OutcomeState.ABANDONED, TOO_LATE)
                continue
            if draft.is_new:
                self._supersede(draft)
            elif self._books.is_open(draft.intent):
                self._books.step(draft.intent, OutcomeState.REPLACED, draft.reason, form)
            self._nonces.take(draft.slot, form)
            taken.append((draft, form))
        self._hand_over([(draft.slot, form) for draft, form in taken], head)
        self._books.signed((draft.intent for draft, _ in taken if draft.is_new), signed_ns)
        return True

    def again(self, slots: Sequence[Slot], head: int) -> None:
        """Hand the same bytes over once more."""
        self._hand_over([(slot, slot.current) for slot in slots], head)

    def spawn(self, work: Coroutine[object, object, object]) -> None:
        """Run something beside the lane, as long as the lane lives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    @property
    def rested(self) -> bool:
        """Nothing was handed over for a while: what comes now is the first of a burst."""
        return time.monotonic() - self._handed_at > REST_S

    async def head_start(self) -> None:
        """Let what was handed over reach its sockets before the loop is busy with signing again."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=HEAD_START_S, return_when=asyncio.FIRST_COMPLETED)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self, grace_seconds: float) -> None:
        """Wait for answers that are under way, for so long."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_seconds)
        late = set(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _sign(self, drafts: Sequence[Draft], head: int) -> list[Form]:
        transfer_gas = self._transfer_gas()
        if len(drafts) == 1:  # the first of a burst: a task would let other work come before it
            signed = [await self._signer.sign(self._transaction(drafts[0], transfer_gas))]
        else:
            wanted = [self._transaction(draft, transfer_gas) for draft in drafts]
            signed = await asyncio.gather(*map(self._signer.sign, wanted))
        return [
            Form(draft.intent, one, draft.fees, draft.cancels, head, transfer_gas)
            for draft, one in zip(drafts, signed, strict=True)
        ]

    def _transaction(self, draft: Draft, transfer_gas: int) -> Transaction:
        intent, nonce = draft.intent, draft.slot.nonce
        if draft.cancels:
            return Transaction(self._chain_id, nonce, self._signer.address, b"", transfer_gas, draft.fees)
        return Transaction(self._chain_id, nonce, intent.target, intent.data, intent.gas_limit, draft.fees)

    async def _put_on_disk(self, drafts: Sequence[Draft], forms: Sequence[Form]) -> None:
        now = time.time()
        rows = [
            TransactionRow(
                form.signed.hash,
                form.intent.id,
                self._chain_id,
                self._signer.address,
                draft.slot.nonce,
                "cancellation" if form.cancels else "liquidation",
                form.signed.raw,
                form.fees.max_wei,
                form.fees.tip_wei,
                form.made_at,
                now,
            )
            for draft, form in zip(drafts, forms, strict=True)
        ]
        await self._journal.intend([draft.intent for draft in drafts if draft.is_new], rows)

    def _supersede(self, draft: Draft) -> None:
        """Tell whose nonce this was that somebody else has it now; either may still be mined, never both."""
        for other in draft.slot.intents():
            if self._books.is_open(other):
                self._books.step(other, OutcomeState.REPLACED, f"its nonce went to {draft.intent.account}")

    def _hand_over(self, signed: Sequence[tuple[Slot, Form]], head: int) -> None:
        """Give each relay its part, in the order of the nonces, and listen to what becomes of it."""
        by_relay: dict[Relay, list[tuple[Slot, Form]]] = {}
        for slot, form in signed:
            by_relay.setdefault(self.relay_of(form.intent.market), []).append((slot, form))
        for relay, part in by_relay.items():
            now_ns, self._handed_at = time.perf_counter_ns(), time.monotonic()
            told = relay.send_all([form.signed.raw for _, form in part], head)
            for (slot, form), delivery in zip(part, told, strict=True):
                form.handed_ns = form.handed_ns or now_ns
                form.unanswered += 1
                self.spawn(self._listen(slot, form, delivery))

    async def _listen(self, slot: Slot, form: Form, told: Awaitable[Delivery]) -> None:
        try:
            delivery = await told
        finally:
            form.unanswered -= 1
        if self._nonces.slots.get(slot.nonce) is not slot:
            return
        if slot.current is form:
            self._heard(slot, form, delivery)
        elif delivery.answer in (Answer.ACCEPTED, Answer.UNCERTAIN):
            slot.accepted = True

    def _heard(self, slot: Slot, form: Form, delivery: Delivery) -> None:
        """Draw the conclusion from an answer; what needs a look at the chain waits for the next head or look."""
        match delivery.answer:
            case Answer.ACCEPTED:
                is_first = not form.acknowledged and form is slot.first_of(form.intent)
                if is_first and self._books.is_open(form.intent):
                    self._books.step(form.intent, OutcomeState.SENT, form=form)
                form.acknowledged = slot.accepted = True
                slot.refusals, slot.last_refusal = 0, ""
                return
            case Answer.UNCERTAIN:
                slot.accepted = True
            case Answer.NONCE_TOO_LOW:
                slot.too_low = True
                self._doubt()
            case Answer.UNDERPRICED:
                slot.too_cheap = True
            case Answer.NO_FUNDS:
                self._out_of_funds()
                self._refused(slot, form, delivery)
            case Answer.REFUSED:
                slot.refusals += 1
                if slot.refusals >= REFUSALS and self._refused(slot, form, delivery):
                    self._books.take_to_heart(form.intent.market, form.intent.account, Action.UNKNOWN, form.made_at)
        if slot.last_refusal != delivery.answer.value:
            slot.last_refusal = delivery.answer.value
            log.warning(
                "lane.not-accepted",
                nonce=slot.nonce,
                transaction=form.signed.hash,
                answer=delivery.answer.value,
                text=delivery.text,
            )

    def _refused(self, slot: Slot, form: Form, delivery: Delivery) -> bool:
        """Give a transaction up that no node took; its nonce is spare. What a node may have taken stays in flight."""
        if slot.may_be_held or not delivery.certain:
            return False
        slot.live = False
        self._books.give_up(form.intent, OutcomeState.ABANDONED, delivery.text)
        return True

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault in our own code: loud, and not in the way of the other transactions.
            log.error("lane.task-failed", exc_info=error)
