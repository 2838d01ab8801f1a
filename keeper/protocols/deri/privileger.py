"""Who may liquidate: the DERI stakes of the privileger.

Source: ``PrivilegerImplementation.isQualifiedLiquidator``.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from keeper.model import Eligibility
from keeper.protocols.deri.state import PrivilegerState, Stake

_NONE = Stake(0, 0)


def stake_of(privileger: PrivilegerState, liquidator: str) -> Stake:
    return privileger.stakes.get(liquidator, _NONE)


def is_qualified(privileger: PrivilegerState | None, liquidator: str, at: int) -> bool | None:
    """``isQualifiedLiquidator(liquidator)`` at that second; None where it reverts (the lock still runs)."""
    if privileger is None:
        return True
    stake = stake_of(privileger, liquidator)
    if at < stake.timestamp + privileger.min_lock_time_s:
        return None
    return privileger.stakes_count > 0 and stake.amount * privileger.stakes_count >= privileger.stakes_total


def others_of(privileger: PrivilegerState, liquidator: str) -> tuple[int, int]:
    """What everybody but ``liquidator`` has staked together, and how many they are."""
    amount = stake_of(privileger, liquidator).amount
    return privileger.stakes_total - amount, privileger.stakes_count - (1 if amount else 0)


def missing_stake(privileger: PrivilegerState, liquidator: str, margin_percent: Decimal = Decimal(0)) -> int:
    """The least deposit with which ``liquidator`` is no less than the average, in raw units of DERI; 0 if it is there.

    With a margin it is still so when the others, as many as they are, have added that share of what they hold now.
    With ``t`` staked by one and ``O`` by ``k`` others, ``t * (k+1) >= O + t`` is ``t * k >= O``: no less than their
    average. The privileger takes nothing below its least deposit. A sole staker is the average by any deposit.
    """
    stake = stake_of(privileger, liquidator).amount
    total, count = others_of(privileger, liquidator)
    total += int(total * Fraction(margin_percent) / 100)
    short = (-(-total // count) if count else 0) - stake
    if stake and short <= 0:
        return 0
    return max(short, privileger.min_deposit_amount, 1)


def eligibility(privileger: PrivilegerState | None, liquidator: str, at: int) -> Eligibility:
    """Whether ``liquidator`` may liquidate at that second, why not, and what would help."""
    if privileger is None:
        return Eligibility(True, "open", "the pool has no privileger: anyone may liquidate")
    stake = stake_of(privileger, liquidator)
    qualified = is_qualified(privileger, liquidator, at)
    short = missing_stake(privileger, liquidator)
    lock = duration(privileger.min_lock_time_s)
    average = deri(-(-privileger.stakes_total // privileger.stakes_count)) if privileger.stakes_count else "nothing"
    staked = f"{deri(stake.amount)} staked, the average is {average}"
    if qualified:
        return Eligibility(True, "qualified", staked)
    if qualified is None:
        unlocked = stake.timestamp + privileger.min_lock_time_s
        remedy = "wait; a further deposit would start the lock anew"
        afterwards = "then it qualifies"
        if short:
            remedy = f"deposit another {deri(short)} now rather than later: every deposit starts the lock anew"
            afterwards = "even then it is not enough"
        return Eligibility(
            False, "locked", f"{staked}; locked for {duration(unlocked - at)}, {afterwards}", unlocked, remedy
        )
    if stake.amount:
        remedy = f"deposit another {deri(short)}; the whole stake is then locked for {lock}"
        return Eligibility(False, "below-average", staked, None, remedy)
    remedy = f"deposit {deri(short)}, then wait {lock} for the lock to end"
    if stake.timestamp:
        return Eligibility(False, "withdrawn", f"all DERI was withdrawn, the average is {average}", None, remedy)
    return Eligibility(False, "never-staked", f"no DERI was ever staked, the average is {average}", None, remedy)


def deri(amount: int) -> str:
    """An amount of DERI for people, rounded up to a hundredth so that it is never too little."""
    hundredths = -(-amount // 10**16)
    return f"{hundredths // 100:,}.{hundredths % 100:02d} DERI"


def duration(seconds: int) -> str:
    """A length of time for people: the two largest units."""
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    parts = []
    for size, name in units:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"
