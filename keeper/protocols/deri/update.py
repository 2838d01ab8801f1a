"""What one round of reading has to find out: everything, or what has become dirty since the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from keeper.chain.multicall import MULTICALL3
from keeper.protocols.deri import abi, plans, vault, vault_plans
from keeper.protocols.deri.dirty import Dirty, Index
from keeper.protocols.deri.plans import OracleRead, Plan, T, Wiring, together
from keeper.protocols.deri.records import Records, oracle_ids
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    OracleKind,
    PoolState,
    PrivilegerState,
    Symbol,
    SymbolKind,
    VaultMarket,
    VaultState,
)

K = TypeVar("K")


@dataclass(slots=True)
class Update:
    """What was found: it replaces what was known.

    None of an oracle or an account: there is none; of a lending market: it can't be read at the moment.
    """

    parts: Wiring | None = None
    """Set when everything was read; then what the update does not hold is gone."""
    pool: PoolState | None = None
    symbols: dict[str, Symbol] = field(default_factory=dict)
    removed_symbols: set[str] = field(default_factory=set)
    oracles: dict[str, OracleRead | None] = field(default_factory=dict)
    accounts: dict[int, AccountState | None] = field(default_factory=dict)
    vault_markets: dict[str, VaultMarket | None] = field(default_factory=dict)
    privileger: PrivilegerState | None = None
    block_number: int | None = None
    """``block.number`` as a contract sees it, if it was asked for and there was one to ask."""
    lending_moved: bool = False
    """The lending protocol values collateral by another oracle than the wiring names."""


# --- everything ------------------------------------------------------------------------------------------------------


def everything(pool: str, liquidators: Sequence[str]) -> Plan[Update]:
    """The whole market. Raises ``ProtocolError`` if the contracts are not what they should be."""
    parts = yield from plans.wiring(pool)
    update = Update()
    update.pool, addresses = yield from plans.both(plans.pool_state(parts), plans.symbol_addresses(parts))
    minted, symbols = yield from plans.both(plans.total_minted(parts), together(map(plans.symbol, addresses)))
    update.symbols = {symbol.params.symbol_id: symbol for symbol in symbols}
    ids = {symbol.params.address: symbol.params.symbol_id for symbol in symbols}
    steps = [_into(update.accounts, key, account(parts, key, ids)) for key in range(1, minted + 1)]
    steps += [_into(update.oracles, key, plans.oracle(parts, key)) for key in oracle_ids(symbols)]
    steps.append(_count_blocks(update))
    _, update.privileger = yield from plans.both(together(steps), plans.privileger_state(parts, liquidators))
    yield from _new_vault_markets(parts, update, (), ())
    if not (yield from _can_be_taken_apart(parts, update)):
        parts = replace(parts, comptroller=ZERO_ADDRESS, price_oracle=ZERO_ADDRESS)
        update.vault_markets = {}
        holders = [one for one in update.accounts.values() if one and one.vault]
        yield from together(_into(update.accounts, one.p_token_id, _revalued(parts, one)) for one in holders)
    update.parts = parts
    return update


def _can_be_taken_apart(parts: Wiring, update: Update) -> Plan[bool]:
    """Whether some vaults' own ``getVaultLiquidity()`` is what their balances and the market's units give.

    One is taken for every lending market, and one that has something there: an empty vault proves nothing.
    """
    vaults = [one.vault for one in update.accounts.values() if one and one.vault]
    by_market = {v_token: one for one in vaults for v_token, balance in one.balances if balance}
    chosen = list({one.address: one for one in by_market.values()}.values())
    if parts.comptroller == ZERO_ADDRESS or not chosen or update.pool is None:
        return True
    results = yield [abi.VAULT_LIQUIDITY.at(one.address) for one in chosen]
    units = vault.units({key: market for key, market in update.vault_markets.items() if market})
    ours = [vault.liquidity(one, units, update.pool.vault_liquidity_multiplier) for one in chosen]
    return ours == [abi.VAULT_LIQUIDITY.optional(result) for result in results]  # None is "can't be valued" to both


# --- what is dirty ---------------------------------------------------------------------------------------------------


def catch_up(
    records: Records,
    index: Index,
    dirty: Dirty,
    liquidators: Sequence[str],
    missing: Iterable[str],
    vaults_polled: Iterable[int],
    *,
    counts_blocks: bool = False,
) -> Plan[Update]:
    """What the logs made dirty, and what no log announces.

    ``missing`` are oracles known not to exist, ``vaults_polled`` the accounts whose vaults are read as they are;
    ``counts_blocks``: ``block.number`` has to be asked for.
    """
    parts, update = records.parts, Update()
    ids = index.symbols
    if dirty.symbol_set or dirty.implementations:
        ids = yield from _changed_symbols(parts, index, dirty, update)
    steps: list[Plan[None]] = []
    touched = set(ids) if dirty.all_symbols else set()
    for p_token_id, traded in dirty.accounts.items():
        before = records.accounts.get(p_token_id)
        held = {index.symbol_addresses.get(symbol_id) for symbol_id in before.active_symbols} if before else set()
        guess = [address for address in ids if address in held or address in traded]
        touched.update(guess)
        steps.append(_into(update.accounts, p_token_id, account(parts, p_token_id, ids, guess)))
    for address in touched:
        symbol = records.symbols.get(ids[address])
        if symbol and ids[address] not in update.symbols and symbol.params.kind is not SymbolKind.UNKNOWN:
            steps.append(_into(update.symbols, ids[address], _rerun(symbol)))
    wanted = records.wanted_oracles() | oracle_ids(update.symbols.values())
    asked = (dirty.oracles & wanted) | (wanted - records.oracles.keys() - set(missing))
    steps += [_into(update.oracles, oracle_id, plans.oracle(parts, oracle_id)) for oracle_id in asked]
    steps += _polled(records, update, asked)
    if counts_blocks:
        steps.append(_count_blocks(update))
    for p_token_id in vaults_polled:
        holder = records.accounts.get(p_token_id)
        if holder and holder.vault and p_token_id not in dirty.accounts and parts.comptroller == ZERO_ADDRESS:
            steps.append(_into(update.accounts, p_token_id, _revalued(parts, holder)))
    if dirty.privileger:
        steps.append(_privileger_into(update, plans.privileger_state(parts, liquidators)))
    if dirty.pool:
        steps.append(_pool_into(update, plans.pool_state(parts)))
    yield from together(steps)
    for oracle_id, (timestamp, value) in dirty.readings.items():
        if oracle_id not in update.oracles and (read := records.oracles.get(oracle_id)):
            update.oracles[oracle_id] = replace(read, state=replace(read.state, timestamp=timestamp, value=value))
    known = records.vault_markets.keys() | records.unread_markets
    yield from _new_vault_markets(parts, update, known, records.oracles)
    return update


def account(
    parts: Wiring, p_token_id: int, ids: Mapping[str, str], guess: Iterable[str] = ()
) -> Plan[AccountState | None]:
    """One trader with the vault's contents; None if the pToken does not exist. See ``plans.account``."""
    read = yield from plans.account(parts, p_token_id, ids, guess)
    if read is None:
        return None
    if read.vault == ZERO_ADDRESS:
        return read.state
    contents = yield from vault_plans.vault(parts, read.vault)
    return replace(read.state, vault=contents)


def _changed_symbols(parts: Wiring, index: Index, dirty: Dirty, update: Update) -> Plan[Mapping[str, str]]:
    """Read symbols that are new or have a new implementation. Returns the ids by address as they are now."""
    addresses = yield from plans.symbol_addresses(parts)
    fresh = [address for address in addresses if address not in index.symbols or address in dirty.implementations]
    for symbol in (yield from together(map(plans.symbol, fresh))):
        update.symbols[symbol.params.symbol_id] = symbol
    listed = set(addresses)
    update.removed_symbols = {symbol_id for address, symbol_id in index.symbols.items() if address not in listed}
    ids = {address: symbol_id for address, symbol_id in index.symbols.items() if address in listed}
    ids |= {symbol.params.address: symbol_id for symbol_id, symbol in update.symbols.items()}
    return ids


def _polled(records: Records, update: Update, already: Iterable[str]) -> Iterator[Plan[None]]:
    """What no event announces: Woo's prices, the aggregator behind a Chainlink feed, the lending market's figures."""
    for oracle_id, read in records.oracles.items():
        if oracle_id in already:
            continue
        if read.state.kind is OracleKind.WOO:
            yield _into(update.oracles, oracle_id, plans.oracle_value(read))
        elif read.state.kind is OracleKind.CHAINLINK:
            yield _follow(records.parts, oracle_id, read, update)
    if records.parts.comptroller != ZERO_ADDRESS:
        yield _watch_lending(records.parts, update)
    for v_token, market in records.vault_markets.items():
        yield _into(update.vault_markets, v_token, vault_plans.vault_units(records.parts, market))
    for v_token in records.unread_markets:
        yield _into(update.vault_markets, v_token, vault_plans.vault_market(records.parts, v_token))


def _follow(parts: Wiring, oracle_id: str, read: OracleRead, update: Update) -> Plan[None]:
    """Read a Chainlink oracle again if its feed's proxy has moved to another aggregator."""
    if read.aggregator == read.feed:
        return
    results = yield [abi.AGGREGATOR.at(read.feed)]
    if abi.AGGREGATOR.optional(results[0]) != read.aggregator:
        update.oracles[oracle_id] = yield from plans.oracle(parts, oracle_id)


def _count_blocks(update: Update) -> Plan[None]:
    results = yield [abi.BLOCK_NUMBER.at(MULTICALL3)]
    update.block_number = abi.BLOCK_NUMBER.optional(results[0])


def _watch_lending(parts: Wiring, update: Update) -> Plan[None]:
    results = yield [abi.COMPTROLLER_ORACLE.at(parts.comptroller)]
    update.lending_moved = abi.COMPTROLLER_ORACLE.optional(results[0]) != parts.price_oracle


def _new_vault_markets(parts: Wiring, update: Update, known: Iterable[str], known_oracles: Iterable[str]) -> Plan[None]:
    """Read the lending markets that an account has entered for the first time, and the oracles that bound swaps."""
    if parts.comptroller == ZERO_ADDRESS:
        return
    held = (one.vault.balances for one in update.accounts.values() if one and one.vault)
    entered = {v_token: None for balances in held for v_token, _ in balances}
    new_markets = [v_token for v_token in entered if v_token not in known]
    yield from together(_into(update.vault_markets, key, vault_plans.vault_market(parts, key)) for key in new_markets)
    swaps = {market.swap_oracle_id for market in update.vault_markets.values() if market and market.swap_oracle_id}
    new = swaps - update.oracles.keys() - set(known_oracles)
    yield from together(_into(update.oracles, oracle_id, plans.oracle(parts, oracle_id)) for oracle_id in new)


def _rerun(symbol: Symbol) -> Plan[Symbol]:
    """The symbol with its running state read again."""
    state = yield from plans.symbol_state(symbol.params.address)
    return replace(symbol, state=state)


def _revalued(parts: Wiring, holder: AccountState) -> Plan[AccountState]:
    """The account with its vault read as it is."""
    contents: VaultState | None = None
    if holder.vault is not None:
        contents = yield from vault_plans.vault(parts, holder.vault.address)
    return replace(holder, vault=contents)


def _into(target: dict[K, T], key: K, plan: Plan[T]) -> Plan[None]:
    target[key] = yield from plan


def _pool_into(update: Update, plan: Plan[PoolState]) -> Plan[None]:
    update.pool = yield from plan


def _privileger_into(update: Update, plan: Plan[PrivilegerState | None]) -> Plan[None]:
    update.privileger = yield from plan
