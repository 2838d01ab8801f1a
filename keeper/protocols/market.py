"""What a protocol must answer. The engine knows protocols only through these two interfaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keeper.model import (
    Advance,
    Assessment,
    Eligibility,
    Header,
    Log,
    LogFilter,
    Outcome,
    PriceTick,
    Reader,
    Row,
    Window,
)


@dataclass(frozen=True, slots=True)
class ContractCall:
    """A transaction's target and call data, as the protocol wants it."""

    to: str
    data: bytes
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Worth:
    """What the operator wants of a market's liquidations, in the market's unit of account with 18 decimals."""

    native_price_e18: int
    """What one native coin is worth."""
    min_profit_e18: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """The value of one price at which an account becomes liquidatable if nothing else moves, for people and rehearsals.

    ``now`` and ``value`` are in the feed's own ``decimals``; ``value`` is on the liquidatable side.
    """

    price: str
    """The market's id of the price."""
    name: str
    now: int
    value: int
    decimals: int
    reward_b0: int
    """What a liquidation would pay there, in raw units of the reward token; ``value_e18`` in the unit of account."""
    value_e18: int

    @property
    def percent(self) -> float:
        """The move from ``now``; negative for a fall."""
        return (self.value - self.now) / self.now * 100


class Round(Protocol):
    """A what-if copy of the market at the next block: closing an account changes what later assessments see."""

    def candidates(self) -> Sequence[str]:
        """Accounts that may be liquidatable in the window, most valuable first. Conservative: none is missed."""
        ...

    def assess(self, account: str) -> Assessment:
        """The exact verdict on one account in this round's present state."""
        ...

    def assess_sent(self, account: str, data: bytes) -> Assessment:
        """The verdict on a liquidation that is on its way with this call data, by the prices that it brings itself.

        It will be mined before anything that is sent now, so newer prices do not concern it until they are on chain.
        """
        ...

    def close(self, account: str) -> None:
        """Assume the account liquidated in this block."""
        ...

    def call(self, account: str) -> ContractCall:
        """The liquidating transaction, with the signatures it needs."""
        ...


class Market(Protocol):
    """One market of one protocol on one chain: it owns a mirror of the contracts and answers about accounts."""

    name: str

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Read everything at ``head``. Raises ``ProtocolError`` if the contracts are not what they should be."""
        ...

    def log_filter(self) -> LogFilter:
        """The logs to hand to ``apply``. May grow after an ``apply`` (a new symbol, a new oracle)."""
        ...

    async def apply(self, advance: Advance, reader: Reader) -> None:
        """Bring the mirror to ``advance.head``: dirty from the logs, true from one read pinned to the head's hash."""
        ...

    def rows(self) -> Sequence[Row]:
        """What has changed since the last call, for the store. The first call after a bootstrap returns everything."""
        ...

    async def restore(self, rows: Sequence[Row], head: Header) -> None:
        """Take the place of ``bootstrap`` with what the store kept at ``head``. Raises ``StoreError`` if unusable."""
        ...

    def digest(self) -> str:
        """A hash over the whole mirror. Equal digests mean equal mirrors."""
        ...

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        """Read so many accounts, drawn at random, anew at the mirror's head; those that differ from the mirror."""
        ...

    async def watch(self, emit: Callable[[PriceTick], None]) -> None:
        """Run the market's off-chain price sources until cancelled. Returns at once if it has none."""
        ...

    def take(self, tick: PriceTick) -> bool:
        """Let a tick count. False if it changes nothing (older than what is known)."""
        ...

    def round(self, window: Window) -> Round:
        """A fresh what-if copy for the block that comes next."""
        ...

    def eligibility(self, liquidator: str, at: int) -> Eligibility:
        """Whether ``liquidator`` may liquidate at that second, from the mirror alone (no I/O)."""
        ...

    def closures(self, logs: Sequence[Log]) -> Sequence[tuple[str, str]]:
        """Accounts that these logs show liquidated, each with the hash of the transaction that did it."""
        ...

    def realised_reward_b0(self, outcome: Outcome, logs: Sequence[Log]) -> int:
        """What a mined liquidation really paid, from its receipt's logs, in raw units of the reward token."""
        ...

    def accounts_watched(self) -> int: ...
