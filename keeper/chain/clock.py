"""When the next block will say it was mined: a window of seconds, estimated from the recent blocks of the chain."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median

from keeper.model import Header, Window

_KEPT = 64
_SKEWS = 16
_REGULAR = 8
"""Steps to have seen before their regularity is believed."""
_SLOTTED = 32
"""Steps to have seen before the grid that they lie on is believed."""
_JUMP_S = 30
"""A block this much further from our clock than those before it: the chain's clock was moved (a development node)."""


class Clock:
    """Watches heads and tells the window of the next block's timestamp.

    ``slack_s`` widens the window on both sides. ``wall`` is the time in seconds, as ``time.time``.

    The next timestamp is near the wall clock, as far off as those of the recent blocks were when they came. On a chain
    that mines regularly it also is as far from the head's as the recent ones were from each other, and where blocks
    have slots it lies on their grid. A chain that mines on demand is not regular: its next block comes when we send.
    """

    def __init__(self, slack_s: int = 0, wall: Callable[[], float] = time.time) -> None:
        self._slack_s = slack_s
        self._wall = wall
        self._head: Header | None = None
        self._steps: deque[int] = deque(maxlen=_KEPT)
        self._skews: deque[float] = deque(maxlen=_SKEWS)

    def observe(self, head: Header) -> None:
        """Take in a head that has just come. Heads may be skipped, or replaced by a reorg."""
        skew = head.timestamp - self._wall()
        if self._skews and abs(skew - median(self._skews)) > _JUMP_S:
            self._skews.clear()
            self._steps.clear()
            self._head = None
        self._skews.append(skew)
        if self._head is not None and head.number == self._head.number + 1:
            self._steps.append(head.timestamp - self._head.timestamp)
        self._head = head

    @property
    def _regular(self) -> bool:
        return len(self._steps) >= _REGULAR and max(self._steps) <= 3 * max(1, min(self._steps))

    def window(self) -> Window:
        """The window for a transaction sent now. Before any head it is a ``ValueError``."""
        if self._head is None:
            raise ValueError("the clock has seen no head")
        head = self._head
        now = self._wall()
        # A block that came late looks older than it was, so the bounds on its age are those of the best and the worst.
        earliest = max(head.timestamp, math.floor(now + min(self._skews)))
        latest = math.ceil(now + max(self._skews))
        if self._regular and (slot := math.gcd(*self._steps)) > 1 and len(self._steps) >= _SLOTTED:
            earliest = max(earliest, head.timestamp + min(self._steps))
            latest = max(latest, head.timestamp + max(self._steps))
            earliest = head.timestamp + _slots_up(earliest - head.timestamp, slot)
            latest = head.timestamp + _slots_up(latest - head.timestamp, slot)
        elif self._regular:
            # A second on either side: timestamps are cut to seconds.
            earliest = max(earliest, head.timestamp + min(self._steps) - 1)
            latest = max(latest, head.timestamp + max(self._steps)) + 1
        else:
            latest += 1
        earliest = max(head.timestamp, earliest - self._slack_s)
        return Window(head.number + 1, earliest, max(earliest, latest + self._slack_s))


def _slots_up(seconds: int, slot: int) -> int:
    """Seconds rounded up to whole slots, at least one."""
    return max(1, -(-seconds // slot)) * slot
