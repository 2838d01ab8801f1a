"""Contracts that answer from a ``MarketState``: what a mirror reads must be what these hold.

``Contracts`` is a ``Reader`` that counts its batches. A test changes ``state`` and says so, or doesn't, by logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from eth_abi.abi import encode
from eth_utils import keccak, to_checksum_address

from keeper.errors import ChainError
from keeper.model import Advance, Header, Log, ReadCall, ReadResult
from keeper.protocols.deri import abi
from keeper.protocols.deri.abi import Getter
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    OracleState,
    Symbol,
    SymbolKind,
    VaultMarket,
    VaultState,
)
from keeper.protocols.deri.vault import liquidity as liquidity_of
from keeper.protocols.deri.vault import units as units_of
from scripts.vectorcheck.deri_schema import market
from scripts.vectorcheck.document import Node, load

VECTORS = Path(__file__).parents[1] / "vectors" / "deri" / "outcomes.json.gz"


def made_up(name: str) -> str:
    """An address of our own."""
    return to_checksum_address(keccak(text=name)[-20:])


POOL, MANAGER, P_TOKEN, ORACLE_MANAGER = (made_up(n) for n in ("pool", "manager", "pToken", "oracle manager"))
PRIVILEGER, DERI, TOKEN_B0 = made_up("privileger"), made_up("deri"), made_up("B0")
COMPTROLLER, PRICE_ORACLE, SWAPPER = made_up("comptroller"), made_up("price oracle"), made_up("swapper")
VAULT_IMPLEMENTATION, WETH = made_up("vault implementation"), made_up("WETH")

_NAME_IDS = {
    SymbolKind.FUTURES: "SymbolImplementationFutures",
    SymbolKind.OPTION: "SymbolImplementationOption",
    SymbolKind.POWER: "SymbolImplementationPower",
    SymbolKind.UNKNOWN: "SymbolImplementationGamma",
    OracleKind.OFFCHAIN: "OracleOffChain",
    OracleKind.CHAINLINK: "OracleChainlink",
    OracleKind.WOO: "OracleWoo",
}


@lru_cache
def snapshots() -> list[Node]:
    """Every recorded snapshot."""
    return list(load(VECTORS)["snapshots"])


def recorded(mode: str) -> MarketState:
    """A market of the vectors, ``lite`` or ``full``: every kind of symbol, 29 accounts."""
    snapshot = next(node for node in snapshots() if node["mode"].text == mode)
    state = market(snapshot)
    base = next((m.underlying for m in state.vault_markets.values() if m.is_base), None)
    moved_base = {base: TOKEN_B0} if base else {}
    return replace(
        state,
        symbols={key: _checksummed(symbol) for key, symbol in state.symbols.items()},
        oracles={key: replace(o, address=made_up("oracle " + o.name)) for key, o in state.oracles.items()},
        accounts={key: _account(account) for key, account in state.accounts.items()},
        vault_markets={
            key: replace(m, underlying=moved_base.get(m.underlying, m.underlying))
            for key, m in state.vault_markets.items()
        },
    )


def _checksummed(symbol: Symbol) -> Symbol:
    return replace(symbol, params=replace(symbol.params, address=to_checksum_address(symbol.params.address)))


def _account(account: AccountState) -> AccountState:
    vault = account.vault
    return replace(
        account,
        owner=to_checksum_address(account.owner),
        vault=vault and replace(vault, address=to_checksum_address(vault.address)),
    )


class Put(Protocol):
    """Files an answer."""

    def __call__(self, to: str, getter: Getter[object], kind: str, value: object, *words: bytes) -> None: ...


class Contracts:
    """Owns the truth of a made-up chain at its one block, and counts how often it is asked."""

    def __init__(self, state: MarketState) -> None:
        self.state = state
        self.aggregators: dict[str, str] = {}
        """Feed to aggregator."""
        self.overrides: dict[tuple[str, bytes], bytes | None] = {}
        """(address, call data) to another answer; None reverts."""
        self.batches = 0
        self.calls = 0
        self.failure: Exception | None = None
        """Raised by the next read instead of an answer."""
        self.fail_at = 0
        """The batch that no node answers, counted like ``batches``."""
        self._answered: tuple[MarketState, dict[tuple[str, bytes], bytes | None]] | None = None

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        self.batches += 1
        self.calls += len(calls)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        if self.batches == self.fail_at:
            raise ChainError("an answer", "none came", "wait")
        if self._answered is None or self._answered[0] is not self.state:
            self._answered = self.state, self._answers()
        answers = self._answered[1] | self.overrides
        results = []
        for call in calls:
            answer = answers.get((call.to, call.data))
            results.append(ReadResult(answer is not None, answer or b""))
        return results

    def _answers(self) -> dict[tuple[str, bytes], bytes | None]:
        answers: dict[tuple[str, bytes], bytes | None] = {}

        def put(to: str, getter: Getter[object], kind: str, value: object, *words: bytes) -> None:
            call = getter.at(to, *words)
            answers[to, call.data] = encode([kind], [value])

        state = self.state
        self._pool(put, state)
        for index, symbol in enumerate(state.symbols.values()):
            put(MANAGER, abi.INDEXED_SYMBOLS, "address", symbol.params.address, abi.uint_word(index))
            self._symbol(put, symbol)
        for oracle in state.oracles.values():
            self._oracle(put, oracle)
        addresses = {key: symbol.params.address for key, symbol in state.symbols.items()}
        for account in state.accounts.values():
            self._account(put, answers, account, addresses)
        for v_market in state.vault_markets.values():
            self._vault_market(put, answers, v_market)
        return answers

    def _pool(self, put: Put, state: MarketState) -> None:
        pool = state.pool
        for getter, address in (
            (abi.SYMBOL_MANAGER, MANAGER),
            (abi.P_TOKEN, P_TOKEN),
            (abi.ORACLE_MANAGER, ORACLE_MANAGER),
            (abi.PRIVILEGER, PRIVILEGER if state.privileger else ZERO_ADDRESS),
            (abi.TOKEN_B0, TOKEN_B0),
        ):
            put(POOL, getter, "address", address)
        for figure, value in (
            (abi.LIQUIDITY, pool.liquidity),
            (abi.LPS_PNL, pool.lps_pnl),
            (abi.CUMULATIVE_PNL_PER_LIQUIDITY, pool.cumulative_pnl_per_liquidity),
            (abi.MIN_LIQUIDATION_REWARD, pool.min_liquidation_reward),
            (abi.MAX_LIQUIDATION_REWARD, pool.max_liquidation_reward),
            (abi.LIQUIDATION_REWARD_CUT_RATIO, pool.liquidation_reward_cut_ratio),
        ):
            put(POOL, figure, "int256", value)
        put(MANAGER, abi.POOL, "address", POOL)
        put(MANAGER, abi.SYMBOLS_LENGTH, "uint256", len(state.symbols))
        put(MANAGER, abi.INITIAL_MARGIN_REQUIRED, "int256", pool.initial_margin_required)
        put(P_TOKEN, abi.TOTAL_MINTED, "uint256", max(state.accounts, default=0) + 1)
        if pool.flavour is Flavour.FULL:
            put(POOL, abi.VAULT_IMPLEMENTATION, "address", VAULT_IMPLEMENTATION)
            put(POOL, abi.DECIMALS_B0, "uint256", pool.decimals_b0)
            put(POOL, abi.V_TOKEN_B0, "address", next(m.v_token for m in state.vault_markets.values() if m.is_base))
            native = next(
                (m.v_token for m in state.vault_markets.values() if m.underlying == ZERO_ADDRESS), ZERO_ADDRESS
            )
            put(POOL, abi.V_TOKEN_ETH, "address", native)
            put(POOL, abi.SWAPPER, "address", SWAPPER)
            put(VAULT_IMPLEMENTATION, abi.COMPTROLLER, "address", COMPTROLLER)
            put(VAULT_IMPLEMENTATION, abi.VAULT_LIQUIDITY_MULTIPLIER, "uint256", pool.vault_liquidity_multiplier)
            put(COMPTROLLER, abi.COMPTROLLER_ORACLE, "address", PRICE_ORACLE)
            put(SWAPPER, abi.TOKEN_WETH, "address", WETH)
        if stakes := state.privileger:
            put(PRIVILEGER, abi.DERI, "address", DERI)
            put(PRIVILEGER, abi.MIN_LOCK_TIME, "uint256", stakes.min_lock_time_s)
            put(PRIVILEGER, abi.MIN_DEPOSIT_AMOUNT, "uint256", stakes.min_deposit_amount)
            put(PRIVILEGER, abi.STAKES_TOTAL, "uint256", stakes.stakes_total, abi.address_word(DERI))
            put(PRIVILEGER, abi.STAKES_COUNT, "uint256", stakes.stakes_count, abi.address_word(DERI))
            for user, stake in stakes.stakes.items():
                who = abi.address_word(DERI), abi.address_word(user)
                put(PRIVILEGER, abi.STAKES, "uint256", stake.amount, *who)
                put(PRIVILEGER, abi.STAKE_TIMESTAMPS, "uint256", stake.timestamp, *who)

    def _symbol(self, put: Put, symbol: Symbol) -> None:
        params, state, at = symbol.params, symbol.state, symbol.params.address
        put(at, abi.SYMBOL_ID, "bytes32", abi.word_of(params.symbol_id))
        put(at, abi.SYMBOL_NAME, "string", params.name)
        put(at, abi.NAME_ID, "bytes32", keccak(text=_NAME_IDS[params.kind]))
        for figure, value in (
            (abi.ALPHA, params.alpha),
            (abi.FUNDING_PERIOD, params.funding_period_s),
            (abi.INITIAL_MARGIN_RATIO, params.initial_margin_ratio),
            (abi.MAINTENANCE_MARGIN_RATIO, params.maintenance_margin_ratio),
            (abi.STARTING_PRICE_SHIFT_LIMIT, params.starting_price_shift_limit),
            (abi.NET_VOLUME, state.net_volume),
            (abi.NET_COST, state.net_cost),
            (abi.INDEX_PRICE, state.index_price),
            (abi.FUNDING_TIMESTAMP, state.funding_timestamp),
            (abi.CUMULATIVE_FUNDING_PER_VOLUME, state.cumulative_funding_per_volume),
            (abi.TRADERS_PNL, state.traders_pnl),
            (abi.INITIAL_MARGIN_REQUIRED, state.initial_margin_required),
            (abi.POSITION_HOLDERS, state.n_position_holders),
            (abi.LAST_NET_VOLUME, state.last_net_volume),
            (abi.LAST_NET_VOLUME_BLOCK, state.last_net_volume_block),
        ):
            put(at, figure, "int256", value)
        if params.kind in (SymbolKind.OPTION, SymbolKind.POWER) and params.volatility_id is not None:
            put(at, abi.PRICE_ID, "bytes32", abi.word_of(params.price_id))
            put(at, abi.VOLATILITY_ID, "bytes32", abi.word_of(params.volatility_id))
        if params.kind is SymbolKind.OPTION:
            put(at, abi.STRIKE_PRICE, "int256", params.strike_price)
            put(at, abi.MIN_INITIAL_MARGIN_RATIO, "int256", params.min_initial_margin_ratio)
            put(at, abi.IS_CALL, "bool", params.is_call)

    def _oracle(self, put: Put, oracle: OracleState) -> None:
        at = oracle.address
        put(ORACLE_MANAGER, abi.GET_ORACLE, "address", at, abi.word_of(oracle.oracle_id))
        put(at, abi.NAME_ID, "bytes32", keccak(text=_NAME_IDS[oracle.kind]))
        put(at, abi.SYMBOL_NAME, "string", oracle.name)
        put(at, abi.ORACLE_VALUE, "uint256", oracle.value)
        if not oracle.fault:
            put(at, abi.ORACLE_GET_VALUE, "uint256", oracle.value)
        if oracle.kind is not OracleKind.WOO:
            put(at, abi.ORACLE_TIMESTAMP, "uint256", oracle.timestamp)
        if oracle.kind is OracleKind.OFFCHAIN:
            put(at, abi.DELAY_ALLOWANCE, "uint256", oracle.delay_allowance_s)
            put(at, abi.ORACLE_SIGNER, "address", oracle.signer)
        if oracle.kind is OracleKind.CHAINLINK:
            feed = made_up("feed of " + oracle.name)
            put(at, abi.FEED, "address", feed)
            put(feed, abi.AGGREGATOR, "address", self.aggregators.get(feed, made_up("aggregator of " + oracle.name)))

    def _account(
        self,
        put: Put,
        answers: dict[tuple[str, bytes], bytes | None],
        account: AccountState,
        addresses: Mapping[str, str],
    ) -> None:
        token = abi.uint_word(account.p_token_id)
        put(P_TOKEN, abi.OWNER_OF, "address", account.owner, token)
        vault = account.vault
        tuple_of = encode(["address", "int256"], [vault.address if vault else ZERO_ADDRESS, account.amount_b0])
        answers[POOL, abi.TD_INFOS.at(POOL, token).data] = tuple_of
        put(MANAGER, abi.ACTIVE_SYMBOLS, "address[]", [addresses[i] for i in account.active_symbols], token)
        for position in account.positions:
            at = addresses[position.symbol_id]
            figures = [position.volume, position.cost, position.cumulative_funding_per_volume]
            answers[at, abi.POSITIONS.at(at, token).data] = encode(["int256"] * 3, figures)
        if vault:
            self._vault(put, vault)

    def _vault(self, put: Put, vault: VaultState) -> None:
        pool, units = self.state.pool, units_of(self.state.vault_markets)
        liquidity = liquidity_of(vault, units, pool.vault_liquidity_multiplier)
        if liquidity is not None:
            put(vault.address, abi.VAULT_LIQUIDITY, "uint256", liquidity)
        put(vault.address, abi.MARKETS_IN, "address[]", [v_token for v_token, _ in vault.balances])
        for v_token, balance in vault.balances:
            put(v_token, abi.BALANCE_OF, "uint256", balance, abi.address_word(vault.address))

    def _vault_market(self, put: Put, answers: dict[tuple[str, bytes], bytes | None], v_market: VaultMarket) -> None:
        token = abi.address_word(v_market.v_token)
        if v_market.underlying != ZERO_ADDRESS:
            put(v_market.v_token, abi.UNDERLYING, "address", v_market.underlying)
            put(v_market.underlying, abi.DECIMALS, "uint256", v_market.underlying_decimals)
        put(v_market.v_token, abi.EXCHANGE_RATE_STORED, "uint256", v_market.exchange_rate_stored)
        put(PRICE_ORACLE, abi.UNDERLYING_PRICE, "uint256", v_market.oracle_price, token)
        listed = encode(["bool", "uint256", "bool"], [True, v_market.collateral_factor, True])
        answers[COMPTROLLER, abi.COMPTROLLER_MARKETS.at(COMPTROLLER, token).data] = listed
        if v_market.swap_oracle_id is not None:
            swapped = WETH if v_market.underlying == ZERO_ADDRESS else v_market.underlying
            oracle_id = abi.word_of(v_market.swap_oracle_id)
            put(SWAPPER, abi.ORACLE_SYMBOL_IDS, "bytes32", oracle_id, abi.address_word(swapped))
            put(SWAPPER, abi.MAX_SLIPPAGE_RATIO, "uint256", v_market.max_slippage_ratio)


# --- blocks and logs -------------------------------------------------------------------------------------------------


def header(number: int = 1, timestamp: int = 1_700_000_000) -> Header:
    return Header(number, f"0x{number:064x}", f"0x{number - 1:064x}", timestamp + number, 30_000_000, 0, 10**9)


def log(address: str, topic: bytes, *topics: bytes, data: bytes = b"", block: Header | None = None) -> Log:
    at = block or header()
    return Log(address, (topic, *topics), data, at.number, at.hash, "0x" + "0" * 64, 0)


def trade(p_token_id: int, symbol_id: str) -> Log:
    """A ``Trade``; the mirror believes nothing in it but who and what."""
    figures = encode(["int256"] * 4, [1, 2, 3, 4])
    return log(MANAGER, abi.TRADE, abi.uint_word(p_token_id), abi.word_of(symbol_id), data=figures)


def advance(number: int, *logs: Log, undone: Sequence[Log] = ()) -> Advance:
    return Advance(header(number), logs, tuple(undone))
