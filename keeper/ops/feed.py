"""What happens, as it happens: a short memory of events that others may read from another thread.

The event loop that liquidates only appends; who wants to know looks now and then. So a burst wakes nobody up, and a
reader that is slow, or gone, is nobody's trouble but its own.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from dataclasses import dataclass

from keeper.model import Outcome, OutcomeState
from keeper.views import Cause

REMEMBERED = 500


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, as the console shows it. Amounts are raw, as in ``Outcome``."""

    id: int
    at: float
    """Unix seconds."""
    kind: str
    """An ``OutcomeState``'s value, ``raised``, ``cleared`` or ``operator``."""
    market: str = ""
    account: str = ""
    text: str = ""
    transaction_hash: str | None = None
    block_number: int | None = None
    reward_b0: int = 0
    gas_used: int = 0
    fee_wei: int = 0


class Feed:
    """Owns the last events. One thread appends; any may read ``since``."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._events: deque[Event] = deque(maxlen=REMEMBERED)
        self._left: dict[tuple[str, str], str] = {}

    def outcome(self, outcome: Outcome) -> None:
        """What became of a liquidation. An intent alone is not shown: ``sent`` follows."""
        if outcome.state is OutcomeState.INTENDED or self._told_already(outcome):
            return
        self._events.append(
            Event(
                next(self._ids),
                time.time(),
                outcome.state.value,
                outcome.market,
                outcome.account,
                outcome.reason,
                outcome.transaction_hash,
                outcome.block_number,
                outcome.reward_b0,
                outcome.gas_used,
                outcome.fee_wei,
            )
        )

    def _told_already(self, outcome: Outcome) -> bool:
        """An account that is left for the same reason at every block is shown once."""
        key = (outcome.market, outcome.account)
        if outcome.state is not OutcomeState.SKIPPED:
            self._left.pop(key, None)
            return False
        if self._left.get(key) == outcome.reason:
            return True
        if len(self._left) >= REMEMBERED:
            del self._left[next(iter(self._left))]
        self._left[key] = outcome.reason
        return False

    def cause(self, cause: Cause, *, cleared: bool) -> None:
        """Something went wrong, or is right again."""
        kind = "cleared" if cleared else "raised"
        self._events.append(Event(next(self._ids), time.time(), kind, account=cause.name, text=cause.text))

    def operator(self, text: str) -> None:
        """Somebody used the switch."""
        self._events.append(Event(next(self._ids), time.time(), "operator", text=text))

    def since(self, last_id: int) -> list[Event]:
        """The events after that one, oldest first, as far as they are remembered."""
        for _ in range(8):
            try:
                return [event for event in self._events if event.id > last_id]
            except RuntimeError:  # It was appended to meanwhile, by the other thread.
                continue
        return []
