"""How much to ask a node for at a time, learnt from what it takes."""

from __future__ import annotations

_LONGEST_WAIT = 64


class Portion:
    """Halved when refused, doubled after successes in a row: after one at first, after four times as many each time
    that it was refused, so that a limit is tried again but not all the time.
    """

    def __init__(self, first: int, largest: int) -> None:
        self.size = first
        self._largest = largest
        self._row = 0
        self._wait = 1

    def took(self, amount: int) -> None:
        """So much was answered."""
        if amount < self.size:
            return  # It was all there was to ask, and says nothing about a limit.
        self._row += 1
        if self._row >= self._wait:
            self._row = 0
            self.size = min(self.size * 2, self._largest)

    def refused(self, amount: int) -> bool:
        """So much was too much; True if that was news."""
        smaller = max(1, amount // 2)
        if smaller >= self.size:
            return False
        self.size = smaller
        self._row = 0
        self._wait = min(self._wait * 4, _LONGEST_WAIT)
        return True
