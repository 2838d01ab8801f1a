"""The journal: what was decided, sent, mined, earned and paid. Rows are only ever added.

An intent is one decision about one account. Its transactions are every signed form it took (first bytes, dearer
replacements, cancellation), its states every step it passed; the last state is where it stands. What belongs together
is one SQLite transaction, and it is on disk before the bytes it speaks of leave.

Writes go through one thread of the journal's own, with a connection that stays open: one hop per commit. (The async
engine hops once per statement, which costs a millisecond per commit; reading, which nobody waits for in a hurry, uses
it.) WAL with ``synchronous=NORMAL`` loses nothing when the process is killed. A power cut may take the last commits
with it; the next start then finds the nonces used and no record of why, says so, and goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Insert, Row, and_, create_engine, func, insert, or_, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from keeper.errors import StoreError
from keeper.model import OutcomeState
from keeper.store.db import open_engine
from keeper.store.journal_tables import chains, intents, metadata, states, transactions

_log = structlog.get_logger(__name__)

SCHEMA_VERSION = 2

OPEN_STATES = (OutcomeState.INTENDED, OutcomeState.SENT, OutcomeState.REPLACED)
"""An intent in one of these may still be mined."""

UNREAD = "its reward is not read yet"
"""The reason of a mined state that will be followed by another one, with the reward."""


_LAST_STATES = select(func.max(states.c.id)).group_by(states.c.intent_id)
_insert_intent, _insert_state = insert(intents), insert(states)
_insert_transaction = sqlite.insert(transactions).on_conflict_do_nothing()
"""The same bytes may be signed again for the same intent: a cancellation that was refused, at fees that don't move."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One decision about one account, as the journal keeps it. ``at`` is in Unix seconds, ``lane`` an address."""

    id: int
    chain_id: int
    lane: str
    market: str
    account: str
    target: str
    data: bytes
    gas_limit: int
    reward_b0: int
    reward_wei: int
    """What its gas may cost at break-even: an L2's data fee is taken off already."""
    for_block: int
    note: str
    at: float


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """One signed form of an intent."""

    hash: str
    intent_id: int
    chain_id: int
    lane: str
    nonce: int
    kind: str
    """``liquidation`` or ``cancellation``."""
    raw: bytes
    max_wei: int
    tip_wei: int | None
    """None on a chain without EIP-1559: then ``max_wei`` is the gas price."""
    at_block: int
    """The head when it was made."""
    at: float


@dataclass(frozen=True, slots=True)
class StateRow:
    """One step of an intent. Gas, fee and reward are those of the mined transaction that ended it."""

    intent_id: int
    state: OutcomeState
    at: float
    reason: str = ""
    action: str = ""
    """For a revert: what was made of it (``keeper.chain.reverts.Action``)."""
    hash: str | None = None
    block_number: int | None = None
    block_hash: str | None = None
    gas_used: int = 0
    fee_wei: int = 0
    reward_b0: int = 0
    elapsed_us: int | None = None
    """Since the input that led to the decision was seen."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an intent stands: its last state and all its transactions, oldest first."""

    intent: Intent
    state: StateRow
    transactions: tuple[TransactionRow, ...]


_Batch = list[tuple[Insert, list[dict[str, object]]]]


class Journal:
    """Owns the journal's file. ``open`` makes one; ``close`` writes what is waiting."""

    def __init__(self, path: Path, reader: AsyncEngine, writer: Engine) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._connection: Connection | None = None
        self._next_id = 1
        self._waiting: list[StateRow] = []
        self._flusher: asyncio.Task[None] | None = None
        self._failing = False
        self._skips: dict[tuple[str, str], str] = {}

    @classmethod
    async def open(cls, path: Path) -> Journal:
        """Open or make the journal at ``path``. Raises ``StoreError`` if the file is damaged or of another schema."""
        try:
            reader = open_engine(path)
        except OSError as error:
            raise _unusable(path, str(error.strerror)) from None
        writer = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        journal = cls(path, reader, writer)
        try:
            await journal._on_thread(journal._prepare)
        except BaseException:
            await journal.close()
            raise
        return journal

    async def intend(
        self, made: Sequence[Intent], signed: Sequence[TransactionRow], steps: Sequence[StateRow] = ()
    ) -> None:
        """Put new intents, signed transactions and states on disk in one commit; return when they are there.

        A new intent is ``INTENDED`` by that. Raises ``StoreError`` if nothing was written: then nothing may be sent.
        """
        begun = [StateRow(intent.id, OutcomeState.INTENDED, intent.at) for intent in made]
        await self._commit(
            [
                (_insert_intent, [_intent_values(intent) for intent in made]),
                (_insert_transaction, [_transaction_values(row) for row in signed]),
                (_insert_state, [_state_values(row) for row in [*begun, *steps]]),
            ]
        )
        for intent in made:
            self._skips.pop((intent.market, intent.account), None)

    def record(self, *steps: StateRow) -> None:
        """Note states soon, in order, without waiting. What can't be written now is kept and tried again."""
        self._waiting.extend(steps)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool:
        """Note that an account is left, once per reason in a row. True if a row was written."""
        if self._skips.get((market, account)) == reason:
            return False
        now = time.time()
        intent = Intent(self.allot(), 0, lane, market, account, "", b"", 0, reward_b0, 0, for_block, "", now)
        await self._commit(
            [
                (_insert_intent, [_intent_values(intent)]),
                (_insert_state, [_state_values(StateRow(intent.id, OutcomeState.SKIPPED, now, reason))]),
            ]
        )
        self._skips[market, account] = reason
        return True

    def allot(self) -> int:
        """The id of a new intent."""
        allotted = self._next_id
        self._next_id += 1
        return allotted

    async def drain(self) -> None:
        """Wait until every state noted so far is on disk. Raises ``StoreError`` if some can't be written."""
        while self._flusher is not None and not self._flusher.done():
            await self._flusher
        if self._waiting:
            await self._flush()
        if self._waiting:
            raise _unusable(self._path, f"{len(self._waiting)} states could not be written")

    async def bind(self, chain_id: int, genesis: str) -> None:
        """Remember what a chain starts with. Raises ``StoreError`` if it was another chain that was journaled.

        A development chain that was started anew has the same id, but none of the journal's transactions.
        """
        async with self._reader.connect() as connection:
            known = (await connection.execute(select(chains.c.genesis).where(chains.c.id == chain_id))).scalar()
        if known is None:
            await self._commit([(insert(chains), [{"id": chain_id, "genesis": genesis}])])
        elif known != genesis:
            raise StoreError(
                f"the chain {chain_id} that the journal {self._path} knows, with genesis block {known}",
                f"a chain with genesis block {genesis}",
                "move the journal aside, or correct the endpoint",
            )

    async def unsettled(self, chain_id: int, lane: str, since_block: int, from_nonce: int) -> list[Standing]:
        """Everything of a lane that the chain may still change, oldest first.

        That is: intents that may still be mined, those that ended in ``since_block`` or later (a reorg may undo it),
        those whose reward is not read yet, and those that ever had a transaction at ``from_nonce`` or later.
        """
        of_lane = (intents.c.chain_id == chain_id) & (intents.c.lane == lane)
        unread = (states.c.state == OutcomeState.MINED.value) & (states.c.reason == UNREAD)
        ended_lately = and_(states.c.block_number.is_not(None), states.c.block_number >= since_block)
        still_open = states.c.state.in_([state.value for state in OPEN_STATES])
        signed_lately = select(transactions.c.intent_id).where(
            transactions.c.chain_id == chain_id, transactions.c.lane == lane, transactions.c.nonce >= from_nonce
        )
        standing = (
            select(states)
            .join(intents, intents.c.id == states.c.intent_id)
            .where(of_lane, states.c.id.in_(_LAST_STATES))
            .where(or_(still_open, ended_lately, unread, intents.c.id.in_(signed_lately)))
        )
        async with self._reader.connect() as connection:
            last = {row.intent_id: _state(row) for row in (await connection.execute(standing)).all()}
            made = await connection.execute(select(intents).where(intents.c.id.in_(last)).order_by(intents.c.id))
            forms: dict[int, list[TransactionRow]] = {intent_id: [] for intent_id in last}
            signed = select(transactions).where(transactions.c.intent_id.in_(last)).order_by(transactions.c.at)
            for row in (await connection.execute(signed)).all():
                forms[row.intent_id].append(_transaction(row))
        return [Standing(_intent(row), last[row.id], tuple(forms[row.id])) for row in made.all()]

    async def spent(self, chain_id: int, lane: str, since: float) -> list[tuple[float, int]]:
        """When (Unix seconds) and how much (wei) a lane paid since then, as far as it was not undone."""
        query = (
            select(states.c.at, states.c.fee_wei)
            .join(intents, intents.c.id == states.c.intent_id)
            .where(intents.c.chain_id == chain_id, intents.c.lane == lane, states.c.at >= since)
            .where(states.c.id.in_(_LAST_STATES), states.c.fee_wei != 0)
            .order_by(states.c.at)
        )
        async with self._reader.connect() as connection:
            return [(row.at, row.fee_wei) for row in (await connection.execute(query)).all()]

    async def endings(self, chain_id: int, lane: str) -> list[tuple[str, str, str]]:
        """How the accounts that ever reverted fared: market, account and action (empty if mined), oldest first."""
        of_lane = (intents.c.chain_id == chain_id) & (intents.c.lane == lane)
        ended = states.c.state.in_([OutcomeState.MINED.value, OutcomeState.REVERTED.value])
        reverted = (
            select(intents.c.account)
            .join(states, states.c.intent_id == intents.c.id)
            .where(of_lane, states.c.state == OutcomeState.REVERTED.value)
        )
        query = (
            select(intents.c.market, intents.c.account, states.c.action)
            .join(states, states.c.intent_id == intents.c.id)
            .where(of_lane, ended, intents.c.account.in_(reverted))
            .order_by(states.c.id)
        )
        async with self._reader.connect() as connection:
            return [(row.market, row.account, row.action) for row in (await connection.execute(query)).all()]

    @property
    def engine(self) -> AsyncEngine:
        """For queries (``keeper.store.ledger``): never for writing."""
        return self._reader

    async def checkpoint(self) -> None:
        """Move the write-ahead log into the file, at a quiet moment, so that no commit on the hot path has to."""
        await self._on_thread(lambda connection: connection.execute(text("PRAGMA wal_checkpoint(PASSIVE)")).close())

    async def close(self) -> None:
        """Write what waits and let go of the file. Raises ``StoreError`` if something can't be written."""
        try:
            await self.drain()
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
            self._thread.shutdown()
            await self._reader.dispose()

    async def _flush(self) -> None:
        while self._waiting:
            batch = self._waiting[:]
            try:
                await self._commit([(_insert_state, [_state_values(row) for row in batch])])
            except StoreError as error:
                if not self._failing:
                    _log.error("journal.unwritable", waiting=len(self._waiting), error=str(error))
                self._failing = True
                return
            if self._failing:
                _log.info("journal.writable", written=len(batch))
            self._failing = False
            del self._waiting[: len(batch)]

    async def _commit(self, batch: _Batch) -> None:
        def write(connection: Connection) -> None:
            for statement, rows in batch:
                if rows:
                    connection.execute(statement, rows)

        await self._on_thread(write)

    async def _on_thread(self, work: Callable[[Connection], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)

    def _in_transaction(self, work: Callable[[Connection], None]) -> None:
        try:
            if self._connection is None:
                self._connection = self._writer.connect()
            try:
                work(self._connection)
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise
        except (SQLAlchemyError, OverflowError, UnicodeError) as error:
            # The last two: a figure or a text that SQLite has no room or no letters for.
            raise _unusable(self._path, str(getattr(error, "orig", None) or error)) from None

    def _prepare(self, connection: Connection) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "wal_autocheckpoint=20000"):
            connection.execute(text(f"PRAGMA {pragma}"))
        version = connection.execute(text("PRAGMA user_version")).scalar_one()
        tables = connection.execute(text("SELECT count(*) FROM sqlite_master")).scalar_one()
        if version != SCHEMA_VERSION and tables:
            raise _unusable(self._path, f"it has schema {version}, not {SCHEMA_VERSION}")
        metadata.create_all(connection)
        connection.execute(text(f"PRAGMA user_version={SCHEMA_VERSION}"))
        highest = connection.execute(select(func.max(intents.c.id))).scalar()
        self._next_id = 1 if highest is None else int(highest) + 1
        self._rehearse(connection)

    def _rehearse(self, connection: Connection) -> None:
        """Write one intent and take it back: the first real one finds its statements compiled and its pages warm."""
        connection.commit()
        intent = Intent(self._next_id, 0, "", "", "", "", b"", 0, 0, 0, 0, "", 0.0)
        form = TransactionRow("", intent.id, 0, "", 0, "", b"", 0, 0, 0, 0.0)
        connection.execute(_insert_intent, [_intent_values(intent)])
        connection.execute(_insert_transaction, [_transaction_values(form)])
        connection.execute(_insert_state, [_state_values(StateRow(intent.id, OutcomeState.INTENDED, 0.0))])
        connection.rollback()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._writer.dispose()


def _unusable(path: Path, came: str) -> StoreError:
    return StoreError(
        f"a journal that can be written at {path}", came, "free space, correct the rights, or move the file aside"
    )


def _intent_values(intent: Intent) -> dict[str, object]:
    return {name: getattr(intent, name) for name in _INTENT}


def _transaction_values(row: TransactionRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _TRANSACTION}


def _state_values(row: StateRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in _STATE} | {"state": row.state.value}


def _intent(row: Row[*tuple[Any, ...]]) -> Intent:
    return Intent(*(getattr(row, name) for name in _INTENT))


def _transaction(row: Row[*tuple[Any, ...]]) -> TransactionRow:
    return TransactionRow(*(getattr(row, name) for name in _TRANSACTION))


def _state(row: Row[*tuple[Any, ...]]) -> StateRow:
    return StateRow(**{name: getattr(row, name) for name in _STATE} | {"state": OutcomeState(row.state)})


_INTENT, _TRANSACTION, _STATE = (
    tuple(field.name for field in fields(kind)) for kind in (Intent, TransactionRow, StateRow)
)
