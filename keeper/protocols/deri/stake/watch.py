"""Being told in time: alerts about our stakes, and a steady comparison of what is mirrored with the contract's word."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import structlog

from keeper.errors import ChainError, ProtocolError
from keeper.model import Eligibility, Header, Log, Reader
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Plan, Wiring, run
from keeper.protocols.deri.privileger import deri, eligibility, is_qualified
from keeper.protocols.deri.stake.plan import headroom
from keeper.protocols.deri.state import ZERO_ADDRESS, PrivilegerState

_log = structlog.get_logger(__name__)

VERIFY_SECONDS = 60
"""Seconds of the chain's time between two comparisons with ``isQualifiedLiquidator``."""
LOCKED = "minLockTime not met"
"""How the revert ends with which ``isQualifiedLiquidator`` answers while a lock runs."""


class AlertKind(enum.StrEnum):
    HEADROOM_LOW = "stake.headroom-low"
    BELOW_AVERAGE = "stake.below-average"
    LOCK_ENDED = "stake.lock-ended"
    PRIVILEGER_CHANGED = "stake.privileger-changed"
    """Another privileger, or another implementation of it: its rules may have changed."""
    IMPLEMENTATION_CHANGED = "stake.implementation-changed"
    """Of the pool or something else behind it, which may read another privileger."""
    MISMATCH = "stake.mismatch"
    """The contract's own answer is not ours."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that the owner should know. ``subject`` is the liquidator or the contract that it is about."""

    kind: AlertKind
    market: str
    subject: str
    text: str
    cleared: bool = False
    """What was told before is over."""


Tell = Callable[[Alert], None]


class StakeWatch:
    """Watches the stakes of one market over time. ``observe`` at every head; ``run`` compares in the background."""

    def __init__(self, market: str, liquidators: Sequence[str], headroom_alert_percent: Decimal = Decimal(5)) -> None:
        self.mismatches = 0
        """How often the contract's word was not ours."""
        self._market = market
        self._liquidators = tuple(liquidators)
        self._least_percent = headroom_alert_percent
        self._listeners: list[Tell] = []
        self._raised: set[tuple[AlertKind, str]] = set()
        self._parts: Wiring | None = None
        self._answers: dict[str, Eligibility] = {}
        self._verified_at = 0
        self._due: asyncio.Queue[tuple[Reader, Header, Wiring, PrivilegerState]] = asyncio.Queue(1)
        self._unread = False
        self._log = _log.bind(market=market)

    def listen(self, tell: Tell) -> None:
        """Have alerts told to ``tell`` too; they are logged anyway."""
        self._listeners.append(tell)

    def observe(
        self, head: Header, parts: Wiring, state: PrivilegerState | None, logs: Sequence[Log], reader: Reader | None
    ) -> None:
        """Take in the stakes as they are at ``head``, and the logs that led there. No I/O.

        With a ``reader``, a comparison with the contract is left for ``run`` whenever one is due.
        """
        self._notice_contracts(parts, logs)
        for liquidator in self._liquidators:
            self._notice(liquidator, state, head.timestamp)
        if state is None or reader is None or head.timestamp < self._verified_at + VERIFY_SECONDS:
            return
        if self._due.empty():
            self._verified_at = head.timestamp
            self._due.put_nowait((reader, head, parts, state))

    async def run(self) -> None:
        """Compare with the contract whenever it is due, until cancelled."""
        while True:
            reader, head, parts, state = await self._due.get()
            try:
                await self.verify(reader, head, parts, state)
            except (ChainError, ProtocolError) as error:
                if not self._unread:
                    self._log.warning("the stakes can't be compared with the contract", error=str(error))
                self._unread = True
            else:
                self._unread = False

    async def verify(self, reader: Reader, head: Header, parts: Wiring, state: PrivilegerState) -> int:
        """Ask ``isQualifiedLiquidator`` for every liquidator at ``head`` and compare; how many answers were not ours.

        Raises ``ChainError`` if no node can answer.
        """
        answers = await run(qualified(parts.privileger, self._liquidators), reader, head.hash)
        wrong = 0
        for liquidator, answer in zip(self._liquidators, answers, strict=True):
            ours = is_qualified(state, liquidator, head.timestamp)
            if answer == ours:
                self._clear(AlertKind.MISMATCH, liquidator, "the contract and the mirror agree again")
                continue
            wrong += 1
            said = f"the privileger says {_spoken(answer)}, the mirror {_spoken(ours)}, at block {head.number}"
            self._raise(AlertKind.MISMATCH, liquidator, f"{said}; the stakes mirrored are {state}")
        self.mismatches += wrong
        return wrong

    # What changes mean

    def _notice(self, liquidator: str, state: PrivilegerState | None, at: int) -> None:
        before, now = self._answers.get(liquidator), eligibility(state, liquidator, at)
        self._answers[liquidator] = now
        if before is not None and before.reason == "locked" and now.reason != "locked":
            self._raise(
                AlertKind.LOCK_ENDED, liquidator, f"the lock has ended: {now.reason}, {now.detail}", lasts=False
            )
        if now.reason == "below-average":
            self._raise(AlertKind.BELOW_AVERAGE, liquidator, f"{now.detail}; {now.remedy}")
        else:
            self._clear(AlertKind.BELOW_AVERAGE, liquidator, f"{now.reason}: {now.detail}")
        if state is not None:
            self._notice_headroom(liquidator, state, now)

    def _notice_headroom(self, liquidator: str, state: PrivilegerState, now: Eligibility) -> None:
        room = headroom(state, liquidator)
        low = now.allowed and room.percent is not None and room.percent < self._least_percent
        if low and room.present is not None and room.percent is not None:
            self._raise(
                AlertKind.HEADROOM_LOW,
                liquidator,
                f"the others may add {deri(room.present)} ({room.percent:.2f} % of what they hold, the alert is at "
                f"{self._least_percent} %) before the stake falls below the average; `keeper stake plan` helps",
            )
        else:
            self._clear(AlertKind.HEADROOM_LOW, liquidator, f"{now.reason}: {now.detail}")

    def _notice_contracts(self, parts: Wiring, logs: Sequence[Log]) -> None:
        before, self._parts = self._parts, parts
        if before is not None and (before.privileger, before.deri) != (parts.privileger, parts.deri):
            said = f"it was {_named(before.privileger)} with the token {before.deri}, it is {_named(parts.privileger)}"
            text = f"{said} with the token {parts.deri}; stakes in the old one count no more"
            self._raise(AlertKind.PRIVILEGER_CHANGED, parts.privileger, text, lasts=False)
        for log in logs:
            if log.topics[:1] != (abi.NEW_IMPLEMENTATION,):
                continue
            if log.address in (parts.privileger, before.privileger if before else ZERO_ADDRESS):
                kind, what = AlertKind.PRIVILEGER_CHANGED, "the privileger"
            else:
                kind, what = AlertKind.IMPLEMENTATION_CHANGED, "the contract"
            text = f"{what} {log.address} has a new implementation since block {log.block_number}; its rules may differ"
            self._raise(kind, log.address, text, lasts=False)

    # Telling

    def _raise(self, kind: AlertKind, subject: str, text: str, *, lasts: bool = True) -> None:
        """Tell once; what lasts is not told again before it was cleared."""
        if lasts:
            if (kind, subject) in self._raised:
                return
            self._raised.add((kind, subject))
        self._log.warning(kind.value, subject=subject, detail=text)
        self._tell(Alert(kind, self._market, subject, text))

    def _clear(self, kind: AlertKind, subject: str, text: str) -> None:
        if (kind, subject) in self._raised:
            self._raised.discard((kind, subject))
            self._log.info(kind.value, subject=subject, detail=text, cleared=True)
            self._tell(Alert(kind, self._market, subject, text, cleared=True))

    def _tell(self, alert: Alert) -> None:
        for tell in self._listeners:
            tell(alert)


def qualified(privileger: str, liquidators: Sequence[str]) -> Plan[list[bool | None]]:
    """``isQualifiedLiquidator`` for each: its answer, and None where it reverts because a lock runs.

    Raises ``ProtocolError`` for any other revert, and for an answer that is none.
    """
    getter = abi.IS_QUALIFIED_LIQUIDATOR
    results = yield [getter.at(privileger, abi.address_word(liquidator)) for liquidator in liquidators]
    return [
        None if not result.ok and abi.revert_reason(result.data).endswith(LOCKED) else getter.answer(result, privileger)
        for result in results
    ]


def _spoken(answer: bool | None) -> str:
    return {True: "qualified", False: "not qualified", None: "locked"}[answer]


def _named(privileger: str) -> str:
    return "none" if privileger == ZERO_ADDRESS else privileger
