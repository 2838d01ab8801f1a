"""How much gas may cost in an hour and in a day: a breaker that no loop gets past."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
_WEI = 10**18


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a lane may pay in any hour and any day, in wei."""

    hour_wei: int
    day_wei: int


@dataclass(frozen=True, slots=True)
class Room:
    """How much may still be risked, and what to say when that is not enough."""

    wei: int
    refusal: str


class Budget:
    """Keeps what was paid. What is in flight counts in full, at its ceiling, until it is known what it cost."""

    def __init__(self, limits: Limits, paid: Iterable[tuple[float, int]] = ()) -> None:
        self._limits = limits
        self._paid: deque[tuple[float, int]] = deque(sorted(paid))

    def pay(self, at: float, wei: int) -> None:
        """Note what a mined transaction cost. ``at`` is in Unix seconds; negative wei take back what a reorg undid."""
        self._paid.append((at, wei))

    def room(self, at: float) -> Room:
        """What may still be risked at ``at``, what is in flight included."""
        while self._paid and self._paid[0][0] <= at - DAY_SECONDS:
            self._paid.popleft()
        hour = Room(self._limits.hour_wei - self.paid(HOUR_SECONDS, at), "the gas budget of the hour is used up")
        day = Room(self._limits.day_wei - self.paid(DAY_SECONDS, at), "the gas budget of the day is used up")
        return hour if hour.wei <= day.wei else day

    def paid(self, seconds: float, at: float) -> int:
        """Wei paid in the ``seconds`` before ``at``."""
        return sum(wei for when, wei in self._paid if when > at - seconds)


@dataclass(frozen=True, slots=True)
class Price:
    """What one whole base token and one whole native coin are worth, both in the same 18-decimal unit."""

    base_e18: int
    native_e18: int

    def to_wei(self, reward_raw: int, decimals: int) -> int:
        """Raw units of the base token (``decimals``) in wei of the native coin, rounded down."""
        return reward_raw * self.base_e18 * _WEI // (int(10**decimals) * self.native_e18)


@dataclass(frozen=True, slots=True)
class Worth:
    """Whether a liquidation pays, and by how much, in wei."""

    reward_wei: int
    cost_wei: int
    min_profit_wei: int

    @property
    def profit_wei(self) -> int:
        return self.reward_wei - self.cost_wei

    @property
    def ok(self) -> bool:
        return self.profit_wei >= self.min_profit_wei


def worth(reward_wei: int, gas: int, fee_per_gas_wei: int, data_fee_wei: int = 0, min_profit_wei: int = 0) -> Worth:
    """Weigh an expected reward against the gas it takes (``gas`` units at ``fee_per_gas_wei``) and an L2's data fee."""
    return Worth(reward_wei, gas * fee_per_gas_wei + data_fee_wei, min_profit_wei)
