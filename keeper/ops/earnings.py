"""What was earned and spent over time, from the journal, in steps that a chart can show."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from keeper.model import OutcomeState
from keeper.store.ledger import Entry

STEPS = 48
MOST_ENTRIES = 20_000


@dataclass(slots=True)
class Step:
    """One market's balance over one step of time. ``at`` is its end, in Unix seconds."""

    at: float
    won: int = 0
    reverted: int = 0
    earned_b0: int = 0
    spent_wei: int = 0


def steps(found: Iterable[Entry], hours: float, now: float | None = None) -> dict[str, list[Step]]:
    """Entries of the last ``hours`` by market, in ``STEPS`` equal steps, the oldest first."""
    now = time.time() if now is None else now
    width_s = hours * 3600 / STEPS
    first = now - hours * 3600
    by_market: dict[str, list[Step]] = defaultdict(
        lambda: [Step(first + width_s * (index + 1)) for index in range(STEPS)]
    )
    for entry in found:
        index = int((entry.at - first) / width_s)
        if not 0 <= index <= STEPS or not entry.market:
            continue
        step = by_market[entry.market][min(index, STEPS - 1)]
        step.won += entry.state is OutcomeState.MINED
        step.reverted += entry.state is OutcomeState.REVERTED
        step.earned_b0 += entry.reward_b0
        step.spent_wei += entry.fee_wei
    return dict(by_market)
