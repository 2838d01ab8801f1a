"""The loop of one market: inputs in, decisions out. It knows no protocol and no RPC method.

Two kinds of input exist: the chain moved (``Advance``), or a price was seen off the chain (``PriceTick``). Whatever has
gathered is applied, then one round decides. While the mirror is between two blocks nothing is decided: acting on a
state that is known to be old is how accounts get sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from keeper.engine.executors import Executor
from keeper.engine.planner import Skip, Terms, Withdrawal, decide
from keeper.engine.room import GasUse, Room
from keeper.errors import ChainError, ProtocolError, StoreError
from keeper.model import (
    Advance,
    Eligibility,
    Header,
    Liquidation,
    Outcome,
    OutcomeState,
    PriceTick,
    Reader,
    Row,
    Timed,
    Window,
    untimed,
)
from keeper.protocols.market import Market, Worth

_log = structlog.get_logger(__name__)

RETRY_S = 0.1
"""After a failed read of a block, how long until the next attempt."""

BATCH = 16
"""After the first, decisions are handed over in groups of this size: one journal commit each."""


class DecisionLog(Protocol):
    """Where decisions not to send are written down."""

    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool: ...


class Clock(Protocol):
    """Says when the next block may come."""

    def window(self) -> Window: ...


Save = Callable[[Header, Sequence[Row]], Awaitable[None]]


@dataclass(slots=True)
class Tally:
    """Plain counts for logs, tables and metrics."""

    rounds: int = 0
    candidates: int = 0
    decided: int = 0
    skipped: int = 0
    sent: int = 0
    mined: int = 0
    reverted: int = 0
    lost: int = 0
    """On their way from us when somebody else was first."""
    skips: Counter[str] = field(default_factory=Counter)
    """By reason, as are ``reverts``."""
    reverts: Counter[str] = field(default_factory=Counter)


class MarketLoop:
    """Owns one market's mirror over time: its inputs, what it holds back, and what it last said."""

    def __init__(
        self,
        market: Market,
        reader: Reader,
        clock: Clock,
        executor: Executor,
        decisions: DecisionLog,
        worth: Callable[[], Worth],
        save: Save,
        timed: Timed = untimed,
        gas_use: GasUse | None = None,
    ) -> None:
        self.market = market
        self.tally = Tally()
        self.head: Header | None = None
        self.eligibility: dict[str, Eligibility] = {}
        self.eligibility_since: dict[str, int] = {}
        """By sender: the first second at which the present answer, by its reason, was known to hold."""
        self._reader = reader
        self._clock = clock
        self._executor = executor
        self._decisions = decisions
        self._worth = worth
        self._save = save
        self._timed = timed
        self._inputs: asyncio.Queue[Advance | PriceTick] = asyncio.Queue()
        self._behind: Advance | None = None
        self._settling: dict[str, int] = {}
        self._closed: set[str] = set()
        """Accounts that the chain shows closed by us while the lane still waits for the receipt."""
        self._told: dict[str, str] = {}
        self._gas_use = gas_use or GasUse()
        self._stopped_by = ""
        self._untold = False

    def offer(self, item: Advance | PriceTick) -> None:
        """Hand an input over. Never blocks."""
        self._inputs.put_nowait(item)

    def on_outcome(self, outcome: Outcome) -> None:
        """Learn what became of a liquidation of this market."""
        if outcome.state is OutcomeState.SENT:
            self.tally.sent += 1
        elif outcome.state is OutcomeState.MINED:
            self.tally.mined += 1
            if outcome.gas_limit:
                self._gas_use.saw(outcome.gas_limit, outcome.gas_used)
        elif outcome.state is OutcomeState.REVERTED:
            self.tally.reverted += 1
            self.tally.reverts[outcome.reason] += 1
        elif outcome.state is OutcomeState.SKIPPED:
            self.tally.skips[outcome.reason] += 1
        if outcome.block_number is not None:
            # Mined, but the mirror may not have seen that block yet: until it has, the account is not touched.
            self._settling[outcome.account] = outcome.block_number

    @property
    def behind(self) -> bool:
        """The last block could not be read yet."""
        return self._behind is not None

    @property
    def stopped_by(self) -> str:
        """Why nothing is sent; empty if nothing stops it."""
        return self._stopped_by

    def stop_sending(self, reason: str) -> None:
        """Decide on, send nothing, until ``resume``."""
        self._stopped_by = reason

    def resume(self) -> None:
        self._stopped_by = ""

    async def run(self, head: Header) -> None:
        """Work until cancelled; again, if the mirror was read anew meanwhile. The mirror stands at ``head``."""
        self.head = head
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.market.watch(self.offer), name=f"{self.market.name}.prices")
                tasks.create_task(self._work(), name=f"{self.market.name}.loop")
        finally:
            # Blocks that have gathered belong to the mirror as it was: applied to another, they would take it back.
            self._behind = None
            while not self._inputs.empty():
                self._inputs.get_nowait()

    async def _work(self) -> None:
        while True:
            item = await self._next()
            seen_ns = item.seen_ns
            changed = await self._take(item)
            while not self._inputs.empty():
                changed |= await self._take(self._inputs.get_nowait())
            if changed and self._behind is None:
                await self._round(seen_ns)
            if self.head is not None:
                await self._save(self.head, self.market.rows())

    async def _next(self) -> Advance | PriceTick:
        """The next input; what could not be read is tried again when none comes."""
        if self._behind is None:
            return await self._inputs.get()
        try:
            async with asyncio.timeout(RETRY_S):
                return await self._inputs.get()
        except TimeoutError:
            return replace(self._behind, logs=(), undone=())

    async def _take(self, item: Advance | PriceTick) -> bool:
        if isinstance(item, PriceTick):
            return self.market.take(item)
        advance = item if self._behind is None else _joined(self._behind, item)
        try:
            await self.market.apply(advance, self._reader)
        except (ChainError, ProtocolError) as error:
            # Nothing is lost: what these blocks made dirty is read with the next attempt, at the newest head.
            if self._behind is None:
                _log.warning("mirror behind", market=self.market.name, number=advance.head.number, came=str(error))
            self._behind = advance
            return False
        if self._behind is not None:
            _log.info("mirror caught up", market=self.market.name, number=advance.head.number)
            self._behind = None
        self.head = advance.head
        self._settling = {account: block for account, block in self._settling.items() if block > advance.head.number}
        self._closed &= set(self._executor.in_flight(self.market.name))
        for account, transaction_hash in self.market.closures(advance.logs):
            ours = account in self._executor.in_flight(self.market.name)
            if self._executor.closed(self.market.name, account, transaction_hash):
                self._closed.add(account)
            elif ours:
                self.tally.lost += 1
        return True

    async def _round(self, seen_ns: int) -> None:
        head = self.head
        if head is None:
            return
        self.tally.rounds += 1
        window = self._clock.window()
        sender = self._sender(window)
        round_ = self.market.round(window)
        worth = self._worth()
        terms = Terms(
            worth.native_price_e18,
            worth.min_profit_e18,
            self._executor.fee_per_gas_wei(head),
            self._executor.data_fee_wei,
        )
        # What the mirror shows closed by us only waits for its receipt.
        in_flight = [a for a in self._executor.in_flight(self.market.name) if a not in self._closed]
        batch: list[Liquidation] = []
        skips: list[Skip] = []
        first = True
        for decision in decide(
            self.market.name,
            round_,
            window,
            terms,
            in_flight=in_flight,
            call_data=lambda account: self._executor.call_data(self.market.name, account),
            held_back=_HeldBack(self._refuses(sender, window)),
            room=Room(head.gas_limit, self._gas_use),
            seen_ns=seen_ns,
            now_ns=time.perf_counter_ns,
        ):
            self.tally.candidates += 1
            if isinstance(decision, Skip):
                skips.append(decision)
                continue
            if isinstance(decision, Withdrawal):
                self._executor.withdraw(self.market.name, decision.account, decision.reason)
                continue
            if sender is None:
                skips.append(Skip(decision.account, self._refusal(), decision.reward_b0))
                continue
            batch.append(decision)
            if first or len(batch) == BATCH:
                first = False
                await self._submit(batch, sender, head)
                batch = []
        if batch and sender is not None:
            await self._submit(batch, sender, head)
        self._executor.sweep()
        await self._tell(skips, window)

    def _refuses(self, sender: str | None, window: Window) -> Callable[[str], bool]:
        def refuses(account: str) -> bool:
            if account in self._settling:
                return True
            if sender is None:
                return False
            return bool(self._executor.held_back(sender, self.market.name, account, window.number))

        return refuses

    async def _submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        self.tally.decided += len(batch)
        await self._executor.submit(batch, sender, head)
        for item in batch:
            self._timed(self.market.name, "decided", item.decided_ns - item.seen_ns)

    def _sender(self, window: Window) -> str | None:
        """The first sender that may liquidate at every second of the window; tells when the answer changes."""
        chosen: str | None = None
        for address in self._executor.senders():
            answers = [self.market.eligibility(address, at) for at in {window.earliest, window.latest}]
            answer = next((a for a in answers if not a.allowed), answers[0])
            before = self.eligibility.get(address)
            if before is None or (before.allowed, before.reason) != (answer.allowed, answer.reason):
                self.eligibility_since[address] = window.earliest
                tell = _log.info if answer.allowed else _log.warning
                tell(
                    "eligibility",
                    market=self.market.name,
                    liquidator=address,
                    allowed=answer.allowed,
                    reason=answer.reason,
                    detail=answer.detail,
                    until=answer.until,
                    remedy=answer.remedy,
                )
            self.eligibility[address] = answer
            if answer.allowed and chosen is None:
                chosen = address
        return None if self._stopped_by else chosen

    def _refusal(self) -> str:
        if self._stopped_by:
            return self._stopped_by
        reasons = sorted({f"not eligible: {answer.reason}" for answer in self.eligibility.values()})
        return ", ".join(reasons) or "no sender"

    async def _tell(self, skips: Sequence[Skip], window: Window) -> None:
        """Journal and log each lasting reason once, until it changes or the account recovers."""
        told: dict[str, str] = {}
        for skip in skips:
            if not skip.lasting:
                continue
            told[skip.account] = skip.reason
            if self._told.get(skip.account) == skip.reason:
                continue
            try:
                await self._decisions.skip(
                    "", self.market.name, skip.account, skip.reason, skip.reward_b0, window.number
                )
            except StoreError as error:
                # The next round tells them again.
                del told[skip.account]
                if not self._untold:
                    _log.error("decisions unwritable", market=self.market.name, error=str(error))
                self._untold = True
                break
            self._untold = False
            self.tally.skipped += 1
            self.tally.skips[skip.reason] += 1
            _log.info("left", market=self.market.name, account=skip.account, reason=skip.reason)
        self._told = told


def _joined(earlier: Advance, later: Advance) -> Advance:
    """Both moves as one."""
    return Advance(later.head, earlier.logs + later.logs, earlier.undone + later.undone, later.seen_ns)


class _HeldBack:
    """The accounts that are not to be touched now, as a collection."""

    def __init__(self, refuses: Callable[[str], bool]) -> None:
        self._refuses = refuses

    def __contains__(self, account: object) -> bool:
        return isinstance(account, str) and self._refuses(account)
