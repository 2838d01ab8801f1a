"""The journal's tables. A change to them is a new ``SCHEMA_VERSION`` of the journal."""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Amount(TypeDecorator[int]):
    """An integer of any size. SQLite's own end at 2**63, which is 9.2 coins in wei."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


metadata = MetaData()

chains = Table(
    "chains",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("genesis", String, nullable=False),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("chain_id", Integer, nullable=False),
    Column("lane", String, nullable=False),
    Column("market", String, nullable=False),
    Column("account", String, nullable=False),
    Column("target", String, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("gas_limit", Integer, nullable=False),
    Column("reward_b0", Amount, nullable=False),
    Column("reward_wei", Amount, nullable=False),
    Column("for_block", Integer, nullable=False),
    Column("note", String, nullable=False),
    Column("at", Float, nullable=False),
)

transactions = Table(
    "transactions",
    metadata,
    Column("hash", String, primary_key=True),
    Column("intent_id", ForeignKey("intents.id"), primary_key=True),
    Column("chain_id", Integer, nullable=False),
    Column("lane", String, nullable=False),
    Column("nonce", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("max_wei", Amount, nullable=False),
    Column("tip_wei", Amount),
    Column("at_block", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Index("transactions_by_intent", "intent_id"),
    Index("transactions_by_nonce", "chain_id", "lane", "nonce"),
)

states = Table(
    "states",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("intent_id", ForeignKey("intents.id"), nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False, default=""),
    Column("action", String, nullable=False, default=""),
    Column("hash", String),
    Column("block_number", Integer),
    Column("block_hash", String),
    Column("gas_used", Integer, nullable=False, default=0),
    Column("fee_wei", Amount, nullable=False, default=0),
    Column("reward_b0", Amount, nullable=False, default=0),
    Column("elapsed_us", Integer),
    Column("at", Float, nullable=False),
    Index("states_by_intent", "intent_id", "id"),
    Index("states_by_time", "at"),
)
