"""The mirror of one pool: its contracts as of one block, kept exact.

An event says what is dirty; one read pinned to the new head's hash says what is true. A reorg is no special case: what
the logs of a block that went away touched is as dirty as what those of a new block touch. What is dirty stays so until
a read has succeeded, so a failed ``apply`` loses nothing: the next one makes up for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import structlog

from keeper.errors import ProtocolError, StoreError
from keeper.model import Advance, Header, LogFilter, Reader, Row
from keeper.protocols.deri import records, rows, update
from keeper.protocols.deri.dirty import Dirty, Index
from keeper.protocols.deri.plans import OracleRead, T, Wiring, run, together
from keeper.protocols.deri.records import Records
from keeper.protocols.deri.rows import Key, Record
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    Flavour,
    MarketState,
    PoolState,
    PrivilegerState,
    Symbol,
    SymbolKind,
    VaultMarket,
)
from keeper.protocols.deri.sums import Sums
from keeper.protocols.deri.update import Update

_log = structlog.get_logger(__name__)

YOUNG_BLOCKS = 8
"""For so many blocks a contract that has just become part of the market is read rather than listened to."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an ``apply`` found changed, for whoever derives something from the mirror."""

    everything: bool = False
    symbols: frozenset[str] = frozenset()
    accounts: frozenset[int] = frozenset()


class Mirror:
    """Owns the records of one pool. The records are immutable; the mappings in ``state`` are live."""

    def __init__(self, market: str, pool: str, liquidators: Sequence[str] = ()) -> None:
        self.mismatches = 0
        """How often the sums over all positions did not give a symbol's own figures."""
        self.vaults_polled: Sequence[int] = ()
        """Accounts whose vaults are read each block, where vaults can't be taken apart."""
        self._log = _log.bind(market=market)
        self._pool_address = pool
        self._liquidators = tuple(liquidators)
        self._records: Records | None = None
        self._index: Index | None = None
        self._head: Header | None = None
        self._view: MarketState | None = None
        self._sums = Sums()
        self._sums_trouble = False
        self._dirty = Dirty()
        self.distrusted = False
        """The next ``apply`` reads everything again, whatever is dirty."""
        self._missing: set[str] = set()
        """Oracle ids that symbols name and the oracle manager has nothing for."""
        self._young: dict[str, int] = {}
        """Symbol addresses and oracle ids whose events may not be asked for yet, and for how many more blocks."""
        self._unsaved: set[Key] = set()
        """Rows that changed since they were last asked for."""

    # What it knows

    @property
    def wiring(self) -> Wiring:
        return _known(self._records).parts

    @property
    def head(self) -> Header:
        """The block as of which everything here is true."""
        return _known(self._head)

    @property
    def state(self) -> MarketState:
        """The market at ``head``. Its mappings change with the next ``apply``."""
        if self._view is None:
            self._view = _known(self._records).state()
        return self._view

    @property
    def takes_vaults_apart(self) -> bool:
        """False in a full pool whose vaults are read as they are."""
        return self.wiring.flavour is Flavour.LITE or self.wiring.comptroller != ZERO_ADDRESS

    def log_filter(self) -> LogFilter:
        """Every address whose events make something here dirty."""
        return records.log_filter(_known(self._index))

    def digest(self) -> str:
        """A hash over every record; equal digests mean equal mirrors.

        A vault's liquidity that is read as it is, at different blocks for different accounts, does not count.
        """
        return rows.digest(rows.row(key, rows.comparable(self._record(key))) for key in self._keys())

    async def audit(self, reader: Reader, accounts: int) -> list[int]:
        """Read so many accounts, drawn at random, anew at ``head``; those that differ from what is known."""
        held = _known(self._records).accounts
        sample = random.sample(sorted(held), min(accounts, len(held)))
        ids = _known(self._index).symbols
        found = await run(together(update.account(self.wiring, key, ids) for key in sample), reader, self.head.hash)
        return [
            key for key, one in zip(sample, found, strict=True) if rows.comparable(one) != rows.comparable(held[key])
        ]

    # How it comes to know it

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Read everything at ``head``. Raises ``ProtocolError`` if the contracts are not what they should be."""
        self._commit(await run(update.everything(self._pool_address, self._liquidators), reader, head.hash), head)
        self._dirty = Dirty()
        self.distrusted = False
        self._add_up(self.state.symbols)

    async def apply(self, advance: Advance, reader: Reader) -> Changes:
        """Bring everything to ``advance.head``. Costs no read if no log touched the market and nothing is polled."""
        self._mark(advance)
        head = advance.head
        if self._dirty.everything or self.distrusted:
            return await self._read_everything(reader, head)
        plan = update.catch_up(
            _known(self._records),
            _known(self._index),
            self._dirty,
            self._liquidators,
            self._missing,
            self.vaults_polled,
            counts_blocks=self.wiring.foreign_numbers,
        )
        found = await run(plan, reader, head.hash)
        if found.lending_moved:
            self._log.warning("the lending protocol's price oracle changed: everything is read again")
            return await self._read_everything(reader, head)
        changes = self._commit(found, head)
        self._dirty = Dirty()
        if not self._add_up(changes.symbols):
            return await self._read_everything(reader, head)
        return changes

    def distrust(self) -> None:
        """Have the next ``apply`` read everything again, also if one is under way."""
        self.distrusted = True

    async def _read_everything(self, reader: Reader, head: Header) -> Changes:
        self._dirty.everything = True  # until it has succeeded
        await self.bootstrap(reader, head)
        return Changes(everything=True)

    def _mark(self, advance: Advance) -> None:
        index, dirty = _known(self._index), self._dirty
        for logs, undone in ((advance.undone, True), (advance.logs, False)):
            for log in logs:
                try:
                    address = dirty.mark(log, index, undone=undone)
                except (ValueError, IndexError):
                    dirty.everything = True
                    self._log.error(
                        "an event can't be read: everything is read again",
                        contract=_role(index.parts, log.address),
                        transaction=log.transaction_hash,
                    )
                    continue
                if address:
                    symbol = self.state.symbols.get(index.symbols.get(address, ""))
                    name = symbol.params.name if symbol else _role(index.parts, address)
                    self._log.warning("an implementation changed: it is read again in full", contract=name)
        for young in self._young:
            if young in index.symbols:
                dirty.implementations.add(young)
            else:
                dirty.oracles.add(young)

    # What takes it over

    def _commit(self, found: Update, head: Header) -> Changes:
        """Make what was read the truth, all at once."""
        if found.parts is not None:
            foreign = found.block_number is not None and found.block_number != head.number
            held = self._replace(replace(found.parts, foreign_numbers=foreign or found.parts.foreign_numbers), found)
        else:
            held = _known(self._records)
            if found.pool is not None:
                held.pool = found.pool
                self._unsaved.add(rows.POOL)
        if found.privileger is not None:
            held.privileger = found.privileger
            self._unsaved.add(rows.PRIVILEGER)
        for symbol_id in found.removed_symbols:
            del held.symbols[symbol_id]
            self._unsaved.add(rows.symbol_key(symbol_id))
        for symbol_id, symbol in found.symbols.items():
            self._take_symbol(held, symbol_id, symbol)
        for v_token, market in found.vault_markets.items():
            self._take_vault_market(held, v_token, market)
        for oracle_id, read in found.oracles.items():
            self._take_oracle(held, oracle_id, read)
        for oracle_id in held.oracles.keys() - held.wanted_oracles():
            del held.oracles[oracle_id]
            self._unsaved.add(rows.oracle_key(oracle_id))
        for p_token_id, account in found.accounts.items():
            self._take_account(held, p_token_id, account)
        self._reindex(held)
        if held.parts.foreign_numbers:
            held.block_number = found.block_number
        self._head = head
        self._view = None
        return Changes(
            everything=found.parts is not None,
            symbols=frozenset(found.symbols) | found.removed_symbols,
            accounts=frozenset(found.accounts),
        )

    def _replace(self, parts: Wiring, found: Update) -> Records:
        """Start over: what the update does not bring is gone, from the store as well."""
        if self._records is not None:
            self._unsaved |= set(self._keys())
        self._unsaved |= {rows.WIRING, rows.POOL}
        self._sums = Sums()
        self._records = Records(parts, _known(found.pool))
        return self._records

    def _take_symbol(self, held: Records, symbol_id: str, symbol: Symbol) -> None:
        before = held.symbols.get(symbol_id)
        if symbol.params.kind is SymbolKind.UNKNOWN and (before is None or before.params != symbol.params):
            self._log.error(
                "a symbol is of a kind that the keeper can't price: accounts that hold it are not assessable",
                symbol=symbol.params.name,
                contract=symbol.params.address,
            )
        held.symbols[symbol_id] = symbol
        if symbol != before:
            self._unsaved.add(rows.symbol_key(symbol_id))

    def _take_vault_market(self, held: Records, v_token: str, market: VaultMarket | None) -> None:
        before = held.vault_markets.get(v_token)
        if market is not None:
            held.vault_markets[v_token] = market
            if v_token in held.unread_markets:
                self._log.info("a lending market can be read again", v_token=v_token)
            held.unread_markets.discard(v_token)
        else:
            held.vault_markets.pop(v_token, None)
            if v_token not in held.unread_markets:
                self._log.error("a lending market can't be read: its vaults can't be valued", v_token=v_token)
            held.unread_markets.add(v_token)
        if market != before:
            self._unsaved.add(rows.vault_market_key(v_token))

    def _take_oracle(self, held: Records, oracle_id: str, read: OracleRead | None) -> None:
        before = held.oracles.get(oracle_id)
        if read is not None:
            held.oracles[oracle_id] = read
            self._missing.discard(oracle_id)
        else:
            held.oracles.pop(oracle_id, None)
            if oracle_id not in self._missing:
                self._log.error("an oracle is missing: accounts that need it are not assessable", oracle=oracle_id)
                self._missing.add(oracle_id)
        if read != before:
            self._unsaved.add(rows.oracle_key(oracle_id))

    def _take_account(self, held: Records, p_token_id: int, account: AccountState | None) -> None:
        before = held.accounts.get(p_token_id)
        self._sums.count(before, -1)
        self._sums.count(account, 1)
        if account is not None:
            held.put(account)
        else:
            held.accounts.pop(p_token_id, None)
        if account != before:
            self._unsaved.add(rows.account_key(p_token_id))

    def _reindex(self, held: Records) -> None:
        """Which address is what; and what is new gets a few blocks' care.

        Whoever fetches the logs learns of a new address only after this block, so the next few blocks' logs may lack
        its events: until then it is read again each block.
        """
        before, index = self._index, held.index()
        self._young = {key: left - 1 for key, left in self._young.items() if left > 1}
        if before is not None:
            new = {address for address in index.symbols if address not in before.symbols}
            for address in index.readings.keys() - before.readings.keys():
                new |= index.readings[address]
            self._young |= dict.fromkeys(new, YOUNG_BLOCKS)
        self._index = index

    def _add_up(self, symbol_ids: Iterable[str]) -> bool:
        """Check that positions add up to their symbols.

        False asks for everything to be read again; so once per streak, since a second reading can't do better.
        """
        wrong = self._sums.wrong(self.state.symbols, symbol_ids)
        if not wrong:
            if symbol_ids:
                self._sums_trouble = False
            return True
        self.mismatches += 1
        if self._sums_trouble:
            return True
        self._sums_trouble = True
        self._log.error("positions do not add up to their symbols: everything is read again", symbols=wrong)
        return False

    # The store

    def rows(self) -> list[Row]:
        """What has changed since the last call; everything at the first call after a bootstrap."""
        keys, self._unsaved = self._unsaved, set()
        return [rows.row(key, self._record(key)) for key in sorted(keys, key=lambda key: (key.kind, key.key))]

    def restore(self, saved: Sequence[Row], head: Header) -> None:
        """Take the place of ``bootstrap`` with what ``rows`` gave at ``head``. Raises ``StoreError`` if unusable."""
        found = Update()
        for entry in saved:
            match rows.parse(entry):
                case _, Wiring() as parts:
                    found.parts = parts
                case _, PoolState() as pool:
                    found.pool = pool
                case key, Symbol() as symbol:
                    found.symbols[key.key] = symbol
                case key, OracleRead() as read:
                    found.oracles[key.key] = read
                case _, AccountState() as account:
                    found.accounts[account.p_token_id] = account
                case key, VaultMarket() as market:
                    found.vault_markets[key.key] = market
                case _, PrivilegerState() as privileger:
                    found.privileger = privileger
        if found.parts is None or found.pool is None or found.parts.pool != self._pool_address:
            raise _unusable(
                f"the rows of the pool {self._pool_address}",
                f"those of {found.parts.pool} came" if found.parts else "no pool came",
            )
        if found.parts.comptroller != ZERO_ADDRESS:
            vaults = [one.vault.balances for one in found.accounts.values() if one and one.vault]
            entered = {v_token for balances in vaults for v_token, _ in balances}
            found.vault_markets |= dict.fromkeys(entered - found.vault_markets.keys())
        self._commit(found, head)
        self._unsaved = set()
        self._dirty = Dirty()
        stakes = found.privileger.stakes.keys() if found.privileger else self._liquidators
        self._dirty.privileger = set(stakes) != set(self._liquidators)
        if not self._add_up(self.state.symbols):
            raise _unusable("positions that add up to their symbols", "those in the store do not")

    def _keys(self) -> Iterator[Key]:
        held = _known(self._records)
        yield from (rows.WIRING, rows.POOL)
        if held.privileger is not None:
            yield rows.PRIVILEGER
        yield from map(rows.symbol_key, held.symbols)
        yield from map(rows.oracle_key, held.oracles)
        yield from map(rows.vault_market_key, held.vault_markets)
        yield from map(rows.account_key, held.accounts)

    def _record(self, key: Key) -> Record | None:
        held = _known(self._records)
        match key.kind:
            case "wiring":
                return held.parts
            case "pool":
                return held.pool
            case "privileger":
                return held.privileger
            case "symbol":
                return held.symbols.get(key.key)
            case "oracle":
                return held.oracles.get(key.key)
            case "vault-market":
                return held.vault_markets.get(key.key)
        return held.accounts.get(int(key.key))


def _known(value: T | None) -> T:
    if value is None:
        raise ProtocolError(
            "a market that was read from the chain", "nothing has been read yet", "call bootstrap or restore first"
        )
    return value


def _role(parts: Wiring, address: str) -> str:
    """What a contract is to the market, for people."""
    roles = {parts.pool: "pool", parts.symbol_manager: "symbol manager", parts.privileger: "privileger"}
    return roles.get(address, address)


def _unusable(expected: str, came: str) -> StoreError:
    return StoreError(expected, came, "the store is set aside and the market read again from the chain")
