"""What a stake is good for, and what to deposit. Pure arithmetic on what the privileger holds.

Source: ``PrivilegerImplementation.isQualifiedLiquidator``: qualified is ``stake * count >= total``, once the lock has
ended. All amounts are raw units of DERI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from keeper.protocols.deri.privileger import is_qualified, missing_stake, others_of, stake_of
from keeper.protocols.deri.state import PrivilegerState, Stake

NEWCOMER = ""
"""The name under which an address counts that has never staked."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """How much the others may add before a stake falls below the average. Negative: it is below by that much."""

    present: int | None
    """As many stakers as there are; None if there are no others to add anything."""
    with_newcomer: int
    """After one more staker has joined with the least deposit."""
    without_smallest: int | None
    """After the smallest of the others has left, which raises the average; None if it is not known who that is."""
    percent: Decimal | None
    """``present`` as a share of what the others hold; None like ``present``."""


def headroom(privileger: PrivilegerState, liquidator: str, stakers: Mapping[str, int] | None = None) -> Headroom:
    """The room above the average. ``stakers`` are all stakes by address, if they are known."""
    stake = stake_of(privileger, liquidator).amount
    total, count = others_of(privileger, liquidator)
    present = stake * count - total
    smallest = min((amount for user, amount in (stakers or {}).items() if user != liquidator and amount), default=None)
    return Headroom(
        present=present if count else None,
        with_newcomer=stake * (count + 1) - total - privileger.min_deposit_amount,
        without_smallest=None if smallest is None else stake * (count - 1) - (total - smallest),
        percent=Decimal(present * 100) / Decimal(total) if count and total else None,
    )


def rank(stakers: Mapping[str, int], liquidator: str) -> int | None:
    """The place among the stakers, the largest first; equals share the better one. None without a stake."""
    mine = stakers.get(liquidator, 0)
    return 1 + sum(amount > mine for amount in stakers.values()) if mine else None


def after_deposit(privileger: PrivilegerState, user: str, amount: int, at: int) -> PrivilegerState:
    """What the privileger holds after ``deposit(amount)`` at that second: the lock starts anew."""
    before = stake_of(privileger, user)
    return replace(
        privileger,
        stakes_total=privileger.stakes_total + amount,
        stakes_count=privileger.stakes_count + (0 if before.amount else 1),
        stakes={**privileger.stakes, user: Stake(before.amount + amount, at)},
    )


def after_withdrawal(privileger: PrivilegerState, user: str, amount: int) -> PrivilegerState:
    """What the privileger holds after ``withdraw(amount)``: the lock is left as it is."""
    before = stake_of(privileger, user)
    return replace(
        privileger,
        stakes_total=privileger.stakes_total - amount,
        stakes_count=privileger.stakes_count - (1 if before.amount == amount else 0),
        stakes={**privileger.stakes, user: Stake(before.amount - amount, before.timestamp)},
    )


def reaches_average(privileger: PrivilegerState, user: str) -> bool:
    """Whether the stake is no less than the average, the lock left aside."""
    amount = stake_of(privileger, user).amount
    return amount > 0 and amount * privileger.stakes_count >= privileger.stakes_total


@dataclass(frozen=True, slots=True)
class SecondSigner:
    """How another signer could stand in while the lock of the first runs."""

    address: str
    """``NEWCOMER`` if none is configured."""
    deposit: int | None
    """What it has to deposit so that it is no less than the average after the first one's top-up, which moves the
    average too; 0: nothing; None: no deposit is enough, the two would outbid each other."""
    ready: bool
    """It may liquidate at this very second, and still could after that top-up."""
    keeps_first: bool
    """The first signer is still no less than the average after the second one's deposit."""


@dataclass(frozen=True, slots=True)
class StakePlan:
    """What a signer may deposit, and what that does to it."""

    liquidator: str
    staked: int
    margin_percent: Decimal
    least: int
    """The least deposit that qualifies; 0 if the stake is no less than the average."""
    with_margin: int
    """The least deposit that stays qualified while the others add ``margin_percent`` of what they hold; 0 likewise."""
    lock_s: int
    """For how long any deposit disqualifies."""
    interrupts: bool
    """The signer may liquidate now, and could not while the lock of a deposit runs."""
    second: SecondSigner | None
    """The way around an interruption; None where there is nothing to interrupt."""


def plan(
    privileger: PrivilegerState, liquidator: str, at: int, margin_percent: Decimal = Decimal(0), second: str = NEWCOMER
) -> StakePlan:
    """What to deposit for ``liquidator`` at that second. ``second`` is another signer of the same owner."""
    with_margin = missing_stake(privileger, liquidator, margin_percent)
    interrupts = with_margin > 0 and bool(is_qualified(privileger, liquidator, at))
    return StakePlan(
        liquidator=liquidator,
        staked=stake_of(privileger, liquidator).amount,
        margin_percent=margin_percent,
        least=missing_stake(privileger, liquidator),
        with_margin=with_margin,
        lock_s=privileger.min_lock_time_s,
        interrupts=interrupts,
        second=_second_signer(privileger, liquidator, second, at, margin_percent) if interrupts else None,
    )


def _second_signer(
    privileger: PrivilegerState, first: str, second: str, at: int, margin_percent: Decimal
) -> SecondSigner:
    def with_second(deposit: int) -> PrivilegerState:
        return after_deposit(privileger, second, deposit, at) if deposit else privileger

    def stands_in(deposit: int) -> bool:
        state = with_second(deposit)
        top_up = missing_stake(state, first, margin_percent)
        return reaches_average(after_deposit(state, first, top_up, at) if top_up else state, second)

    deposit = _least(stands_in, max(privileger.min_deposit_amount, 1), privileger.stakes_total)
    return SecondSigner(
        address=second,
        deposit=deposit,
        ready=deposit == 0 and bool(is_qualified(privileger, second, at)),
        keeps_first=deposit is not None and reaches_average(with_second(deposit), first),
    )


def _least(suffices: Callable[[int], bool], minimum: int, scale: int) -> int | None:
    """The least deposit that suffices: 0, or from ``minimum`` on. None if nothing up to 1000 times ``scale`` does."""
    if suffices(0):
        return 0
    if suffices(minimum):
        return minimum
    low, high = minimum, 2 * minimum
    while not suffices(high):
        low, high = high, 2 * high
        if low > 1000 * scale:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
