"""The lane: the one place that sends. One lane per signer; it owns the signer's nonces.

The contract of its behaviour, clause by clause (tests are named after them):

 1. Journal first. An intent and its signed bytes are on disk before the bytes leave. If they can't be written or
    signed, nothing is sent and no nonce is used.
 2. One account, one lane, one intent. An account in flight is refused until its outcome is final, by every lane that
    shares the claims; an account is paused after a revert.
 3. Nonces are local and pipelined. Submitting asks the node nothing; the first transaction of a batch leaves before the
    second is signed.
 4. Start reconciles. Whatever the journal holds that the chain may not have seen the end of is compared with the
    chain's counts, receipts and pending transactions before anything new is sent. What the node does not know is not
    sent again: its nonce is spare.
 5. Uncertainty is not failure. After a timeout or a lost transaction the same bytes are handed over again until a
    receipt shows the end, or the nonce turns out to be used by something else.
 6. Replacement. A transaction that the next block can't or didn't take is replaced at the same nonce by
    ``gas.next_fees``: at least 12.5% dearer than anything ever offered at that nonce, never above the ceiling.
 7. Withdrawal. A transaction that became useless gives its nonce to the next liquidation, or is cancelled by a transfer
    to ourselves where that is cheaper than letting it revert: as soon as the round is over that found it useless, so
    that the next block does not mine it. A liquidation that has to come behind what is in flight takes no nonce before
    it. What a rival's transaction, seen waiting, will come before is cancelled at once, once for an account.
 8. Nothing stands in the way. A transaction whose ceiling no longer reaches the market is cancelled when it blocks
    others behind it; gaps between nonces are filled.
 9. ``nonce too low`` is a question, not an answer: the chain is asked for the count and the receipts. A nonce used by a
    stranger ends its intent as abandoned, and the next nonce is the chain's; so it is with nothing in flight.
10. The budget. What was paid in the last hour and day, plus all that is in flight at its ceiling, never exceeds the
    limits or the wallet; then nothing new is sent, and an alert is raised until there is room again.
11. Reverts are understood, and pause or stop the account (``reverts``).
12. A receipt is final after ``finality_blocks``. A reorg before that puts the transaction back in flight, and takes its
    reward and cost back.
13. Closing sends nothing new, waits for the answers under way, and leaves the journal complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from keeper.chain.books import Alert, Books, Claims, Realised
from keeper.chain.budget import DAY_SECONDS, Budget
from keeper.chain.data_fee import DataFee, NoDataFee
from keeper.chain.dispatch import Dispatch, Draft
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.gas import Demand, FeeMarket, bid, next_base_fee_wei
from keeper.chain.mending import LaneSettings as LaneSettings
from keeper.chain.mending import Mending
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.receipts import Node
from keeper.chain.recovery import recover
from keeper.chain.relay import Relay
from keeper.chain.reverts import RULES, Action, Pauses, Rule
from keeper.chain.rivals import Rivals
from keeper.chain.settlement import Settlement
from keeper.chain.signer import Signer
from keeper.chain.transaction import Fees
from keeper.errors import ChainError, StoreError
from keeper.model import Header, Liquidation, Outcome, OutcomeState, Timed, untimed
from keeper.store.journal import Intent, Journal

log = structlog.get_logger(__name__)

FIRST_CHUNK, NEXT_CHUNKS = 1, 16
"""How many liquidations share a journal commit: the first of a burst goes alone, so that its bytes leave at once."""

AHEAD = "somebody else's liquidation will be mined before"
CLOSING = "the lane is closing"

IDLE_LOOK_BLOCKS = 16
"""With nothing in flight, the wallet and the nonce are looked at every so many blocks."""


class Lane:
    """One signer's lane. ``start`` once, then ``submit`` and ``on_head`` for every round; ``close`` at the end."""

    def __init__(
        self,
        signer: Signer,
        node: Node,
        public: Relay,
        journal: Journal,
        settings: LaneSettings,
        *,
        relays: Mapping[str, Relay] | None = None,
        data_fee: DataFee | None = None,
        rules: Sequence[Rule] = RULES,
        claims: Claims | None = None,
        realised: Realised = lambda outcome: None,
        outcomes: Callable[[Outcome], None] = lambda outcome: None,
        alert: Alert = lambda name, sentence: None,
        clock: Callable[[], float] = time.time,
        timed: Timed = untimed,
    ) -> None:
        """``relays`` are private ways by market; the others go to ``public``. ``clock`` gives Unix seconds."""
        self.address = signer.address
        self._node = node
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._data_fee = data_fee or NoDataFee()
        self._nonces = Nonces(self._data_fee.on_top_wei)
        self._budget = Budget(settings.limits)
        self._books = Books(
            signer.address,
            journal,
            self._budget,
            Pauses(),
            claims if claims is not None else {},
            realised,
            self._hear,
            alert,
            clock,
            timed,
        )
        self._settlement = Settlement(node, self._nonces, self._books, rules, settings.finality_blocks)
        self._dispatch = Dispatch(
            signer,
            journal,
            self._nonces,
            self._books,
            public,
            relays or {},
            settings.chain_id,
            lambda: self._fee_watch.transfer_gas(self._base_fee_wei),
            self._doubt,
            self._out_of_funds,
        )
        self._mending = Mending(
            node, journal, self._nonces, self._settlement, self._books, self._dispatch, self._budget, settings, clock
        )
        self._head: Header | None = None
        self._fee_watch = FeeWatch(node, settings.fees, self._data_fee)
        self._relays = relays or {}
        self._rivals = Rivals()
        self._conceding = False
        self._losses: dict[str, int] = {}
        self._outcomes = outcomes
        self._unaffordable_wei = 0
        """What the last liquidation would have cost that the budget or the wallet refused."""
        self._too_poor_wei = 0
        """What the wallet held when a node said that it could not pay."""
        self._unheard = False
        self._started = self._closing = False

    # What others may ask

    def in_flight(self, market: str, account: str) -> bool:
        """Whether this lane has a transaction for the account under way."""
        return self._books.holds(market, account)

    def accounts_in_flight(self, market: str) -> tuple[str, ...]:
        """The accounts of a market that are wanted and under way, in the order in which they will be mined."""
        return tuple(
            slot.current.intent.account
            for slot in self._nonces.live()
            if slot.current.intent.market == market and not slot.useless and not slot.current.cancels
        )

    def call_data(self, market: str, account: str) -> bytes:
        """What is under way for an account; empty if nothing is."""
        for slot in self._nonces.live():
            intent = slot.current.intent
            if (intent.market, intent.account) == (market, account):
                return intent.data
        return b""

    def sent(self, transaction_hash: str) -> bool:
        """Whether a transaction is one of those that this lane has under way."""
        return any(slot.by_hash(transaction_hash) for slot in self._nonces.slots.values())

    def held_back(self, market: str, account: str, number: int) -> str:
        """Why the account would be refused for block ``number``; empty if it would not."""
        return self._books.refusal(market, account, number) or self._behind_a_rival(market, account)

    def resume(self, market: str, account: str) -> None:
        """The operator looked at a stopped account: let it be liquidated again."""
        self._books.pauses.resume(market, account)
        self._books.clear_alert(f"account-stopped:{market}:{account}")

    def data_fee_wei(self, length: int) -> int:
        """What an L2 charges for call data of that length besides the gas, in wei; an upper bound."""
        return self._fee_watch.data_fee_wei(length, self._base_fee_wei) if self._head is not None else 0

    def fee_per_gas_wei(self, head: Header) -> int:
        """What a unit of gas is expected to cost a fresh transaction in the block after ``head``."""
        return self._fee_watch.price_wei(next_base_fee_wei(head, self._settings.fee_rules))

    @property
    def balance_wei(self) -> int:
        """The wallet's balance as of the last look."""
        return self._settlement.balance_wei

    @property
    def room_wei(self) -> int:
        """What the budget still allows, less all that is in flight."""
        return self._budget.room(self._clock()).wei - self._nonces.at_risk_wei()

    @property
    def under_way(self) -> int:
        """How many nonces are in use."""
        return len(self._nonces.slots)

    @property
    def alerts(self) -> Mapping[str, str]:
        """What is raised at present, with its sentences."""
        return self._books.alerts()

    # What the engine tells it

    async def start(self, head: Header) -> None:
        """Reconcile the journal with the chain (clause 4). ``ChainError`` or ``StoreError`` means: don't start."""
        self._head = head
        chain_id = self._settings.chain_id
        for at, wei in await self._journal.spent(chain_id, self.address, self._clock() - DAY_SECONDS):
            self._budget.pay(at, wei)
        for market, account, action in await self._journal.endings(chain_id, self.address):
            if action == Action.UNKNOWN:
                self._books.take_to_heart(market, account, Action.UNKNOWN, head.number)
            else:
                self._books.pauses.resume(market, account)
        private = frozenset(market for market, relay in self._relays.items() if relay.private)
        await recover(
            self._node, chain_id, self._journal, self._nonces, self._settlement, self._books, head, private,
            self._settings.finality_blocks,
        )  # fmt: skip
        await self._fee_watch.refresh()
        self._started = True

    def unsure_of(self, head: Header) -> frozenset[tuple[str, str]]:
        """Markets and accounts of which this lane can't say yet whether their liquidation still stands."""
        return self._settlement.unsure_of(head)

    async def submit(
        self, batch: Sequence[Liquidation], head: Header, unsure: frozenset[tuple[str, str]] = frozenset()
    ) -> None:
        """Send liquidations, most valuable first. Returns when all bytes are handed over, not when they are accepted.

        Asks the node nothing. What can't be sent is told as ``SKIPPED`` with the reason; nothing is raised for it.
        ``unsure`` is what other lanes are unsure of.
        """
        self._head = head if self._head is None or head.number >= self._head.number else self._head
        unsure |= self.unsure_of(head)
        wanted: list[Liquidation] = []
        for item in batch:
            if self._claim(item, head, unsure, len(self._nonces.slots) + len(wanted)):
                wanted.append(item)
        first = FIRST_CHUNK if self._dispatch.rested else 0
        rest = (wanted[at : at + NEXT_CHUNKS] for at in range(first, len(wanted), NEXT_CHUNKS))
        try:
            for chunk in filter(None, (wanted[:first], *rest)):
                async with self._dispatch.turn:
                    await self._open(chunk, head)
                if first:
                    first = 0
                    await self._dispatch.head_start()
        except BaseException:
            for item in wanted:
                self._books.let_go(item.market, item.account)
            raise

    def withdraw(self, market: str, account: str, reason: str) -> None:
        """What is in flight for the account is useless now (clause 7). Its nonce goes to the next liquidation, or is
        cancelled by ``sweep``, or at the next head.
        """
        for slot in self._nonces.live():
            intent = slot.current.intent
            if (intent.market, intent.account) == (market, account) and not slot.useless and not slot.current.cancels:
                slot.useless, slot.useless_since = reason, self._head.number if self._head else 0
                slot.swept = False
                log.info("lane.withdrawn", market=market, account=account, nonce=slot.nonce, reason=reason)

    def sweep(self) -> None:
        """A round is over. What is useless and kept its nonce is cancelled before the next block can mine it."""
        left = [slot for slot in self._nonces.live() if slot.useless and not (slot.swept or slot.current.cancels)]
        for slot in left:
            slot.swept = True
        if left and self._head is not None:
            useless = {slot.current.signed.hash: slot.useless for slot in left}
            self._dispatch.spawn(self._sweep(useless, self._head))

    async def _sweep(self, useless: Mapping[str, str], head: Header) -> None:
        # What the last block mined is settled first: there is nothing left to cancel of it.
        if await self._look(head, again=False):
            async with self._dispatch.turn:
                await self._cancel(lambda form: useless.get(form.signed.hash, ""))

    def rival_seen(self, market: str, account: str, fees: Fees) -> None:
        """Somebody else's liquidation of an account waits to be mined with these fees (clause 7)."""
        if self._head is None:
            return
        self._rivals.saw(market, account, fees, self._head.number)
        if self._books.holds(market, account) and not self._conceding:
            self._conceding = True
            self._dispatch.spawn(self._concede())

    async def _concede(self) -> None:
        async with self._dispatch.turn:
            self._conceding = False
            await self._cancel(self._conceded)

    async def _cancel(self, why: Callable[[Form], str]) -> None:
        if self._head is not None and not self._closing:
            await self._mending.cancel(self._head, self._market(self._head), self._losses, why)

    def lost(self, market: str) -> None:
        """A competitor was first; the profit-share policy bids more until a liquidation of ours is mined."""
        self._losses[market] = self._losses.get(market, 0) + 1

    async def on_head(self, head: Header) -> None:
        """Settle what was mined, then replace, cancel, send again and fill gaps as the new head asks for."""
        self._head = head
        self._rivals.follow(head.number)
        self._books.read_rewards()
        self._reconsider()
        doubts = self._settlement.follow(head)
        idle = not self._nonces.slots and self._settlement.balance_wei and not doubts
        if not idle or head.number % IDLE_LOOK_BLOCKS == 0:
            if not await self._look(head):
                return
            self._watch_balance()
            await self._mending.look_for_gap()
            async with self._dispatch.turn:
                if not self._closing:
                    await self._mending.mend(head, self._market(head), self._losses)
            if idle:
                await self._tidy()
        self._dispatch.spawn(self._fee_watch.refresh())

    async def answered(self) -> None:
        """Wait until the nodes have answered everything that was handed over so far."""
        await self._dispatch.idle()

    async def close(self, grace_seconds: float = 3.0) -> None:
        """Send nothing new, wait a little for answers, and complete the journal. What is in flight stays so."""
        self._closing = True
        async with self._dispatch.turn:
            pass  # Whoever was about to send has done so; whoever waited for the turn sends nothing now.
        await self._dispatch.close(grace_seconds)
        await self._journal.drain()

    # Submitting

    def _claim(self, item: Liquidation, head: Header, unsure: Collection[tuple[str, str]], in_flight: int) -> bool:
        reason = "" if self._started else "not reconciled with the chain yet"
        reason = reason or (CLOSING if self._closing else "")
        reason = reason or self._books.refusal(item.market, item.account, head.number + 1)
        reason = reason or self._behind_a_rival(item.market, item.account)
        if not reason and (item.market, item.account) in unsure:
            reason = "whether a reorg undid its last liquidation is not known yet"
        if not reason and in_flight >= self._settings.max_in_flight:
            reason = "too many transactions in flight"
        if reason:
            self._skip(item, reason)
            return False
        self._books.claim(item.market, item.account)
        return True

    def _behind_a_rival(self, market: str, account: str) -> str:
        """Why a fresh transaction would come too late for an account; empty if it would not."""
        # Asked of every candidate of a burst: what a transaction would cost is reckoned only where a rival is.
        if self._head is None or not self._rivals.want(market, account):
            return ""
        return self._ahead(market, account, self.fee_per_gas_wei(self._head))

    def _conceded(self, form: Form) -> str:
        return self._ahead(form.intent.market, form.intent.account, form.fees.price_at(self._base_fee_wei))

    def _ahead(self, market: str, account: str, price_wei: int) -> str:
        return AHEAD if self._rivals.ahead_of(market, account, price_wei, self._base_fee_wei) else ""

    @property
    def _base_fee_wei(self) -> int:
        """Of the next block; 0 on a chain without EIP-1559."""
        return self._market(self._head).base_fee_wei or 0 if self._head is not None else 0

    async def _open(self, items: Sequence[Liquidation], head: Header) -> None:
        """Price, sign, journal and hand over one chunk; whoever calls has the turn."""
        drafts: list[Draft] = []
        dropped: list[tuple[Liquidation, str]] = []
        if self._closing:
            dropped = [(item, CLOSING) for item in items]
            items = ()
        market = self._market(head)
        room = self._budget.room(self._clock())
        at_risk_wei = self._nonces.at_risk_wei()
        spare, fresh = self._nonces.spare(behind=any(item.behind for item in items)), self._nonces.next
        for item in items:
            intent = self._intent(item, market)
            slot, fees = self._price(intent, market, spare[0] if spare else None, fresh)
            cost_wei = intent.gas_limit * fees.max_wei + self._data_fee.on_top_wei(len(item.data)) if fees else 0
            if fees is None:
                dropped.append((item, "the next block's base fee is over the ceiling"))
            elif at_risk_wei + cost_wei > room.wei:
                self._unaffordable_wei = cost_wei
                self._books.raise_alert("budget-spent", f"{room.refusal}; nothing is sent until there is room again")
                dropped.append((item, room.refusal))
            elif at_risk_wei + cost_wei > self._settlement.balance_wei:
                self._unaffordable_wei = cost_wei
                self._books.raise_alert("insufficient-funds", f"the wallet {self.address} can't pay for the gas")
                dropped.append((item, "the wallet can't pay for the gas"))
            else:
                at_risk_wei += cost_wei
                drafts.append(Draft(slot, intent, fees, is_new=True, begun_ns=item.seen_ns))
                if slot.nonce == fresh:
                    fresh += 1
                else:
                    spare.pop(0)
        if drafts and not dropped:
            self._books.clear_alert("budget-spent")
            self._books.clear_alert("insufficient-funds")
            self._too_poor_wei = 0
        if not await self._dispatch.send(drafts, head.number):
            unsent = {(draft.intent.market, draft.intent.account) for draft in drafts}
            dropped += [
                (item, "it can't be signed or journaled") for item in items if (item.market, item.account) in unsent
            ]
        for item, reason in dropped:
            self._books.release(item.market, item.account)
            self._skip(item, reason)

    def _market(self, head: Header) -> FeeMarket:
        return self._fee_watch.market(next_base_fee_wei(head, self._settings.fee_rules))

    def _price(self, intent: Intent, market: FeeMarket, spare: Slot | None, fresh: int) -> tuple[Slot, Fees | None]:
        """Where to put a liquidation, and its fees: a spare nonce if it pays what that one needs, else a fresh one."""
        demand = Demand(intent.reward_wei, intent.gas_limit, losses=self._losses.get(intent.market, 0))
        slot = spare or self._nonces.at(fresh)
        fees = bid(self._settings.fees, market, demand, slot.floor)
        if fees is None and spare is not None:
            slot = self._nonces.at(fresh)
            fees = bid(self._settings.fees, market, demand, slot.floor)
        return slot, fees

    def _intent(self, item: Liquidation, market: FeeMarket) -> Intent:
        return Intent(
            self._journal.allot(),
            self._settings.chain_id,
            self.address,
            item.market,
            item.account,
            item.to,
            item.data,
            item.gas_limit + self._data_fee.extra_gas(len(item.data), market.base_fee_wei or market.gas_price_wei),
            item.reward_b0,
            max(0, item.reward_wei - self._data_fee.on_top_wei(len(item.data))),
            item.number,
            item.note,
            self._clock(),
        )

    def _skip(self, item: Liquidation, reason: str) -> None:
        self._books.skip(item, reason)
        self._dispatch.spawn(self._note_skip(item, reason))

    async def _note_skip(self, item: Liquidation, reason: str) -> None:
        try:
            await self._journal.skip(self.address, item.market, item.account, reason, item.reward_b0, item.number)
        except StoreError as error:
            self._books.raise_alert("journal", str(error))

    def _hear(self, outcome: Outcome) -> None:
        if outcome.state is OutcomeState.MINED:
            self._losses.pop(outcome.market, None)
        self._outcomes(outcome)

    # Tending what is in flight

    async def _look(self, head: Header, *, again: bool = True) -> bool:
        """Ask the chain what became of everything in flight. False if it did not answer: the next head asks again."""
        try:
            await self._settlement.look(head, again=again)
        except ChainError as error:
            if not self._unheard:
                log.warning("lane.chain-silent", lane=self.address, error=str(error))
            self._unheard = True
            return False
        self._unheard = False
        return True

    async def _tidy(self) -> None:
        try:
            await self._journal.checkpoint()
        except StoreError as error:
            # Nothing is lost by it; whether the journal can be written shows when it has to be.
            log.warning("lane.journal-untidy", lane=self.address, error=str(error))

    def _doubt(self) -> None:
        """A node said ``nonce too low``: look now rather than at the next head."""
        if self._head is not None:
            self._dispatch.spawn(self._look(self._head))

    def _out_of_funds(self) -> None:
        # It takes more than there seemed to be. Until the next look says otherwise, nothing can be afforded.
        self._too_poor_wei = max(self._too_poor_wei, self.balance_wei)
        self._settlement.balance_wei = 0
        self._books.raise_alert("insufficient-funds", f"the wallet {self.address} can't pay for the gas")

    def _reconsider(self) -> None:
        """What could not be afforded may be affordable by now, also if nobody asks any more."""
        if self.room_wei >= self._unaffordable_wei:
            self._books.clear_alert("budget-spent")
        enough = self.balance_wei - self._nonces.at_risk_wei() >= self._unaffordable_wei
        if enough and self.balance_wei > self._too_poor_wei:
            self._books.clear_alert("insufficient-funds")
            self._too_poor_wei = 0

    def _watch_balance(self) -> None:
        if self._settlement.balance_wei < self._settings.low_balance_wei:
            self._books.raise_alert("low-balance", f"the wallet {self.address} is below the configured least balance")
        else:
            self._books.clear_alert("low-balance")
