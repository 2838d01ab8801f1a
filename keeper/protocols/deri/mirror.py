"""The mirror of one pool: its contracts as of one block, kept exact.

An event says what is dirty; one read pinned to the new head's hash says what is true. A reorg is no special case: what
the logs of a block that went away touched is as dirty as what those of a new block touch. What is dirty stays so until
a read has succeeded, so a failed ``apply`` loses nothing: the next one makes up for it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import structlog

from keeper.errors import ProtocolError, StoreError
from keeper.model import Advance, Header, LogFilter, Reader
from keeper.protocols.deri import abi, plans, rows, vault_plans
from keeper.protocols.deri.dirty import Dirty, Index
from keeper.protocols.deri.plans import OracleRead, Plan, T, Wiring, run, together
from keeper.protocols.deri.rows import Key, Record
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    MarketState,
    OracleKind,
    PoolState,
    PrivilegerState,
    Symbol,
    SymbolKind,
    VaultMarket,
)
from keeper.protocols.deri.sums import Sums
from keeper.protocols.market import Row

_log = structlog.get_logger(__name__)

YOUNG_BLOCKS = 8
"""For so many blocks a contract that has just become part of the market is read rather than listened to."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an ``apply`` found changed, for whoever derives something from the mirror."""

    everything: bool = False
    pool: bool = False
    symbols: frozenset[str] = frozenset()
    oracles: frozenset[str] = frozenset()
    accounts: frozenset[int] = frozenset()
    vault_markets: frozenset[str] = frozenset()
    privileger: bool = False


@dataclass(slots=True)
class _Update:
    """What one round of reading found: everything that it holds replaces what the mirror had."""

    everything: bool = False
    wiring: Wiring | None = None
    pool: PoolState | None = None
    symbols: dict[str, Symbol] = field(default_factory=dict)
    removed_symbols: set[str] = field(default_factory=set)
    oracles: dict[str, OracleRead | None] = field(default_factory=dict)
    accounts: dict[int, AccountState | None] = field(default_factory=dict)
    vault_markets: dict[str, VaultMarket] = field(default_factory=dict)
    privileger: PrivilegerState | None = None


class Mirror:
    """Owns the records of one pool. The records are immutable; the mappings in ``state`` are live."""

    def __init__(self, market: str, pool: str, liquidators: Sequence[str] = ()) -> None:
        self.mismatches = 0
        """How often the sums over all positions did not give a symbol's own figures."""
        self._log = _log.bind(market=market)
        self._pool_address = pool
        self._liquidators = tuple(liquidators)
        self._wiring: Wiring | None = None
        self._head: Header | None = None
        self._pool: PoolState | None = None
        self._symbols: dict[str, Symbol] = {}
        self._oracles: dict[str, OracleRead] = {}
        self._accounts: dict[int, AccountState] = {}
        self._vault_markets: dict[str, VaultMarket] = {}
        self._privileger: PrivilegerState | None = None
        self._missing: set[str] = set()
        """Oracle ids that symbols name and the oracle manager has nothing for."""
        self._sums = Sums()
        self._vaults: dict[str, int] = {}
        """Vault address to its pTokenId."""
        self._index: Index | None = None
        self._young: dict[str, int] = {}
        """Symbol addresses and oracle ids whose events may not be asked for yet, and for how many more blocks."""
        self._dirty = Dirty()
        self._unsaved: set[Key] | None = None
        """Rows that changed since they were last asked for; None: all."""
        self._sums_trouble = False
        self._view: MarketState | None = None

    # What it knows

    @property
    def wiring(self) -> Wiring:
        return _known(self._wiring)

    @property
    def head(self) -> Header:
        """The block as of which everything here is true."""
        return _known(self._head)

    @property
    def state(self) -> MarketState:
        """The market at ``head``. Its mappings change with the next ``apply``."""
        if self._view is None:
            self._view = MarketState(
                pool=_known(self._pool),
                symbols=self._symbols,
                oracles={oracle_id: read.state for oracle_id, read in self._oracles.items()},
                accounts=self._accounts,
                vault_markets=self._vault_markets,
                privileger=self._privileger,
            )
        return self._view

    def log_filter(self) -> LogFilter:
        """Every address whose events make something here dirty."""
        parts = self.wiring
        addresses = {parts.pool, parts.symbol_manager, parts.p_token, parts.oracle_manager, parts.privileger}
        index = _known(self._index)
        addresses |= index.symbols.keys() | index.readings.keys() | self._vault_markets.keys()
        addresses.discard(ZERO_ADDRESS)
        return LogFilter(frozenset(addresses), abi.ALL_TOPICS)

    def digest(self) -> str:
        """A hash over every record. Equal digests mean equal mirrors."""
        return rows.digest(rows.row(key, self._record(key)) for key in self._keys())

    def distrust(self) -> None:
        """Have the next ``apply`` read everything again."""
        self._dirty.everything = True

    # How it comes to know it

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Read everything at ``head``. Raises ``ProtocolError`` if the contracts are not what they should be."""
        update = await run(self._everything(), reader, head.hash)
        self._commit(update, head)
        self._dirty = Dirty()
        self._check_sums(self._symbols)

    async def apply(self, advance: Advance, reader: Reader) -> Changes:
        """Bring everything to ``advance.head``. Costs no read if no log touched the market and nothing is polled."""
        self._mark(advance)
        head = advance.head
        if self._dirty.everything:
            return await self._read_everything(reader, head)
        update = await run(self._catch_up(self._dirty), reader, head.hash)
        changes = self._commit(update, head)
        self._dirty = Dirty()
        if not self._check_sums(changes.symbols):
            return await self._read_everything(reader, head)
        return changes

    async def _read_everything(self, reader: Reader, head: Header) -> Changes:
        await self.bootstrap(reader, head)
        return Changes(everything=True)

    # What makes something dirty

    def _mark(self, advance: Advance) -> None:
        index, dirty = _known(self._index), self._dirty
        for logs, undone in ((advance.undone, True), (advance.logs, False)):
            for log in logs:
                if address := dirty.mark(log, index, undone=undone):
                    symbol = self._symbols.get(index.symbols.get(address, ""))
                    name = symbol.params.name if symbol else _role(index.parts, address)
                    self._log.warning("an implementation changed: it is read again in full", contract=name)
        for young in self._young:
            if young in index.symbols:
                dirty.implementations.add(young)
            else:
                dirty.oracles.add(young)

    # What reads it

    def _everything(self) -> Plan[_Update]:
        parts = yield from plans.wiring(self._pool_address)
        update = _Update(everything=True, wiring=parts)
        pool, addresses = yield from plans.both(plans.pool_state(parts), plans.symbol_addresses(parts))
        update.pool = pool
        minted, symbols = yield from plans.both(plans.total_minted(parts), together(map(plans.symbol, addresses)))
        update.symbols = {symbol.params.symbol_id: symbol for symbol in symbols}
        ids = {symbol.params.address: symbol.params.symbol_id for symbol in symbols}
        steps = [
            _into(update.accounts, p_token_id, self._account(parts, p_token_id, ids))
            for p_token_id in range(1, minted + 1)
        ]
        steps += [
            _into(update.oracles, oracle_id, plans.oracle(parts, oracle_id)) for oracle_id in _oracle_ids(symbols)
        ]
        _, update.privileger = yield from plans.both(together(steps), plans.privileger_state(parts, self._liquidators))
        yield from self._new_vault_markets(parts, update, {})
        return update

    def _catch_up(self, dirty: Dirty) -> Plan[_Update]:
        parts = self.wiring
        update = _Update()
        ids: Mapping[str, str] = _known(self._index).symbols
        if dirty.symbol_set or dirty.implementations:
            ids = yield from self._changed_symbols(parts, dirty, update)
        steps: list[Plan[None]] = []
        touched = set(ids) if dirty.all_symbols else set()
        for p_token_id, traded in dirty.accounts.items():
            account = self._accounts.get(p_token_id)
            held = (
                {self._symbols[symbol_id].params.address for symbol_id in account.active_symbols} if account else set()
            )
            held = (held | traded) & ids.keys()
            touched |= held
            steps.append(_into(update.accounts, p_token_id, self._account(parts, p_token_id, ids, held)))
        for address in touched:
            known = self._symbols.get(ids[address])
            if known and ids[address] not in update.symbols and known.params.kind is not SymbolKind.UNKNOWN:
                steps.append(_into(update.symbols, ids[address], _rerun(known)))
        wanted = _oracle_ids(self._symbols.values()) | _oracle_ids(update.symbols.values()) | self._swap_ids()
        oracle_ids = (dirty.oracles & wanted) | (wanted - self._oracles.keys() - self._missing)
        steps += [_into(update.oracles, oracle_id, plans.oracle(parts, oracle_id)) for oracle_id in oracle_ids]
        steps += self._polled(parts, update, oracle_ids)
        if dirty.privileger:
            steps.append(_privileger_into(update, plans.privileger_state(parts, self._liquidators)))
        if dirty.pool:
            steps.append(_pool_into(update, plans.pool_state(parts)))
        yield from together(steps)
        for oracle_id, (timestamp, value) in dirty.readings.items():
            if oracle_id not in update.oracles and (read := self._oracles.get(oracle_id)):
                update.oracles[oracle_id] = replace(read, state=replace(read.state, timestamp=timestamp, value=value))
        yield from self._new_vault_markets(parts, update, self._vault_markets)
        return update

    def _changed_symbols(self, parts: Wiring, dirty: Dirty, update: _Update) -> Plan[Mapping[str, str]]:
        """Read symbols that are new or have a new implementation. Returns the ids by address as they are now."""
        known = _known(self._index).symbols
        addresses = yield from plans.symbol_addresses(parts)
        fresh = [address for address in addresses if address not in known or address in dirty.implementations]
        for symbol in (yield from together(map(plans.symbol, fresh))):
            update.symbols[symbol.params.symbol_id] = symbol
        update.removed_symbols = {symbol_id for address, symbol_id in known.items() if address not in addresses}
        ids = {address: symbol_id for address, symbol_id in known.items() if address in addresses}
        ids |= {symbol.params.address: symbol_id for symbol_id, symbol in update.symbols.items()}
        return ids

    def _account(
        self, parts: Wiring, p_token_id: int, ids: Mapping[str, str], guess: Iterable[str] = ()
    ) -> Plan[AccountState | None]:
        read = yield from plans.account(parts, p_token_id, ids, guess)
        if read is None:
            return None
        if read.vault == ZERO_ADDRESS:
            return read.state
        vault = yield from vault_plans.vault(parts, read.vault)
        return replace(read.state, vault=vault)

    def _polled(self, parts: Wiring, update: _Update, already: Iterable[str]) -> Iterator[Plan[None]]:
        """What no event announces: Woo's prices, the aggregator behind a Chainlink feed, the lending market's units."""
        for oracle_id, read in self._oracles.items():
            if oracle_id in already:
                continue
            if read.state.kind is OracleKind.WOO:
                yield _into(update.oracles, oracle_id, plans.oracle_value(read))
            elif read.state.kind is OracleKind.CHAINLINK:
                yield _follow(parts, oracle_id, read, update)
        for v_token, market in self._vault_markets.items():
            yield _into(update.vault_markets, v_token, vault_plans.vault_units(parts, market))

    def _new_vault_markets(self, parts: Wiring, update: _Update, known: Mapping[str, VaultMarket]) -> Plan[None]:
        """Read the lending markets that an account has entered for the first time, and the oracles that bound swaps."""
        entered = {
            v_token: None
            for account in update.accounts.values()
            if account and account.vault
            for v_token, _ in account.vault.balances
            if v_token not in known
        }
        markets = yield from together(vault_plans.vault_market(parts, v_token) for v_token in entered)
        update.vault_markets |= {market.v_token: market for market in markets}
        swap_ids = {market.swap_oracle_id for market in markets if market.swap_oracle_id} - update.oracles.keys()
        if not update.everything:
            swap_ids -= self._oracles.keys()
        yield from together(_into(update.oracles, oracle_id, plans.oracle(parts, oracle_id)) for oracle_id in swap_ids)

    # What takes it over

    def _commit(self, update: _Update, head: Header) -> Changes:
        """Make what was read the truth, all at once."""
        if update.everything:
            self._wiring = update.wiring
            self._symbols, self._accounts, self._oracles, self._vault_markets = {}, {}, {}, {}
            self._privileger = update.privileger
            self._unsaved = None
        elif update.privileger is not None:
            self._privileger = update.privileger
            self._touch(rows.PRIVILEGER)
        if update.pool is not None:
            self._pool = update.pool
            self._touch(rows.POOL)
        for symbol_id in update.removed_symbols:
            del self._symbols[symbol_id]
            self._touch(rows.symbol_key(symbol_id))
        for symbol_id, symbol in update.symbols.items():
            self._take_symbol(symbol_id, symbol)
        for oracle_id, read in update.oracles.items():
            self._take_oracle(oracle_id, read)
        for v_token, market in update.vault_markets.items():
            self._vault_markets[v_token] = market
            self._touch(rows.vault_market_key(v_token))
        if update.everything:
            self._accounts = {key: account for key, account in update.accounts.items() if account}
            self._sums = Sums(self._accounts.values())
            self._vaults = {a.vault.address: key for key, a in self._accounts.items() if a.vault}
        else:
            for p_token_id, account in update.accounts.items():
                self._take_account(p_token_id, account)
        self._reindex()
        self._head = head
        self._view = None
        return Changes(
            everything=update.everything,
            pool=update.pool is not None,
            symbols=frozenset(update.symbols) | frozenset(update.removed_symbols),
            oracles=frozenset(update.oracles),
            accounts=frozenset(update.accounts),
            vault_markets=frozenset(update.vault_markets),
            privileger=update.privileger is not None,
        )

    def _take_symbol(self, symbol_id: str, symbol: Symbol) -> None:
        before = self._symbols.get(symbol_id)
        if symbol.params.kind is SymbolKind.UNKNOWN and (before is None or before.params != symbol.params):
            self._log.error(
                "a symbol is of a kind that the keeper can't price: accounts that hold it are not assessable",
                symbol=symbol.params.name,
                contract=symbol.params.address,
            )
        self._symbols[symbol_id] = symbol
        self._touch(rows.symbol_key(symbol_id))

    def _take_oracle(self, oracle_id: str, read: OracleRead | None) -> None:
        if read is not None:
            self._oracles[oracle_id] = read
            self._missing.discard(oracle_id)
        else:
            self._oracles.pop(oracle_id, None)
            if oracle_id not in self._missing:
                self._log.error("an oracle is missing: accounts that need it are not assessable", oracle=oracle_id)
                self._missing.add(oracle_id)
        self._touch(rows.oracle_key(oracle_id))

    def _take_account(self, p_token_id: int, account: AccountState | None) -> None:
        self._sums.count(self._accounts.get(p_token_id), -1)
        self._sums.count(account, 1)
        if account is None:
            self._accounts.pop(p_token_id, None)
        else:
            self._accounts[p_token_id] = account
            if account.vault:
                self._vaults[account.vault.address] = p_token_id
        self._touch(rows.account_key(p_token_id))

    def _swap_ids(self) -> set[str]:
        return {market.swap_oracle_id for market in self._vault_markets.values() if market.swap_oracle_id}

    def _reindex(self) -> None:
        """What follows from symbols and oracles; and what is new gets a few blocks' care.

        Whoever fetches the logs learns of a new address only after this block, so the next few blocks' logs may lack
        its events: until then it is read again each block.
        """
        before, self._young = self._index, {key: left - 1 for key, left in self._young.items() if left > 1}
        readings = {}
        for oracle_id, read in self._oracles.items():
            if read.state.kind is OracleKind.OFFCHAIN:
                readings[read.state.address] = oracle_id
            elif read.aggregator != ZERO_ADDRESS:
                readings[read.aggregator] = oracle_id
        symbols = {symbol.params.address: symbol_id for symbol_id, symbol in self._symbols.items()}
        self._index = Index(
            parts=self.wiring,
            symbols=symbols,
            symbol_addresses={symbol_id: address for address, symbol_id in symbols.items()},
            readings=readings,
            v_tokens=frozenset(self._vault_markets),
            vaults=self._vaults,
        )
        if before is not None:
            new = {address for address in symbols if address not in before.symbols}
            new |= {oracle_id for address, oracle_id in readings.items() if address not in before.readings}
            self._young |= dict.fromkeys(new, YOUNG_BLOCKS)

    # The free check

    def _check_sums(self, symbol_ids: Iterable[str]) -> bool:
        """A symbol's ``netVolume``, ``netCost`` and ``nPositionHolders`` are the sums over all positions, always.

        False asks for everything to be read again; so once per streak, since a second reading can't do better.
        """
        wrong = self._sums.wrong(self._symbols, symbol_ids)
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

    async def audit(self, reader: Reader, accounts: int) -> list[int]:
        """Read so many accounts, drawn at random, anew at ``head``; those that differ from what is known."""
        sample = random.sample(sorted(self._accounts), min(accounts, len(self._accounts)))
        found: dict[int, AccountState | None] = {}
        ids = _known(self._index).symbols
        await run(
            together(_into(found, key, self._account(self.wiring, key, ids)) for key in sample), reader, self.head.hash
        )
        return [key for key in sample if found[key] != self._accounts[key]]

    # The store

    def rows(self) -> list[Row]:
        """What has changed since the last call; everything at the first call after a bootstrap."""
        keys = list(self._keys()) if self._unsaved is None else sorted(self._unsaved, key=lambda k: (k.kind, k.key))
        self._unsaved = set()
        return [rows.row(key, self._record(key)) for key in keys]

    def restore(self, saved: Sequence[Row], head: Header) -> None:
        """Take the place of ``bootstrap`` with what ``rows`` gave at ``head``. Raises ``StoreError`` if unusable."""
        update = _Update(everything=True)
        for entry in saved:
            match rows.parse(entry):
                case _, Wiring() as parts:
                    update.wiring = parts
                case _, PoolState() as pool:
                    update.pool = pool
                case key, Symbol() as symbol:
                    update.symbols[key.key] = symbol
                case key, OracleRead() as read:
                    update.oracles[key.key] = read
                case _, AccountState() as account:
                    update.accounts[account.p_token_id] = account
                case key, VaultMarket() as market:
                    update.vault_markets[key.key] = market
                case _, PrivilegerState() as privileger:
                    update.privileger = privileger
        if update.wiring is None or update.pool is None or update.wiring.pool != self._pool_address:
            raise StoreError(
                f"the rows of the pool {self._pool_address}",
                f"those of {update.wiring.pool} came" if update.wiring else "no pool came",
                "the store is set aside and the market read again from the chain",
            )
        self._commit(update, head)
        self._unsaved = set()
        self._dirty = Dirty()
        known = update.privileger.stakes.keys() if update.privileger else self._liquidators
        self._dirty.privileger = set(known) != set(self._liquidators)
        if not self._check_sums(self._symbols):
            raise StoreError(
                "positions that add up to their symbols",
                "those in the store do not",
                "the store is set aside and the market read again from the chain",
            )

    def _touch(self, key: Key) -> None:
        if self._unsaved is not None:
            self._unsaved.add(key)

    def _keys(self) -> Iterator[Key]:
        yield from (rows.WIRING, rows.POOL)
        if self._privileger is not None:
            yield rows.PRIVILEGER
        yield from map(rows.symbol_key, self._symbols)
        yield from map(rows.oracle_key, self._oracles)
        yield from map(rows.vault_market_key, self._vault_markets)
        yield from map(rows.account_key, self._accounts)

    def _record(self, key: Key) -> Record | None:
        match key.kind:
            case "wiring":
                return self._wiring
            case "pool":
                return self._pool
            case "privileger":
                return self._privileger
            case "symbol":
                return self._symbols.get(key.key)
            case "oracle":
                return self._oracles.get(key.key)
            case "vault-market":
                return self._vault_markets.get(key.key)
        return self._accounts.get(int(key.key))


K = TypeVar("K")


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


def _oracle_ids(symbols: Iterable[Symbol]) -> set[str]:
    """The oracles that symbols need, as far as they can be priced at all."""
    known = [symbol.params for symbol in symbols if symbol.params.kind is not SymbolKind.UNKNOWN]
    return {params.price_id for params in known} | {params.volatility_id for params in known if params.volatility_id}


def _into(target: dict[K, T], key: K, plan: Plan[T]) -> Plan[None]:
    target[key] = yield from plan


def _pool_into(update: _Update, plan: Plan[PoolState]) -> Plan[None]:
    update.pool = yield from plan


def _privileger_into(update: _Update, plan: Plan[PrivilegerState | None]) -> Plan[None]:
    update.privileger = yield from plan


def _rerun(symbol: Symbol) -> Plan[Symbol]:
    """The symbol with its running state read again."""
    state = yield from plans.symbol_state(symbol.params.address)
    return replace(symbol, state=state)


def _follow(parts: Wiring, oracle_id: str, read: OracleRead, update: _Update) -> Plan[None]:
    """Read a Chainlink oracle again if its feed's proxy has moved to another aggregator."""
    results = yield [abi.AGGREGATOR.at(read.feed)]
    if (abi.AGGREGATOR.optional(results[0]) or ZERO_ADDRESS) != read.aggregator:
        update.oracles[oracle_id] = yield from plans.oracle(parts, oracle_id)
