"""A lane's books: who is claimed, paused or stopped, what was paid; every step goes to the journal and to listeners."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import structlog

from keeper.chain.budget import Budget
from keeper.chain.nonces import Form
from keeper.chain.receipts import Receipt
from keeper.chain.reverts import Action, Pauses, Revert
from keeper.errors import KeeperError
from keeper.model import Liquidation, Outcome, OutcomeState, Timed, untimed
from keeper.store.journal import UNREAD, Intent, Journal, StateRow

log = structlog.get_logger(__name__)

Claims = dict[tuple[str, str], str]
"""(market, account) to the address of the lane that has it in flight. Shared by all lanes of a daemon."""

Alert = Callable[[str, str | None], None]
"""Raise an alert by name with a sentence, or clear it with None."""

Realised = Callable[[Outcome], int | None]
"""What a mined liquidation really paid, in raw units of the reward token, from its receipt's logs.

None if nobody can tell yet (its market is not read yet): it is asked again at every head, and after a restart.
"""


class Books:
    """Keeps account of intents. Synchronous: the journal writes behind it, in order."""

    def __init__(
        self,
        lane: str,
        journal: Journal,
        budget: Budget,
        pauses: Pauses,
        claims: Claims,
        realised: Realised,
        tell: Callable[[Outcome], None],
        alert: Alert,
        clock: Callable[[], float],
        timed: Timed = untimed,
    ) -> None:
        self.lane = lane
        self.journal = journal
        self.budget = budget
        self.pauses = pauses
        self._claims = claims
        self._realised = realised
        self._tell = tell
        self._alert = alert
        self._clock = clock
        self._timed = timed
        self._raised: dict[str, str] = {}
        self._open: dict[int, Intent] = {}
        self._begun_ns: dict[int, int] = {}
        self._unread: list[tuple[Intent, Receipt]] = []

    # Claims

    def refusal(self, market: str, account: str, number: int) -> str:
        """Why an account may not be claimed for block ``number``; empty if it may."""
        holder = self._claims.get((market, account))
        if holder is not None:
            return "already in flight" if holder == self.lane else "in flight in another lane"
        return self.pauses.why(market, account, number)

    def claim(self, market: str, account: str) -> None:
        self._claims[market, account] = self.lane

    def release(self, market: str, account: str) -> None:
        if self._claims.get((market, account)) == self.lane:
            del self._claims[market, account]

    def let_go(self, market: str, account: str) -> None:
        """Release an account unless an intent for it is open."""
        if not any((intent.market, intent.account) == (market, account) for intent in self._open.values()):
            self.release(market, account)

    def holds(self, market: str, account: str) -> bool:
        return self._claims.get((market, account)) == self.lane

    # Steps

    def open(self, intent: Intent, begun_ns: int = 0) -> None:
        """An intent is on disk and may be mined from now on."""
        self._open[intent.id] = intent
        if begun_ns:
            self._begun_ns[intent.id] = begun_ns
        self.claim(intent.market, intent.account)

    def signed(self, intents: Iterable[Intent], at_ns: int) -> None:
        """New intents were signed and handed over; tells how long either took."""
        now_ns = time.perf_counter_ns()
        for intent in intents:
            if begun_ns := self._begun_ns.get(intent.id):
                self._timed(intent.market, "signed", at_ns - begun_ns)
                self._timed(intent.market, "sent", now_ns - begun_ns)

    def is_open(self, intent: Intent) -> bool:
        return intent.id in self._open

    def skip(self, item: Liquidation, reason: str) -> Outcome:
        outcome = Outcome(item.market, item.account, OutcomeState.SKIPPED, reason)
        self._tell(outcome)
        return outcome

    def step(self, intent: Intent, state: OutcomeState, reason: str = "", form: Form | None = None) -> None:
        """An intent was sent or replaced: it can still be mined."""
        transaction_hash = form.signed.hash if form else None
        self._record(intent, StateRow(intent.id, state, self._clock(), reason, hash=transaction_hash), form)

    def give_up(self, intent: Intent, state: OutcomeState, reason: str) -> None:
        """An intent ends without a transaction of its own on chain."""
        if not self.is_open(intent):
            return
        self._record(intent, StateRow(intent.id, state, self._clock(), reason))
        self._close(intent)

    def paid(self, receipt: Receipt) -> None:
        """What is on chain is at risk no longer, but paid."""
        self.budget.pay(self._clock(), receipt.fee_wei)

    def mined(self, form: Form, receipt: Receipt, revert: Revert | None) -> None:
        """A form of an intent is on chain: earned, reverted or cancelled. What it cost is told to ``paid``."""
        intent = form.intent
        reason, action, reward_b0 = "", "", 0
        if form.cancels:
            state = OutcomeState.CANCELLED
        elif revert is not None:
            state, reason, action = OutcomeState.REVERTED, revert.reason or "no reason given", revert.action.value
        else:
            state = OutcomeState.MINED
            told = self._reward(intent, receipt)
            reward_b0, reason = (0, UNREAD) if told is None else (told, "")
            if told is None:
                self._unread.append((intent, receipt))
        row = replace(_mined_row(intent, receipt, self._clock(), reward_b0), state=state, reason=reason, action=action)
        self._record(intent, row, form, receipt)
        self._close(intent)
        if revert is not None:
            self.take_to_heart(intent.market, intent.account, revert.action, receipt.block_number)
        elif state is OutcomeState.MINED:
            self.pauses.succeeded(intent.market, intent.account)

    def read_rewards(self) -> None:
        """Ask again what was paid by liquidations that were mined before anybody could tell."""
        for intent, receipt in list(self._unread):
            reward_b0 = self._reward(intent, receipt)
            if reward_b0 is not None:
                self._unread.remove((intent, receipt))
                self.journal.record(_mined_row(intent, receipt, self._clock(), reward_b0))

    def read_later(self, intent: Intent, receipt: Receipt) -> None:
        """The reward of something that ended before the restart is still to be read."""
        self._unread.append((intent, receipt))

    def undone(self, form: Form, fee_wei: int) -> None:
        """A reorg took the block of a mined form: nothing was paid or earned, and it may be mined again."""
        self.budget.pay(self._clock(), -fee_wei)
        self._unread = [(intent, receipt) for intent, receipt in self._unread if intent.id != form.intent.id]
        self.open(form.intent)
        self.step(form.intent, OutcomeState.SENT, "a reorg undid its block", form)

    def take_to_heart(self, market: str, account: str, action: Action, number: int) -> None:
        """Pause an account after a revert, and stop it for good if nobody understands it."""
        if self.pauses.reverted(market, account, action, number):
            self.raise_alert(
                f"account-stopped:{market}:{account}",
                f"{account} in {market} reverted twice in a row for a reason that is not understood; it is left alone",
            )

    # Alerts

    def raise_alert(self, name: str, sentence: str) -> None:
        """Raise an alert once, until it is cleared."""
        if name not in self._raised:
            self._raised[name] = sentence
            log.error("lane.alert", lane=self.lane, alert=name, text=sentence)
            self._alert(name, sentence)

    def clear_alert(self, name: str) -> None:
        if name in self._raised:
            del self._raised[name]
            log.info("lane.alert-cleared", lane=self.lane, alert=name)
            self._alert(name, None)

    def alerts(self) -> Mapping[str, str]:
        """What is raised at present, with its sentences."""
        return dict(self._raised)

    def _close(self, intent: Intent) -> None:
        self._open.pop(intent.id, None)
        self._begun_ns.pop(intent.id, None)
        self.let_go(intent.market, intent.account)

    def _reward(self, intent: Intent, receipt: Receipt) -> int | None:
        try:
            return self._realised(_outcome(intent, OutcomeState.MINED, "", receipt))
        except (KeeperError, LookupError, ValueError) as error:
            log.warning("lane.reward-unread", market=intent.market, account=intent.account, error=repr(error))
            return None

    def _record(self, intent: Intent, row: StateRow, form: Form | None = None, receipt: Receipt | None = None) -> None:
        begun_ns = self._begun_ns.get(intent.id)
        if begun_ns and row.state in (OutcomeState.SENT, OutcomeState.MINED):
            until_ns = form.handed_ns if form and row.state is OutcomeState.SENT else time.perf_counter_ns()
            row = replace(row, elapsed_us=(until_ns - begun_ns) // 1000)
            stage = "mined" if row.state is OutcomeState.MINED else "accepted"
            self._timed(intent.market, stage, time.perf_counter_ns() - begun_ns)
        self.journal.record(row)
        log.info(
            f"liquidation.{row.state.value}",
            market=intent.market,
            account=intent.account,
            transaction=row.hash,
            reason=row.reason or None,
            block=row.block_number,
            **(_settled(row) if row.block_number is not None else {}),
        )
        outcome = _outcome(intent, row.state, row.reason, receipt)
        if intent.market:  # a filler of a nonce gap concerns nobody
            self._tell(replace(outcome, transaction_hash=row.hash, reward_b0=row.reward_b0))


def _settled(row: StateRow) -> dict[str, int]:
    return {"reward_b0": row.reward_b0, "gas_used": row.gas_used, "fee_wei": row.fee_wei}


def _mined_row(intent: Intent, receipt: Receipt, at: float, reward_b0: int) -> StateRow:
    return StateRow(
        intent.id,
        OutcomeState.MINED,
        at,
        hash=receipt.hash,
        block_number=receipt.block_number,
        block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        fee_wei=receipt.fee_wei,
        reward_b0=reward_b0,
    )


def _outcome(intent: Intent, state: OutcomeState, reason: str, receipt: Receipt | None) -> Outcome:
    if receipt is None:
        return Outcome(intent.market, intent.account, state, reason)
    return Outcome(
        intent.market,
        intent.account,
        state,
        reason,
        receipt.hash,
        receipt.block_number,
        gas_used=receipt.gas_used,
        gas_limit=intent.gas_limit,
        fee_wei=receipt.fee_wei,
        logs=receipt.logs,
    )
