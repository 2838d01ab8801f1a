"""What the logs of a block say may have changed. They say no more than that: what is true is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keeper.model import Log
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Wiring


@dataclass(frozen=True, slots=True)
class Index:
    """Which address is what, as of the mirror's head."""

    parts: Wiring
    symbols: Mapping[str, str]
    """Symbol address to symbol id."""
    symbol_addresses: Mapping[str, str]
    """The reverse."""
    readings: Mapping[str, frozenset[str]]
    """What emits a price's events (an off-chain oracle, a Chainlink aggregator) to the ids of the oracles it moves."""
    v_tokens: frozenset[str]
    vaults: Mapping[str, int]
    """Vault address to the pTokenId of its trader."""


@dataclass(slots=True)
class Dirty:
    """Gathers until a read has succeeded; so a read that fails loses nothing."""

    everything: bool = False
    pool: bool = False
    symbol_set: bool = False
    all_symbols: bool = False
    implementations: set[str] = field(default_factory=set)
    """Addresses of symbols whose parameters may have moved."""
    oracles: set[str] = field(default_factory=set)
    accounts: dict[int, set[str]] = field(default_factory=dict)
    """pTokenIds, each with the addresses of the symbols that it traded."""
    privileger: bool = False
    readings: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Oracle id to (timestamp, value) of its last ``NewValue``: an absolute figure, so it needs no read."""

    def mark(self, log: Log, index: Index, *, undone: bool) -> str:
        """Take a log in. Answers the contract whose implementation changed, empty for any other event.

        Raises ``ValueError`` or ``IndexError`` for an event that is not of its shape.
        """
        parts, topic = index.parts, log.topics[0] if log.topics else b""
        if log.address in index.readings:
            for oracle_id in index.readings[log.address]:
                self._mark_reading(log, oracle_id, undone=undone)
        elif topic == abi.NEW_IMPLEMENTATION:
            return self._mark_implementation(log.address, index)
        elif log.address == parts.symbol_manager:
            self._mark_manager(log, index)
        elif log.address == parts.pool:
            self._mark_pool(log)
        elif log.address == parts.p_token and topic == abi.TRANSFER:
            self._account(int.from_bytes(log.topics[3], "big"))
        elif log.address == parts.oracle_manager and topic == abi.NEW_ORACLE:
            self.oracles.add(abi.hex_of(log.topics[1]))
        elif log.address == parts.privileger and topic in (abi.DEPOSIT, abi.WITHDRAW):
            self.privileger = True
        elif log.address in index.v_tokens and topic == abi.TRANSFER:
            for word in log.topics[1:3]:
                if (owner := index.vaults.get(abi.address_of(word))) is not None:
                    self._account(owner)
        return ""

    def _account(self, p_token_id: int) -> set[str]:
        return self.accounts.setdefault(p_token_id, set())

    def _mark_manager(self, log: Log, index: Index) -> None:
        if log.topics[0] == abi.TRADE:
            trade = abi.trade_of(log)
            self.pool = True
            traded = self._account(trade.p_token_id)
            if (address := index.symbol_addresses.get(trade.symbol_id)) is not None:
                traded.add(address)
        elif log.topics[0] in (abi.ADD_SYMBOL, abi.REMOVE_SYMBOL):
            self.symbol_set = True

    def _mark_pool(self, log: Log) -> None:
        if log.topics[0] in (abi.ADD_MARGIN, abi.REMOVE_MARGIN):
            self.pool = True
            self._account(int.from_bytes(log.topics[1], "big"))
        elif log.topics[0] in (abi.ADD_LIQUIDITY, abi.REMOVE_LIQUIDITY):
            self.pool = self.all_symbols = True

    def _mark_reading(self, log: Log, oracle_id: str, *, undone: bool) -> None:
        if log.topics[0] == abi.NEW_VALUE and not undone:
            self.readings[oracle_id] = int.from_bytes(log.topics[1], "big"), int.from_bytes(log.topics[2], "big")
        elif log.topics[0] in (abi.NEW_VALUE, abi.ANSWER_UPDATED):
            self.oracles.add(oracle_id)

    def _mark_implementation(self, address: str, index: Index) -> str:
        if address in index.symbols:
            self.implementations.add(address)
        else:
            self.everything = True
        return address
