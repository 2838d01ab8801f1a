"""The records of one pool as a mirror holds them, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from keeper.model import LogFilter
from keeper.protocols.deri import abi
from keeper.protocols.deri.dirty import Index
from keeper.protocols.deri.plans import OracleRead, Wiring
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


@dataclass(slots=True)
class Records:
    """Everything that was read of one pool, true at one block. The records are immutable, the mappings are not."""

    parts: Wiring
    pool: PoolState
    symbols: dict[str, Symbol] = field(default_factory=dict)
    oracles: dict[str, OracleRead] = field(default_factory=dict)
    accounts: dict[int, AccountState] = field(default_factory=dict)
    vault_markets: dict[str, VaultMarket] = field(default_factory=dict)
    privileger: PrivilegerState | None = None
    unread_markets: set[str] = field(default_factory=set)
    """Lending markets that vaults have entered and whose figures can't be read at the moment."""
    vaults: dict[str, int] = field(default_factory=dict)
    """Vault address to its pTokenId."""
    block_number: int | None = None
    """See ``MarketState``."""

    def put(self, account: AccountState) -> None:
        """Take an account's new state."""
        self.accounts[account.p_token_id] = account
        if account.vault:
            self.vaults[account.vault.address] = account.p_token_id

    def state(self) -> MarketState:
        """What the engine computes on."""
        return MarketState(
            pool=self.pool,
            symbols=self.symbols,
            oracles={oracle_id: read.state for oracle_id, read in self.oracles.items()},
            accounts=self.accounts,
            vault_markets=self.vault_markets,
            privileger=self.privileger,
            block_number=self.block_number,
        )

    def wanted_oracles(self) -> set[str]:
        """The oracles that symbols are priced by and that bound the swaps of collateral."""
        swaps = {market.swap_oracle_id for market in self.vault_markets.values() if market.swap_oracle_id}
        return oracle_ids(self.symbols.values()) | swaps

    def index(self) -> Index:
        """Which address is what."""
        readings: dict[str, frozenset[str]] = {}
        for oracle_id, read in self.oracles.items():
            emitter = read.state.address if read.state.kind is OracleKind.OFFCHAIN else read.aggregator
            if emitter != ZERO_ADDRESS:
                readings[emitter] = readings.get(emitter, frozenset()) | {oracle_id}
        return Index(
            parts=self.parts,
            symbols={symbol.params.address: symbol_id for symbol_id, symbol in self.symbols.items()},
            symbol_addresses={symbol_id: symbol.params.address for symbol_id, symbol in self.symbols.items()},
            readings=readings,
            v_tokens=frozenset(self.vault_markets) | self.unread_markets,
            vaults=self.vaults,
        )


def log_filter(index: Index) -> LogFilter:
    """Every address whose events make something dirty."""
    parts = index.parts
    addresses = {parts.pool, parts.symbol_manager, parts.p_token, parts.oracle_manager, parts.privileger}
    addresses |= index.symbols.keys() | index.readings.keys() | index.v_tokens
    addresses.discard(ZERO_ADDRESS)
    return LogFilter(frozenset(addresses), abi.ALL_TOPICS)


def oracle_ids(symbols: Iterable[Symbol]) -> set[str]:
    """The oracles that symbols need, as far as they can be priced at all."""
    known = [symbol.params for symbol in symbols if symbol.params.kind is not SymbolKind.UNKNOWN]
    return {params.price_id for params in known} | {params.volatility_id for params in known if params.volatility_id}
