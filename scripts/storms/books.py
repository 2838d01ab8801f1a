"""The keeper's journal, read beside it: what a storm compares with the chain."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

OPEN = ("intended", "sent", "replaced")


@dataclass(frozen=True, slots=True)
class Books:
    """What the journal says once the keeper has stopped."""

    intents: int
    ends: Counter[str]
    """Intents by the state they stand in; those never to be sent left out."""
    rewards_b0: int
    fees_wei: int
    hashes: frozenset[str]
    """Of all transactions that were ever signed."""
    accounts: tuple[str, ...]
    """Of all intents, in their order."""

    @property
    def open(self) -> int:
        """Intents that still wait for their end."""
        return sum(self.ends[state] for state in OPEN)


def read_books(path: Path) -> Books:
    """Read a journal."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        last = connection.execute(
            "SELECT i.account, s.state, s.reward_b0, s.fee_wei FROM states s JOIN intents i ON i.id = s.intent_id"
            " WHERE s.id IN (SELECT max(id) FROM states GROUP BY intent_id) AND s.state != 'skipped' ORDER BY i.id"
        ).fetchall()
        signed = connection.execute("SELECT hash FROM transactions").fetchall()
    return Books(
        intents=len(last),
        ends=Counter(state for _, state, _, _ in last),
        rewards_b0=sum(int(reward) for _, _, reward, _ in last),
        fees_wei=sum(int(fee) for _, _, _, fee in last),
        hashes=frozenset(hash_ for (hash_,) in signed),
        accounts=tuple(account for account, _, _, _ in last),
    )
