"""What one native coin is worth in a market's unit of account, for weighing a reward against gas.

Three sources behind one seam: a configured figure, a Chainlink feed, an oracle with ``value()`` (a pool's own).
They are read between blocks; on the hot path the last figure is used.
"""

from __future__ import annotations

from typing import Protocol

from keeper.chain.receipts import Node, words
from keeper.errors import ChainError

_SIGN = 1 << 255
_MOST_DECIMALS = 36


class NativePrice(Protocol):
    """A source. ``value_e18`` has 18 decimals and is 0 until the first ``refresh``."""

    value_e18: int

    async def refresh(self, node: Node, now: int) -> None:
        """Read anew, ``now`` being in Unix seconds. Raises ``ChainError``; the last figure stays then."""
        ...


class FixedPrice:
    """What the operator says."""

    def __init__(self, value_e18: int) -> None:
        self.value_e18 = value_e18

    async def refresh(self, node: Node, now: int) -> None:
        """It does not change."""


class ChainlinkPrice:
    """A Chainlink feed (``decimals``, ``latestRoundData``) of the native coin in the unit of account."""

    def __init__(self, feed: str, max_age_seconds: int) -> None:
        self.value_e18 = 0
        self._feed = feed
        self._max_age_seconds = max_age_seconds

    async def refresh(self, node: Node, now: int) -> None:
        decimals, round_data = await words(node, self._feed, ("decimals()", "latestRoundData()"))
        if len(decimals) != 1 or len(round_data) != 5:
            raise self._odd("it does not answer as one")
        if decimals[0] > _MOST_DECIMALS:
            raise self._odd(f"it has more than {_MOST_DECIMALS} decimals")
        _, answer, _, updated_at, _ = round_data
        if answer == 0 or answer >= _SIGN:
            raise self._odd("its price is not positive")
        if now - updated_at > self._max_age_seconds:
            raise self._odd(f"its price is {now - updated_at} s old, more than {self._max_age_seconds} s")
        self.value_e18 = answer * 10**18 // 10 ** decimals[0]

    def _odd(self, came: str) -> ChainError:
        return ChainError(f"a price from the Chainlink feed {self._feed}", came, "check the configured feed")


class OraclePrice:
    """An oracle contract whose ``value()`` is the price with 18 decimals (Deri's ``OracleOffChain``, for one)."""

    def __init__(self, oracle: str) -> None:
        self.value_e18 = 0
        self._oracle = oracle

    async def refresh(self, node: Node, now: int) -> None:
        [value] = await words(node, self._oracle, ("value()",))
        if len(value) != 1 or not 0 < value[0] < _SIGN:
            raise ChainError(
                f"a positive price from the oracle {self._oracle}", "it has none", "check the configured oracle"
            )
        self.value_e18 = value[0]
