"""What a block still takes: gas limits ask for room, but what counts is the gas that is really used."""

from __future__ import annotations

from collections.abc import Iterable

MISFITS = 8
"""After so many liquidations that no longer fit, a block counts as full: the rest is not even looked at."""

FIRST_SHARE = 0.5
"""What of its gas limit a liquidation is taken to use before any was mined: limits are made for the worst case, and
about half of them is usual. Too much sent costs little: what does not fit comes first in the next block."""

CAUTION = 1.1
"""A limit never seen is taken to use so much more than others do: some nodes drop what a block had no room for."""

MEMORY, SHARE_MEMORY = 8, 32
"""About so many of the last liquidations, of the same limit and of any, say what comes next."""


class GasUse:
    """What a market's liquidations really use of their gas limits. Owns what was seen.

    Accounts of one kind have one limit and use nearly the same gas, so what is learnt is learnt by limit; for a limit
    never seen the share that others use is taken, and a little more.
    """

    def __init__(self, seen: Iterable[tuple[int, int]] = ()) -> None:
        """``seen`` are gas limits and what was used of them, oldest first."""
        self._by_limit: dict[int, float] = {}
        self._share = FIRST_SHARE
        for gas_limit, gas_used in seen:
            self.saw(gas_limit, gas_used)

    def saw(self, gas_limit: int, gas_used: int) -> None:
        """A liquidation was mined."""
        before = self._by_limit.get(gas_limit, gas_used)
        self._by_limit[gas_limit] = before + (gas_used - before) / MEMORY
        self._share += (gas_used / gas_limit - self._share) / SHARE_MEMORY

    def expected(self, gas_limit: int) -> float:
        """The gas that a liquidation with that limit is expected to use."""
        return self._by_limit.get(gas_limit, gas_limit * self._share * CAUTION)


class Room:
    """What a block still takes. Owns the count of one round.

    A block takes a transaction whose whole gas limit fits beside the gas that those before it really used.
    """

    def __init__(self, block_gas: int, use: GasUse) -> None:
        self._left: float = block_gas
        self._use = use
        self._misfits = 0

    def take(self, gas_limit: int) -> None:
        """Something with that limit goes into the block."""
        self._left -= self._use.expected(gas_limit)

    def fits(self, gas_limit: int) -> bool:
        """Whether something with that limit still goes in; if not, it counts as a misfit."""
        if gas_limit <= self._left:
            return True
        self._misfits += 1
        return False

    @property
    def full(self) -> bool:
        return self._misfits >= MISFITS
