"""A small Deri market with round numbers, for rules that are read rather than computed."""

from __future__ import annotations

from dataclasses import replace

from keeper.fixed import ONE
from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    OracleState,
    PoolState,
    Position,
    PrivilegerState,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
    VaultMarket,
)
from keeper.protocols.deri.symbols import dpmm_cost

NOW = 1_700_000_000
NUMBER = 500
PRICE = 20_000 * ONE
BTC, CALL, SQUARED = "0xb7c", "0xca11", "0x2"
VOLATILITY = "0xv01"

POOL = PoolState(
    flavour=Flavour.LITE,
    liquidity=1_000_000 * ONE,
    lps_pnl=0,
    cumulative_pnl_per_liquidity=0,
    min_liquidation_reward=10 * ONE,
    max_liquidation_reward=1_000 * ONE,
    liquidation_reward_cut_ratio=ONE // 2,
    decimals_b0=18,
)


def _params(kind: SymbolKind, name: str, symbol_id: str) -> SymbolParams:
    return SymbolParams(
        kind=kind,
        name=name,
        symbol_id=symbol_id,
        address="",
        price_id=BTC,
        volatility_id=None if kind is SymbolKind.FUTURES else VOLATILITY,
        alpha=ONE // 10,
        funding_period_s=86_400,
        initial_margin_ratio=ONE // 10,
        maintenance_margin_ratio=ONE // 20,
        starting_price_shift_limit=ONE // 100,
        strike_price=PRICE if kind is SymbolKind.OPTION else 0,
        min_initial_margin_ratio=ONE // 100 if kind is SymbolKind.OPTION else 0,
        is_call=kind is SymbolKind.OPTION,
    )


STATE = SymbolState(
    net_volume=0,
    net_cost=0,
    index_price=PRICE,
    funding_timestamp=NOW - 100,
    cumulative_funding_per_volume=0,
    traders_pnl=0,
    initial_margin_required=0,
    n_position_holders=3,
    last_net_volume=0,
    last_net_volume_block=NUMBER - 1,
)


def symbol(kind: SymbolKind = SymbolKind.FUTURES, net_volume: int = 0) -> Symbol:
    """A symbol whose traders entered at ``PRICE``; the futures' ``K`` is 1/500."""
    names = {
        SymbolKind.FUTURES: ("BTCUSD", BTC),
        SymbolKind.OPTION: ("BTCUSD-20000-C", CALL),
        SymbolKind.POWER: ("BTC^2", SQUARED),
        SymbolKind.UNKNOWN: ("ODD", "0xodd"),
    }
    net_cost = net_volume * PRICE // ONE
    state = replace(
        STATE,
        net_volume=net_volume,
        net_cost=net_cost,
        traders_pnl=-dpmm_cost(PRICE, ONE // 500, net_volume, -net_volume) - net_cost,
        last_net_volume=net_volume,
    )
    return Symbol(_params(kind, *names[kind]), state)


def oracle(oracle_id: str = BTC, name: str = "BTCUSD", value: int = PRICE) -> OracleState:
    return OracleState(OracleKind.OFFCHAIN, oracle_id, name, "", value, NOW - 10, delay_allowance_s=600)


def long(volume: int = ONE, entry: int = PRICE, held: str = BTC, funding: int = 0) -> Position:
    """A position bought (or, with a negative volume, sold) at ``entry``."""
    return Position(held, volume, volume * entry // ONE, funding)


def account(amount_b0: int, *positions: Position, p_token_id: int = 1) -> AccountState:
    return AccountState(p_token_id, "0x", amount_b0, positions)


def market(
    *symbols: Symbol,
    accounts: tuple[AccountState, ...] = (),
    pool: PoolState = POOL,
    vault_markets: tuple[VaultMarket, ...] = (),
    privileger: PrivilegerState | None = None,
    price: int = PRICE,
) -> MarketState:
    """The given symbols, or the futures alone."""
    listed = symbols or (symbol(),)
    return MarketState(
        pool=pool,
        symbols={one.params.symbol_id: one for one in listed},
        oracles={BTC: oracle(value=price), VOLATILITY: oracle(VOLATILITY, "VOL-BTCUSD", ONE * 8 // 10)},
        accounts={one.p_token_id: one for one in accounts},
        vault_markets={one.v_token: one for one in vault_markets},
        privileger=privileger,
    )
