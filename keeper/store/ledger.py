"""What the journal adds up to: earned, spent, won, lost. Reads only; also beside a running keeper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from keeper.model import OutcomeState
from keeper.store.journal_tables import intents, states

_ENDS = (OutcomeState.MINED, OutcomeState.REVERTED, OutcomeState.CANCELLED, OutcomeState.ABANDONED)


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision and where it stands now. ``decided_at`` and ``at`` are in Unix seconds, ``at`` of its last step."""

    chain_id: int
    signer: str
    market: str
    account: str
    state: OutcomeState
    reason: str
    action: str
    """For a revert: what was made of it."""
    transaction_hash: str | None
    block_number: int | None
    expected_b0: int
    reward_b0: int
    gas_used: int
    fee_wei: int
    to_sent_us: int | None
    """From the input that led to it until its first bytes were handed over, in microseconds."""
    decided_at: float
    at: float


@dataclass(frozen=True, slots=True)
class Totals:
    """A market's balance over a time, each decision counted once, by where it stands now."""

    market: str
    won: int
    """Liquidations mined."""
    reverted: int
    cancelled: int
    abandoned: int
    skipped: int
    underway: int
    earned_b0: int
    spent_wei: int
    """Everything paid for gas, whatever came of it."""
    lost_wei: int
    """The part of it that was paid for reverts and cancellations."""


async def entries(engine: AsyncEngine, since: float = 0, limit: int | None = None) -> list[Entry]:
    """Decisions whose last step was at ``since`` or later, newest first. Fillers of nonce gaps have no market."""
    last = select(func.max(states.c.id)).group_by(states.c.intent_id)
    sent = (
        select(states.c.intent_id, func.min(states.c.elapsed_us).label("to_sent_us"))
        .where(states.c.state == OutcomeState.SENT.value)
        .group_by(states.c.intent_id)
        .subquery()
    )
    query = (
        select(
            intents.c.chain_id,
            intents.c.lane.label("signer"),
            intents.c.market,
            intents.c.account,
            states.c.state,
            states.c.reason,
            states.c.action,
            states.c.hash.label("transaction_hash"),
            states.c.block_number,
            intents.c.reward_b0.label("expected_b0"),
            states.c.reward_b0,
            states.c.gas_used,
            states.c.fee_wei,
            sent.c.to_sent_us,
            intents.c.at.label("decided_at"),
            states.c.at,
        )
        .join(states, states.c.intent_id == intents.c.id)
        .outerjoin(sent, sent.c.intent_id == intents.c.id)
        .where(states.c.id.in_(last), states.c.at >= since)
        .order_by(states.c.id.desc())
        .limit(limit)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    return [Entry(**dict(row._mapping) | {"state": OutcomeState(row.state)}) for row in rows]


async def gas_used(engine: AsyncEngine, market: str, latest: int = 256) -> list[tuple[int, int]]:
    """Gas limit and gas used of a market's latest mined liquidations, oldest first."""
    query = (
        select(intents.c.gas_limit, states.c.gas_used)
        .join(states, states.c.intent_id == intents.c.id)
        .where(intents.c.market == market, states.c.state == OutcomeState.MINED.value, states.c.gas_used > 0)
        .order_by(states.c.id.desc())
        .limit(latest)
    )
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    return [(row.gas_limit, row.gas_used) for row in reversed(rows)]


def totals(found: Sequence[Entry]) -> list[Totals]:
    """Entries added up by market, in alphabetical order."""
    return [
        _total(market, [entry for entry in found if entry.market == market])
        for market in sorted({e.market for e in found})
    ]


def _total(market: str, found: Sequence[Entry]) -> Totals:
    count = Counter(entry.state for entry in found)
    in_vain = (OutcomeState.REVERTED, OutcomeState.CANCELLED)
    return Totals(
        market,
        won=count[OutcomeState.MINED],
        reverted=count[OutcomeState.REVERTED],
        cancelled=count[OutcomeState.CANCELLED],
        abandoned=count[OutcomeState.ABANDONED],
        skipped=count[OutcomeState.SKIPPED],
        underway=sum(
            count[state] for state in OutcomeState if state not in _ENDS and state is not OutcomeState.SKIPPED
        ),
        earned_b0=sum(entry.reward_b0 for entry in found),
        spent_wei=sum(entry.fee_wei for entry in found),
        lost_wei=sum(entry.fee_wei for entry in found if entry.state in in_vain),
    )
