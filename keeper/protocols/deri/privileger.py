"""Who may liquidate: the DERI stakes of the privileger.

Source: ``PrivilegerImplementation.isQualifiedLiquidator``.
"""

from __future__ import annotations

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


def missing_stake(privileger: PrivilegerState, liquidator: str) -> int:
    """The least deposit that brings ``liquidator`` up to the average, in DERI's 18 decimals; 0 if it is there.

    With ``s`` staked, ``n`` stakers (this one counted) and total ``S``: the least ``d`` with ``(s+d)*n >= S+d``, and no
    less than the privileger takes. A sole staker is the average by any deposit.
    """
    stake = stake_of(privileger, liquidator)
    stakers = privileger.stakes_count + (0 if stake.amount else 1)
    short = privileger.stakes_total - stake.amount * stakers
    if stake.amount and short <= 0:
        return 0
    needed = -(-short // (stakers - 1)) if stakers > 1 else 0
    return max(needed, privileger.min_deposit_amount, 1)


def eligibility(privileger: PrivilegerState | None, liquidator: str, at: int) -> Eligibility:
    """Whether ``liquidator`` may liquidate at that second, why not, and what would help."""
    if privileger is None:
        return Eligibility(True, "open", "the pool has no privileger: anyone may liquidate")
    stake = stake_of(privileger, liquidator)
    qualified = is_qualified(privileger, liquidator, at)
    short = missing_stake(privileger, liquidator)
    if qualified is None:
        unlocked = stake.timestamp + privileger.min_lock_time_s
        remedy = "wait; a further deposit would start the lock anew"
        if short:
            remedy = f"deposit another {deri(short)} now rather than later: every deposit starts the lock anew"
        return Eligibility(
            False,
            "locked",
            f"the stake of {deri(stake.amount)} is locked for another {unlocked - at} s",
            unlocked,
            remedy,
        )
    average = deri(-(-privileger.stakes_total // privileger.stakes_count)) if privileger.stakes_count else "nothing"
    if qualified:
        return Eligibility(True, "qualified", f"{deri(stake.amount)} staked, the average is {average}")
    lock = f"; the lock then runs {privileger.min_lock_time_s} s"
    if stake.amount == 0:
        return Eligibility(
            False, "never-staked", f"no DERI is staked, the average is {average}", None, f"deposit {deri(short)}{lock}"
        )
    return Eligibility(
        False,
        "below-average",
        f"{deri(stake.amount)} staked, the average is {average}",
        None,
        f"deposit another {deri(short)}{lock}, for the whole stake",
    )


def deri(amount: int) -> str:
    """An amount of DERI for people, rounded up to a hundredth so that it is never too little."""
    hundredths = -(-amount // 10**16)
    return f"{hundredths // 100:,}.{hundredths % 100:02d} DERI"
