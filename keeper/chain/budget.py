"""How much gas may cost in an hour and in a day: a breaker that no loop gets past."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400


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
        self._hour = _Span(HOUR_SECONDS)
        self._day = _Span(DAY_SECONDS)
        for at, wei in sorted(paid):
            self.pay(at, wei)

    def pay(self, at: float, wei: int) -> None:
        """Note what a mined transaction cost. ``at`` is in Unix seconds; negative wei take back what a reorg undid."""
        self._hour.add(at, wei)
        self._day.add(at, wei)

    def room(self, at: float) -> Room:
        """What may still be risked at ``at``, what is in flight included."""
        hour = Room(self._limits.hour_wei - self._hour.wei(at), "the gas budget of the hour is used up")
        day = Room(self._limits.day_wei - self._day.wei(at), "the gas budget of the day is used up")
        return hour if hour.wei <= day.wei else day


class _Span:
    """What was paid in the last so many seconds, as a running sum: it is asked for in the hot path."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._paid: deque[tuple[float, int]] = deque()
        self._wei = 0

    def add(self, at: float, wei: int) -> None:
        self._paid.append((at, wei))
        self._wei += wei

    def wei(self, at: float) -> int:
        while self._paid and self._paid[0][0] <= at - self._seconds:
            self._wei -= self._paid.popleft()[1]
        # What a reorg took back may be noted later than what it takes back, and be all that is left.
        return max(0, self._wei)
