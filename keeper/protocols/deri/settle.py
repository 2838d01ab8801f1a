"""``liquidate()`` of one account against prepared symbols: decided in a few products, or settled to the last wei.

Sources: ``PoolImplementation.liquidate`` and ``PoolImplementationLite.liquidate``,
``SymbolManagerImplementation.settleSymbolsOnLiquidate``, ``settleOnLiquidate`` of the three symbol implementations.
The order of checks is the contracts'. A revert is an answer (``Refused``), not an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from keeper.fixed import ONE, Panic, add, checked_uint, div, mul, mul_div, rescale, sub, wrap_int256
from keeper.protocols.deri import vault
from keeper.protocols.deri.state import AccountState, Flavour, PoolState, Position, SymbolKind, SymbolState
from keeper.protocols.deri.symbols import (
    COST_LIMIT,
    FUNDING_LIMIT,
    SLIPPAGE,
    Prepared,
    PreparedSymbol,
    dpmm_cost,
    moved,
)

_POOL = {Flavour.LITE: "PoolImplementationLite.liquidate: ", Flavour.FULL: "PoolImplementation.liquidate: "}

UNQUALIFIED = "unqualified liquidator"
NONEXISTENT = "nonexistent pTokenId"
NO_POSITION = "no position"
CANNOT_LIQUIDATE = "cannot liquidate"
UNKNOWN_VAULT_MARKET = "the vault holds a market that is not known"


def pool_revert(flavour: Flavour, ending: str) -> str:
    """The pool's own revert string: ``PoolImplementationLite.liquidate: cannot liquidate``."""
    return _POOL[flavour] + ending


class Decision(NamedTuple):
    """Whether ``liquidate`` would succeed. ``reason`` is empty if so, else the revert."""

    reason: str
    margin: int
    """Margin after funding with unrealised profit and loss: ``margin + traderPnl``."""
    required: int
    """The maintenance margin requirement."""
    settled: bool = True
    """Whether both figures were computed; else they are 0."""
    waits: bool = False
    """Only the price-shift guard stands in the way: liquidatable in another block."""


class SymbolSettlement(NamedTuple):
    """What one symbol returns from ``settleOnLiquidate``; its fields are the contract's."""

    symbol_id: str
    funding: int
    delta_traders_pnl: int
    delta_initial_margin_required: int
    index_price: int
    trader_funding: int
    trader_pnl: int
    trader_maintenance_margin_required: int
    trade_volume: int
    trade_cost: int
    trade_realized_cost: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the symbol manager returns from ``settleSymbolsOnLiquidate``, and the margin that goes with it."""

    symbols: tuple[SymbolSettlement, ...]
    funding: int
    delta_traders_pnl: int
    trader_funding: int
    trader_pnl: int
    trader_maintenance_margin_required: int
    trader_realized_cost: int
    vault_liquidity: int
    margin: int
    """``amountB0 - traderFunding + vaultLiquidity``: after funding, before unrealised profit and loss."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call reverts. ``settlement`` is what had been computed, None if a symbol reverted before."""

    reason: str
    settlement: Settlement | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The account is liquidated."""

    settlement: Settlement
    reward_b0: int
    """What the caller is paid, in raw units of B0."""
    pool: PoolState
    symbols: Mapping[str, SymbolState]
    """The states after, of the symbols that were closed, by symbol id."""


def decide(prepared: Prepared, account: AccountState) -> Decision:
    """Whether the account can be liquidated now, exactly as the contract would answer, but for the full pool's swaps.

    An account of ordinary size costs three products per position. One whose volume, cost or funding could overflow on
    chain takes the checked road through ``liquidate``.
    """
    margin = account.amount_b0
    plain = prepared.plain and -COST_LIMIT < margin < COST_LIMIT
    required = 0
    guard = ""
    symbols = prepared.symbols
    for position in account.positions:
        symbol = symbols.get(position.symbol_id)
        if symbol is None or symbol.failure:
            return _unsettled(guard or (symbol.failure if symbol else unknown_symbol(position.symbol_id)))
        volume = position.volume
        cost = position.cost
        accrued = symbol.cumulative_funding - position.cumulative_funding_per_volume
        limit = symbol.volume_limit
        if not (
            -limit <= volume <= limit and -COST_LIMIT < cost < COST_LIMIT and -FUNDING_LIMIT < accrued < FUNDING_LIMIT
        ):
            plain = False
            break
        if volume >= 0:
            size = volume
            notional = volume * symbol.price // ONE
            margin += notional - cost
            if not (symbol.longs_pass or guard or (volume == 0 and symbol.shorts_pass)):
                guard = symbol.guard_failure
        else:
            size = -volume
            notional = size * symbol.price // ONE
            margin -= notional + cost
            if not (symbol.shorts_pass or guard):
                guard = symbol.guard_failure
        owed = volume * accrued
        margin -= owed // ONE if owed >= 0 else -(-owed // ONE)
        required += (notional if symbol.maintenance_of_notional else size) * symbol.maintenance_factor // ONE
    if not plain:
        return _decide_checked(prepared, account)
    if account.vault is not None:
        liquidity = vault.liquidity(account.vault, prepared.vault_units, prepared.pool.vault_liquidity_multiplier)
        if liquidity is None:
            return _unsettled(guard or UNKNOWN_VAULT_MARKET)
        if liquidity >= COST_LIMIT:
            return _decide_checked(prepared, account)
        margin += liquidity
    if required <= 0:
        return Decision(guard or pool_revert(prepared.pool.flavour, NO_POSITION), margin, required)
    if margin >= required:
        return Decision(guard or pool_revert(prepared.pool.flavour, CANNOT_LIQUIDATE), margin, required)
    return Decision(guard, margin, required, waits=bool(guard))


def liquidate(prepared: Prepared, account: AccountState | None, received_b0: Sequence[int] = ()) -> Closed | Refused:
    """Execute ``liquidate`` of an account (None: the pToken does not exist).

    ``received_b0`` is the B0 that the vault's assets brought, in raw units and in order; empty in the Lite pool. With
    an estimate in its place (``vault.proceeds``) the reward and the pool afterwards are estimates too; the decision
    and the settlement don't depend on it.
    """
    if account is None:
        return Refused(pool_revert(prepared.pool.flavour, NONEXISTENT))
    return _liquidate(prepared, account, received_b0)


def after(prepared: Prepared, closed: Closed) -> Prepared:
    """The same block and second once the account is closed: what a further liquidation in this block sees."""
    return moved(prepared, closed.pool, closed.symbols)


def unknown_symbol(symbol_id: str) -> str:
    return f"symbol {symbol_id} is not known"


def _unsettled(reason: str) -> Decision:
    return Decision(reason, 0, 0, settled=False)


def _decide_checked(prepared: Prepared, account: AccountState) -> Decision:
    result = liquidate(prepared, account)
    reason = result.reason if isinstance(result, Refused) else ""
    guarded = reason.endswith(SLIPPAGE)
    if guarded:
        result = _liquidate(prepared, account, (), guard=False)
    settlement = result.settlement
    if settlement is None:
        return _unsettled(reason)
    margin = settlement.margin + settlement.trader_pnl
    waits = guarded and isinstance(result, Closed)
    return Decision(reason, margin, settlement.trader_maintenance_margin_required, waits=waits)


def _liquidate(
    prepared: Prepared, account: AccountState, received_b0: Sequence[int], *, guard: bool = True
) -> Closed | Refused:
    """``guard`` false leaves the price-shift guard out: what would be, but for the block's other closings."""
    flavour = prepared.pool.flavour
    settlement: Settlement | None = None
    try:
        settled = _settle(prepared, account, guard=guard)
        if isinstance(settled, Refused):
            return settled
        settlement, states = settled
        required = settlement.trader_maintenance_margin_required
        if required <= 0:
            return Refused(pool_revert(flavour, NO_POSITION), settlement)
        if add(settlement.margin, settlement.trader_pnl) >= required:
            return Refused(pool_revert(flavour, CANNOT_LIQUIDATE), settlement)
        reward_b0, pool = _pay(prepared.pool, account, settlement, received_b0)
    except Panic as panic:
        return Refused(str(panic), settlement)
    return Closed(settlement, reward_b0, pool, states)


def _settle(
    prepared: Prepared, account: AccountState, *, guard: bool
) -> tuple[Settlement, dict[str, SymbolState]] | Refused:
    rows: list[SymbolSettlement] = []
    states: dict[str, SymbolState] = {}
    funding = delta_traders_pnl = trader_funding = trader_pnl = required = realized = 0
    for position in account.positions:
        symbol = prepared.symbols.get(position.symbol_id)
        if symbol is None:
            return Refused(unknown_symbol(position.symbol_id))
        if symbol.failure:
            return Refused(symbol.failure)
        volume = position.volume
        if guard and not ((volume >= 0 and symbol.longs_pass) or (volume <= 0 and symbol.shorts_pass)):
            return Refused(symbol.guard_failure)
        row, state = _settle_symbol(symbol, position, prepared)
        rows.append(row)
        states[position.symbol_id] = state
        funding = add(funding, row.funding)
        delta_traders_pnl = add(delta_traders_pnl, row.delta_traders_pnl)
        trader_funding = add(trader_funding, row.trader_funding)
        trader_pnl = add(trader_pnl, row.trader_pnl)
        required = add(required, row.trader_maintenance_margin_required)
        realized = add(realized, row.trade_realized_cost)
    liquidity = vault.liquidity(account.vault, prepared.vault_units, prepared.pool.vault_liquidity_multiplier)
    if liquidity is None:
        return Refused(UNKNOWN_VAULT_MARKET)
    margin = add(sub(account.amount_b0, trader_funding), liquidity)
    settlement = Settlement(
        symbols=tuple(rows),
        funding=funding,
        delta_traders_pnl=delta_traders_pnl,
        trader_funding=trader_funding,
        trader_pnl=trader_pnl,
        trader_maintenance_margin_required=required,
        trader_realized_cost=realized,
        vault_liquidity=liquidity,
        margin=margin,
    )
    return settlement, states


def _settle_symbol(
    symbol: PreparedSymbol, position: Position, prepared: Prepared
) -> tuple[SymbolSettlement, SymbolState]:
    params, before = symbol.params, symbol.state
    price, k = symbol.price, symbol.k
    volume, cost = position.volume, position.cost

    accrued = wrap_int256(symbol.cumulative_funding - position.cumulative_funding_per_volume)
    trader_funding = mul_div(volume, accrued, ONE)
    notional = mul_div(volume, price, ONE)
    size = abs(notional if symbol.maintenance_of_notional else volume)
    maintenance = mul_div(size, symbol.maintenance_factor, ONE)

    trade_cost = dpmm_cost(price, k, before.net_volume, -volume)
    net_volume = sub(before.net_volume, volume)
    net_cost = sub(before.net_cost, cost)
    traders_pnl = sub(-dpmm_cost(price, k, net_volume, -net_volume), net_cost)
    if params.kind is SymbolKind.FUTURES:
        initial = mul_div(mul_div(abs(net_volume), price, ONE), params.initial_margin_ratio, ONE)
    else:
        initial = mul_div(abs(net_volume), symbol.initial_margin_per_volume, ONE)

    row = SymbolSettlement(
        symbol_id=position.symbol_id,
        funding=symbol.pool_funding,
        delta_traders_pnl=sub(traders_pnl, before.traders_pnl),
        delta_initial_margin_required=sub(initial, before.initial_margin_required),
        index_price=symbol.index_price,
        trader_funding=trader_funding,
        trader_pnl=sub(notional, cost),
        trader_maintenance_margin_required=maintenance,
        trade_volume=-volume,
        trade_cost=trade_cost,
        trade_realized_cost=add(trade_cost, cost),
    )
    state = SymbolState(
        net_volume=net_volume,
        net_cost=net_cost,
        index_price=symbol.index_price,
        funding_timestamp=prepared.timestamp,
        cumulative_funding_per_volume=symbol.cumulative_funding,
        traders_pnl=traders_pnl,
        initial_margin_required=initial,
        n_position_holders=before.n_position_holders - 1,
        last_net_volume=symbol.last_net_volume,
        last_net_volume_block=max(prepared.number, before.last_net_volume_block),
    )
    return row, state


def reward(pool: PoolState, equity: int) -> int:
    """The liquidator's reward in raw B0, given what is left of the account: ``a`` of the contract, 18 decimals.

    The least reward is paid even for a bankrupt account. Never falls as ``equity`` rises.
    """
    amount = pool.min_liquidation_reward
    if equity > amount:
        share = mul_div(sub(equity, amount), pool.liquidation_reward_cut_ratio, ONE)
        amount = min(add(share, amount), pool.max_liquidation_reward)
    return rescale(checked_uint(amount), 18, pool.decimals_b0)


def _pay(
    pool: PoolState, account: AccountState, settlement: Settlement, received_b0: Sequence[int]
) -> tuple[int, PoolState]:
    """The reward in raw B0, and the pool once it is paid and the rest has gone to the LPs."""
    equity = sub(sub(account.amount_b0, settlement.trader_funding), settlement.trader_realized_cost)
    for received in received_b0:
        equity = add(equity, rescale(received, pool.decimals_b0, 18))
    reward_b0 = reward(pool, equity)
    gain = add(sub(settlement.funding, settlement.delta_traders_pnl), settlement.trader_realized_cost)
    gain = add(gain, sub(equity, rescale(reward_b0, pool.decimals_b0, 18)))
    per_liquidity = div(mul(gain, ONE), pool.liquidity)
    initial = pool.initial_margin_required
    for row in settlement.symbols:
        initial = add(initial, row.delta_initial_margin_required)
    return reward_b0, replace(
        pool,
        lps_pnl=add(pool.lps_pnl, gain),
        cumulative_pnl_per_liquidity=add(pool.cumulative_pnl_per_liquidity, per_liquidity),
        initial_margin_required=initial,
    )
