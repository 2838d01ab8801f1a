"""The mirror's records as rows for the store, and back.

A row's payload is a JSON list of the record's fields in their order; Python's JSON keeps integers of any size exact.
``SCHEMA`` changes whenever a record does, so that rows of another version are refused rather than misread.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

from keeper.errors import StoreError
from keeper.model import Row
from keeper.protocols.deri.plans import OracleRead, Wiring
from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    OracleKind,
    OracleState,
    PoolState,
    Position,
    PrivilegerState,
    Stake,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
    VaultMarket,
    VaultState,
)

SCHEMA = 2

Json: TypeAlias = "bool | int | str | list[Json] | None"
Record: TypeAlias = Wiring | PoolState | Symbol | OracleRead | AccountState | PrivilegerState | VaultMarket


@dataclass(frozen=True, slots=True)
class Key:
    """Which row: its kind, and which one of that kind."""

    kind: str
    key: str = ""


WIRING = Key("wiring")
POOL = Key("pool")
PRIVILEGER = Key("privileger")


def symbol_key(symbol_id: str) -> Key:
    return Key("symbol", symbol_id)


def oracle_key(oracle_id: str) -> Key:
    return Key("oracle", oracle_id)


def account_key(p_token_id: int) -> Key:
    return Key("account", str(p_token_id))


def vault_market_key(v_token: str) -> Key:
    return Key("vault-market", v_token)


def row(key: Key, record: Record | None) -> Row:
    """The row that holds ``record``; None deletes it."""
    if record is None:
        return Row(key.kind, key.key, None)
    return Row(key.kind, key.key, json.dumps(_plain(record), separators=(",", ":")).encode())


def comparable(record: Record | None) -> Record | None:
    """The record without what two true mirrors may disagree on: a vault's liquidity as it was when last read."""
    if isinstance(record, AccountState) and record.vault is not None and record.vault.liquidity is not None:
        return replace(record, vault=replace(record.vault, liquidity=0))
    return record


def digest(rows: Iterable[Row]) -> str:
    """A hash over rows, whatever their order."""
    hasher = hashlib.sha256()
    for entry in sorted(rows, key=lambda entry: (entry.kind, entry.key)):
        hasher.update(f"{entry.kind}\0{entry.key}\0{len(entry.payload or b'')}\0".encode())
        hasher.update(entry.payload or b"")
    return hasher.hexdigest()


def parse(entry: Row) -> tuple[Key, Record]:
    """The record in a row. Raises ``StoreError`` if it holds none."""
    try:
        return Key(entry.kind, entry.key), _record(entry.kind, json.loads(entry.payload or b""))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise StoreError(
            f"a row of kind {entry.kind!r} of schema {SCHEMA}",
            f"row {entry.key!r} can't be read ({error})",
            "the store is set aside and the market read again from the chain",
        ) from None


def _flat(record: object) -> list[Json]:
    return [getattr(record, field.name) for field in fields(record)]  # type: ignore[arg-type]


def _plain(record: Record) -> Json:
    match record:
        case Wiring():
            return [SCHEMA, *_flat(record)]
        case Symbol():
            return [_flat(record.params), _flat(record.state)]
        case OracleRead():
            return [_flat(record.state), record.feed, record.aggregator]
        case AccountState():
            vault = record.vault
            return [
                record.p_token_id,
                record.owner,
                record.amount_b0,
                [_flat(position) for position in record.positions],
                None if vault is None else [vault.address, [list(entry) for entry in vault.balances], vault.liquidity],
            ]
        case PrivilegerState():
            stakes: list[Json] = [
                [user, stake.amount, stake.timestamp] for user, stake in sorted(record.stakes.items())
            ]
            figures = [record.min_lock_time_s, record.min_deposit_amount, record.stakes_total, record.stakes_count]
            return [*figures, stakes]
        case PoolState() | VaultMarket():
            return _flat(record)


def _record(kind: str, plain: list) -> Record:  # type: ignore[type-arg]
    # What comes out of JSON has no types; a row that doesn't fit fails in a constructor and is refused by ``parse``.
    match kind:
        case "wiring":
            schema, pool, flavour, *rest = plain
            if schema != SCHEMA:
                raise ValueError(f"schema {schema}")
            return Wiring(pool, Flavour(flavour), *rest)
        case "pool":
            return PoolState(Flavour(plain[0]), *plain[1:])
        case "symbol":
            params, state = plain
            return Symbol(SymbolParams(SymbolKind(params[0]), *params[1:]), SymbolState(*state))
        case "oracle":
            state, feed, aggregator = plain
            return OracleRead(OracleState(OracleKind(state[0]), *state[1:]), feed, aggregator)
        case "account":
            p_token_id, owner, amount_b0, positions, vault = plain
            open_positions = tuple(Position(*position) for position in positions)
            kept = None if vault is None else VaultState(vault[0], tuple((t, b) for t, b in vault[1]), vault[2])
            return AccountState(p_token_id, owner, amount_b0, open_positions, kept)
        case "privileger":
            lock_time, deposit, total, count, stakes = plain
            held = {user: Stake(amount, at) for user, amount, at in stakes}
            return PrivilegerState(lock_time, deposit, total, count, held)
        case "vault-market":
            return VaultMarket(*plain)
    raise KeyError(kind)
