"""A market's mirror in a SQLite file of its own: rows, and the recent blocks it is true at, in one transaction a block.

The file belongs to one market on one chain. A file of another, of another schema, or a damaged one is moved aside
under a name that says so, and a new one is begun: nothing is mixed, and nothing is thrown away.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Column, Integer, LargeBinary, MetaData, String, Table, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from keeper.errors import StoreError
from keeper.model import Block, Header, Log, Row
from keeper.store.db import open_engine

log = structlog.get_logger(__name__)

SCHEMA = 1
"""Of the tables below and of the blocks' payload. A market's own rows are its own business: ``Market.restore``."""

_metadata = MetaData()
_identity = Table(
    "mirror_identity",
    _metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
_rows = Table(
    "mirror_rows",
    _metadata,
    Column("kind", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
_blocks = Table(
    "mirror_blocks",
    _metadata,
    Column("hash", String, primary_key=True),
    Column("number", Integer, nullable=False, index=True),
    Column("payload", LargeBinary, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose mirror a file holds. ``contract`` is the market's main contract."""

    chain_id: int
    market: str
    contract: str

    def facts(self) -> dict[str, str]:
        return {
            "schema": str(SCHEMA),
            "chain": str(self.chain_id),
            "market": self.market,
            "contract": self.contract.lower(),
        }


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store held: the mirror's rows, true at the last of ``blocks``."""

    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]

    @property
    def head(self) -> Header:
        return self.blocks[-1].header


class MirrorStore:
    """Owns the file. ``open`` is the way to make one; ``close`` leaves it tidy."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._identity = identity
        self._engine: AsyncEngine | None = None
        self._kept: dict[str, Block] = {}
        """The stored blocks by hash, so that a save writes only what is new."""
        self._unwritten: dict[tuple[str, str], Row] = {}
        """Rows by kind and key that a save could not write."""
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, identity: Identity) -> MirrorStore:
        """Open or make the file; one that is another's or damaged is moved aside first. Raises ``StoreError``."""
        store = cls(path, identity)
        try:
            if fault := await asyncio.to_thread(_fault_of, path, identity):
                await store.renew(fault)
            else:
                await store._begin()
        except (SQLAlchemyError, OSError) as error:
            raise _failed(path, "to be opened", error) from error
        return store

    async def load(self) -> Stored | None:
        """Everything, or None if nothing was saved yet. Raises ``StoreError`` if it can't be read."""
        try:
            async with self._opened().connect() as connection:
                blocks = (await connection.execute(select(_blocks).order_by(_blocks.c.number))).all()
                rows = (await connection.execute(select(_rows))).all()
        except SQLAlchemyError as error:
            raise _failed(self._path, "to be read", error) from error
        if not blocks:
            return None
        try:
            stored = Stored(
                tuple(Row(row.kind, row.key, row.payload) for row in rows),
                tuple(_unpacked(block.payload) for block in blocks),
            )
        except (ValueError, TypeError) as error:
            raise _failed(self._path, "to hold blocks as they were written", error) from error
        self._kept = {block.header.hash: block for block in stored.blocks}
        return stored

    async def save(self, rows: Sequence[Row], blocks: Sequence[Block]) -> None:
        """Write changed rows and the recent blocks, the last of which they are true at, in one transaction.

        ``blocks`` is the whole window; what is stored already is not written again, what has left it is deleted. An
        empty window says that the rows' block is not known: until the next save there is nothing to load.
        Raises ``StoreError`` and then has changed nothing; the rows are kept for the next save.
        """
        self._unwritten |= {(row.kind, row.key): row for row in rows}
        await self._to_its_end(self._save(blocks))

    async def _save(self, blocks: Sequence[Block]) -> None:
        rows = list(self._unwritten.values())
        kept = {block.header.hash: block for block in blocks}
        new = [block for block in blocks if self._kept.get(block.header.hash) != block]
        gone = [block_hash for block_hash in self._kept if block_hash not in kept]
        changed = [row for row in rows if row.payload is not None]
        deleted = [row for row in rows if row.payload is None]
        try:
            async with self._opened().begin() as connection:
                if changed:
                    statement = insert(_rows)
                    await connection.execute(
                        statement.on_conflict_do_update(set_={"payload": statement.excluded.payload}),
                        [{"kind": row.kind, "key": row.key, "payload": row.payload} for row in changed],
                    )
                for row in deleted:
                    await connection.execute(delete(_rows).where(_rows.c.kind == row.kind, _rows.c.key == row.key))
                if gone:
                    await connection.execute(delete(_blocks).where(_blocks.c.hash.in_(gone)))
                if new:
                    writing = insert(_blocks)
                    await connection.execute(
                        writing.on_conflict_do_update(set_={"payload": writing.excluded.payload}),
                        [
                            {"hash": block.header.hash, "number": block.header.number, "payload": _packed(block)}
                            for block in new
                        ],
                    )
        except SQLAlchemyError as error:
            raise _failed(self._path, "to be written", error) from error
        for row in rows:
            if self._unwritten.get((row.kind, row.key)) is row:
                del self._unwritten[row.kind, row.key]
        self._kept = kept

    async def clear(self) -> None:
        """Forget rows and blocks, also those not written yet: the mirror is built anew. Raises ``StoreError``."""
        self._unwritten = {}
        await self._to_its_end(self._clear())

    async def _clear(self) -> None:
        try:
            async with self._opened().begin() as connection:
                await connection.execute(delete(_rows))
                await connection.execute(delete(_blocks))
        except SQLAlchemyError as error:
            raise _failed(self._path, "to be cleared", error) from error
        self._kept = {}

    async def renew(self, fault: str) -> None:
        """Move the file aside because of ``fault`` and begin a new one. Raises ``StoreError``."""
        await self.close()
        try:
            aside = await asyncio.to_thread(_move_aside, self._path)
            await self._begin()
        except (SQLAlchemyError, OSError) as error:
            raise _failed(self._path, "to be begun anew", error) from error
        log.warning("mirror.moved-aside", path=str(self._path), to=str(aside), fault=fault)

    async def _to_its_end(self, writing: Coroutine[None, None, None]) -> None:
        """Write also if the caller is cancelled meanwhile: half-way, a connection would keep the file locked.

        One after the other, so that what was begun before a ``clear`` does not come after it.
        """

        async def in_turn() -> None:
            async with self._turn:
                await writing

        self._writing = asyncio.create_task(in_turn())
        await asyncio.shield(self._writing)

    async def close(self) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        self._kept, self._unwritten = {}, {}

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            raise StoreError(f"the store {self._path} to be open", "it was closed", "open it first")
        return self._engine

    async def _begin(self) -> None:
        self._engine = open_engine(self._path)
        async with self._engine.begin() as connection:
            await connection.run_sync(_metadata.create_all)
            await connection.execute(
                insert(_identity).on_conflict_do_nothing(),
                [{"name": name, "value": value} for name, value in self._identity.facts().items()],
            )


def _fault_of(path: Path, identity: Identity) -> str:
    if not path.exists():
        return ""
    try:
        connection = sqlite3.connect(path)
        try:
            [(verdict,)] = connection.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                return f"it is damaged: {verdict}"
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                return ""
            if _identity.name not in tables:
                return "it is not a mirror's"
            found = dict(connection.execute(f"SELECT name, value FROM {_identity.name}"))  # noqa: S608
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return f"it is damaged: {error}"
    for name, value in identity.facts().items():
        if found.get(name) != value:
            return f"its {name} is {found.get(name)}, not {value}"
    return ""


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.aside-{stamp}")
    count = 0
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.aside-{stamp}-{count}")
    path.rename(aside)
    # The write-ahead log belongs to the file it was written for.
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside


def _failed(path: Path, expected: str, error: Exception) -> StoreError:
    cause = error.orig if isinstance(error, DatabaseError) and error.orig is not None else error
    return StoreError(f"the store {path} {expected}", str(cause), "check the disk, the folder and its permissions")


def _packed(block: Block) -> bytes:
    header = block.header
    return json.dumps(
        [
            [
                header.number,
                header.hash,
                header.parent_hash,
                header.timestamp,
                header.gas_limit,
                header.gas_used,
                header.base_fee_per_gas_wei,
            ],
            [_packed_log(each) for each in block.logs],
        ],
        separators=(",", ":"),
    ).encode()


def _packed_log(each: Log) -> list[object]:
    return [
        each.address,
        [topic.hex() for topic in each.topics],
        each.data.hex(),
        each.block_number,
        each.block_hash,
        each.transaction_hash,
        each.log_index,
    ]


def _unpacked(payload: bytes) -> Block:
    header, logs = json.loads(payload)
    return Block(
        Header(*header),
        tuple(
            Log(address, tuple(bytes.fromhex(topic) for topic in topics), bytes.fromhex(data), *rest)
            for address, topics, data, *rest in logs
        ),
    )
