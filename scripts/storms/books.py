"""The keeper's journal, read beside it: what a storm compares with the chain."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

OPEN = ("intended", "sent", "replaced")


@dataclass(frozen=True, slots=True)
class Ending:
    """An intent that ended in a block: mined, reverted or cancelled."""

    account: str
    state: str
    block: int
    ceiling_wei: int
    """What a unit of gas might cost for the expected reward to pay for the whole gas limit."""


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
    endings: tuple[Ending, ...]
    """Of the intents that ended on chain."""

    @property
    def open(self) -> int:
        """Intents that still wait for their end."""
        return sum(self.ends[state] for state in OPEN)


def read_books(path: Path) -> Books:
    """Read a journal."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
        last = connection.execute(
            "SELECT s.state, s.reward_b0, s.fee_wei, i.account, s.block_number, i.reward_wei, i.gas_limit"
            " FROM states s JOIN intents i ON i.id = s.intent_id"
            " WHERE s.id IN (SELECT max(id) FROM states GROUP BY intent_id) AND s.state != 'skipped' ORDER BY i.id"
        ).fetchall()
        signed = connection.execute("SELECT hash FROM transactions").fetchall()
    return Books(
        intents=len(last),
        ends=Counter(row[0] for row in last),
        rewards_b0=sum(int(row[1]) for row in last),
        fees_wei=sum(int(row[2]) for row in last),
        endings=tuple(
            Ending(account, state, block, int(reward_wei) // gas_limit)
            for state, _, _, account, block, reward_wei, gas_limit in last
            if block is not None and gas_limit
        ),
        hashes=frozenset(hash_ for (hash_,) in signed),
    )
