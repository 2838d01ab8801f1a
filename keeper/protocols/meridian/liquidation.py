"""The vault's liquidation, in exact integers: the funding update, the test, and what a closing changes.

Sources: ``Vault.liquidatePosition``, ``Vault._decreasePosition``, ``Vault.getDelta``, ``Vault.getNextFundingRate``,
``VaultUtils.validateLiquidation``, ``VaultUtils.getPositionFee`` and ``VaultUtils.getFundingFee`` of the GMX v1 design.
Where the contract would revert, ``Revert`` carries its reason.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from keeper.protocols.meridian.checked import Revert, add, div, mul, sub
from keeper.protocols.meridian.state import (
    BASIS_POINTS,
    FUNDING_RATE_PRECISION,
    Params,
    Position,
    Price,
    Token,
    Vault,
)


class State(enum.IntEnum):
    """What ``validateLiquidation`` answers."""

    SAFE = 0
    LIQUIDATE = 1
    """Losses and fees eat the collateral: the fee receiver is paid."""
    CLOSE = 2
    """Above the leverage limit, but something remains: closed for the trader, nobody is paid."""


@dataclass(frozen=True, slots=True)
class Test:
    """The liquidation test's answer, and the figures it compared."""

    state: State
    fees_e30: int
    """As reported: capped at the remaining collateral when that can't pay them."""
    remaining_e30: int
    """Collateral after profit or loss; negative where the loss exceeds it."""
    required_e30: int
    """The smallest remaining collateral that is safe."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What one successful ``liquidatePosition`` does."""

    state: State
    fees_e30: int
    mark_price_e30: int
    fee_received: int
    """Paid to the fee receiver, in units of the collateral token."""
    trader_received: int
    """Paid to the trader, in units of the collateral token."""
    vault: Vault
    """The vault afterwards."""


def funding_at(token: Token, params: Params, timestamp: int) -> tuple[int, int]:
    """Cumulative rate and last funding time after ``Vault.updateCumulativeFundingRate`` at that second."""
    interval = params.funding_interval
    floored = mul(div(timestamp, interval), interval)
    if token.last_funding_time == 0:
        return token.funding_rate, floored
    if add(token.last_funding_time, interval) > timestamp:
        return token.funding_rate, token.last_funding_time
    if token.pool_amount == 0:
        return token.funding_rate, floored
    intervals = (timestamp - token.last_funding_time) // interval
    factor = params.stable_funding_rate_factor if token.is_stable else params.funding_rate_factor
    step = div(mul(mul(factor, token.reserved_amount), intervals), token.pool_amount)
    return add(token.funding_rate, step), floored


def with_funding(vault: Vault, collateral_token: str, timestamp: int) -> Vault:
    """The vault after the funding update that comes first in every call."""
    token = vault.token(collateral_token)
    rate, last = funding_at(token, vault.params, timestamp)
    if (rate, last) == (token.funding_rate, token.last_funding_time):
        return vault
    return vault.with_token(replace(token, funding_rate=rate, last_funding_time=last))


def margin_fees(position: Position, funding_rate: int, margin_fee_basis_points: int) -> int:
    """Funding fee plus position fee on the whole size, in USD with 30 decimals."""
    size = position.size_e30
    if size == 0:
        return 0
    after_fee = mul(size, sub(BASIS_POINTS, margin_fee_basis_points)) // BASIS_POINTS
    funding = mul(size, sub(funding_rate, position.entry_funding_rate)) // FUNDING_RATE_PRECISION
    return add(funding, size - after_fee)


def profit_or_loss(
    position: Position, mark_price_e30: int, timestamp: int, params: Params, min_profit_basis_points: int
) -> tuple[bool, int]:
    """``Vault.getDelta``: whether in profit, and how much. A small profit soon after an increase counts as zero."""
    average = position.average_price_e30
    if average == 0:
        raise Revert("Vault: invalid _averagePrice")
    delta = mul(position.size_e30, abs(average - mark_price_e30)) // average
    has_profit = mark_price_e30 > average if position.is_long else average > mark_price_e30
    if (
        has_profit
        and timestamp <= position.last_increased_time + params.min_profit_time
        and mul(delta, BASIS_POINTS) <= mul(position.size_e30, min_profit_basis_points)
    ):
        delta = 0
    return has_profit, delta


def required_collateral(size_e30: int, fees_e30: int, params: Params) -> int:
    """The smallest remaining collateral for which the test answers 0."""
    # A limit of zero leaves no size safe; the vault's setter refuses it, a fork's may not.
    for_leverage = -(-size_e30 * BASIS_POINTS // params.max_leverage) if params.max_leverage else 2**256
    return max(fees_e30 + params.liquidation_fee_e30, for_leverage)


def validate(
    position: Position,
    mark_price_e30: int,
    timestamp: int,
    params: Params,
    *,
    funding_rate: int,
    margin_fee_basis_points: int,
    min_profit_basis_points: int,
) -> Test:
    """``VaultUtils.validateLiquidation`` with ``raise = false``.

    ``funding_rate`` is the collateral token's cumulative rate that holds at the test (stored for a plain view, updated
    in the transaction). The leverage test does not subtract fees.
    """
    has_profit, delta = profit_or_loss(position, mark_price_e30, timestamp, params, min_profit_basis_points)
    fees = margin_fees(position, funding_rate, margin_fee_basis_points)
    required = required_collateral(position.size_e30, fees, params)
    collateral = position.collateral_e30
    remaining = add(collateral, delta) if has_profit else collateral - delta
    if remaining < 0:
        return Test(State.LIQUIDATE, fees, remaining, required)
    if remaining < fees:
        return Test(State.LIQUIDATE, remaining, remaining, required)
    if remaining < add(fees, params.liquidation_fee_e30):
        return Test(State.LIQUIDATE, fees, remaining, required)
    if mul(remaining, params.max_leverage) < mul(position.size_e30, BASIS_POINTS):
        return Test(State.CLOSE, fees, remaining, required)
    return Test(State.SAFE, fees, remaining, required)


def effective_test(
    vault: Vault, position: Position, mark_price_e30: int, timestamp: int, margin_fee_basis_points: int
) -> Test:
    """The test as the transaction meets it: funding updated first, the fee that holds inside the call."""
    rate, _ = funding_at(vault.token(position.collateral_token), vault.params, timestamp)
    return validate(
        position,
        mark_price_e30,
        timestamp,
        vault.params,
        funding_rate=rate,
        margin_fee_basis_points=margin_fee_basis_points,
        min_profit_basis_points=vault.token(position.index_token).min_profit_basis_points,
    )


def liquidate(
    vault: Vault, position: Position, prices: Mapping[str, Price], timestamp: int, margin_fee_basis_points: int
) -> Closing:
    """``Vault.liquidatePosition`` from the funding update on, at that second and those no-AMM prices.

    Raises ``Revert`` as the call would: 35 empty, 36 not liquidatable, or what the settlement runs into.
    """
    vault = with_funding(vault, position.collateral_token, timestamp)
    if position.size_e30 == 0:
        raise Revert("Vault: empty position")
    mark = prices[position.index_token].mark(position.is_long)
    test = effective_test(vault, position, mark, timestamp, margin_fee_basis_points)
    if test.state is State.SAFE:
        raise Revert("Vault: position cannot be liquidated")
    collateral_max = prices[position.collateral_token].max_e30
    if test.state is State.CLOSE:
        return _close(vault, position, mark, collateral_max, timestamp, test)
    return _liquidate(vault, position, mark, collateral_max, test)


def tokens_for(token: Token, usd_e30: int, max_price_e30: int) -> int:
    """``Vault.usdToTokenMin``: what a USD value buys at the token's max price, floored."""
    return div(mul(usd_e30, 10**token.decimals), max_price_e30) if usd_e30 else 0


def usd_for(token: Token, amount: int, price_e30: int) -> int:
    """``Vault.tokenToUsdMin`` at a given price: a token amount in USD with 30 decimals, floored."""
    return div(mul(amount, price_e30), 10**token.decimals)


def _liquidate(vault: Vault, position: Position, mark: int, collateral_max: int, test: Test) -> Closing:
    """State 1 of ``Vault.liquidatePosition``."""
    token = vault.token(position.collateral_token)
    fee_tokens = tokens_for(token, test.fees_e30, collateral_max)
    token = replace(token, fee_reserve=add(token.fee_reserve, fee_tokens))
    token = _release(token, position.reserve_amount)
    if position.is_long:
        guaranteed = sub(token.guaranteed_e30, sub(position.size_e30, position.collateral_e30))
        token = _shrink(replace(token, guaranteed_e30=guaranteed), fee_tokens)
    elif test.fees_e30 < position.collateral_e30:
        token = _grow(token, tokens_for(token, position.collateral_e30 - test.fees_e30, collateral_max))
    vault = _without_short(vault.with_token(token), position)
    paid = tokens_for(token, vault.params.liquidation_fee_e30, collateral_max)
    token = _pay(_shrink(vault.token(token.address), paid), paid)
    return Closing(State.LIQUIDATE, test.fees_e30, mark, paid, 0, vault.with_token(token))


def _close(vault: Vault, position: Position, mark: int, collateral_max: int, timestamp: int, test: Test) -> Closing:
    """State 2: ``Vault._decreasePosition`` of the whole size, paid to the trader."""
    token = _release(vault.token(position.collateral_token), position.reserve_amount)
    fees = test.fees_e30
    token = replace(token, fee_reserve=add(token.fee_reserve, tokens_for(token, fees, collateral_max)))
    min_profit = vault.token(position.index_token).min_profit_basis_points
    has_profit, delta = profit_or_loss(position, mark, timestamp, vault.params, min_profit)
    if not position.is_long and delta:
        amount = tokens_for(token, delta, collateral_max)
        token = _shrink(token, amount) if has_profit else _grow(token, amount)
    out = test.remaining_e30
    if out <= fees and fees:
        # The fee is then taken from a collateral that is already paid out.
        raise Revert("SafeMath: subtraction overflow")
    if position.is_long:
        guaranteed = add(token.guaranteed_e30, position.collateral_e30)
        token = replace(token, guaranteed_e30=sub(guaranteed, position.size_e30))
    vault = _without_short(vault.with_token(token), position)
    token = vault.token(token.address)
    if position.is_long and out:
        token = _shrink(token, tokens_for(token, out, collateral_max))
    paid = tokens_for(token, out - fees, collateral_max)
    return Closing(State.CLOSE, fees, mark, 0, paid, vault.with_token(_pay(token, paid)))


def _release(token: Token, reserve_amount: int) -> Token:
    left = sub(token.reserved_amount, reserve_amount, "Vault: insufficient reserve")
    return replace(token, reserved_amount=left)


def _grow(token: Token, amount: int) -> Token:
    pool = add(token.pool_amount, amount)
    if pool > token.balance:
        raise Revert("Vault: invalid increase")
    return replace(token, pool_amount=pool)


def _shrink(token: Token, amount: int) -> Token:
    pool = sub(token.pool_amount, amount, "Vault: poolAmount exceeded")
    if token.reserved_amount > pool:
        raise Revert("Vault: reserve exceeds pool")
    return replace(token, pool_amount=pool)


def _pay(token: Token, amount: int) -> Token:
    return replace(token, balance=sub(token.balance, amount, "ERC20: transfer amount exceeds balance"))


def _without_short(vault: Vault, position: Position) -> Vault:
    if position.is_long:
        return vault
    index = vault.token(position.index_token)
    return vault.with_token(
        replace(index, global_short_size_e30=max(0, index.global_short_size_e30 - position.size_e30))
    )
