"""A mirror of recorded contracts, and what may happen to them."""

from __future__ import annotations

from dataclasses import replace

from keeper.protocols.deri.mirror import Mirror
from keeper.protocols.deri.state import (
    AccountState,
    MarketState,
)
from tests.unit.deri_contracts import (
    POOL,
    Contracts,
    header,
)


def liquidators(state: MarketState) -> tuple[str, ...]:
    return tuple(state.privileger.stakes) if state.privileger else ()


async def mirrored(contracts: Contracts) -> Mirror:
    mirror = Mirror("test", POOL, liquidators(contracts.state))
    await mirror.bootstrap(contracts, header())
    contracts.batches = contracts.calls = 0
    return mirror


def assert_same(mirror: Mirror, state: MarketState) -> None:
    assert mirror.state.pool == state.pool
    assert mirror.state.symbols == state.symbols
    assert mirror.state.oracles == state.oracles
    assert mirror.state.accounts == state.accounts
    assert mirror.state.vault_markets == state.vault_markets
    assert mirror.state.privileger == state.privileger


def with_account(state: MarketState, account: AccountState) -> MarketState:
    return replace(state, accounts={**state.accounts, account.p_token_id: account})


def traded(state: MarketState, p_token_id: int, change: int = 10**18) -> tuple[MarketState, str]:
    """The market after the account's first position grew, with the symbol that it is in."""
    account = state.accounts[p_token_id]
    position = account.positions[0]
    symbol = state.symbols[position.symbol_id]
    after = with_account(
        state,
        replace(
            account,
            amount_b0=account.amount_b0 - 5,
            positions=(
                replace(position, volume=position.volume + change, cost=position.cost + 7),
                *account.positions[1:],
            ),
        ),
    )
    moved = replace(symbol.state, net_volume=symbol.state.net_volume + change, net_cost=symbol.state.net_cost + 7)
    return (
        replace(
            after,
            pool=replace(state.pool, lps_pnl=state.pool.lps_pnl + 3),
            symbols={**state.symbols, position.symbol_id: replace(symbol, state=moved)},
        ),
        position.symbol_id,
    )


def margin(state: MarketState) -> MarketState:
    account = state.accounts[2]
    return with_account(state, replace(account, amount_b0=account.amount_b0 + 10**18))
