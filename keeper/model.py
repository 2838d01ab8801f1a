"""The nouns that cross rooms. Plain frozen data; no room's logic lives here.

Conventions: addresses are checksummed strings, block and transaction hashes are ``0x`` strings in lower case,
topics and call data are bytes, timestamps are ints in seconds, and everything measured with the process clock
is ``*_ns`` from ``time.perf_counter_ns()``. Amounts carry their unit in their name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Header:
    """A block's header, as far as a keeper needs it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    gas_limit: int
    gas_used: int
    base_fee_per_gas_wei: int | None
    """None on a chain without EIP-1559."""


@dataclass(frozen=True, slots=True)
class Log:
    """One event log. ``(block_hash, transaction_hash, log_index)`` identifies it."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: str
    transaction_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Block:
    """A header and those of its logs that a filter wants."""

    header: Header
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What a market wants of the chain's logs: these addresses, and (if not empty) these first topics."""

    addresses: frozenset[str]
    topics0: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Advance:
    """How the canonical chain moved from the head last seen to ``head``.

    ``undone`` are the logs of blocks that a reorg took away, ``logs`` those of the blocks that are new, both in
    chain order. An event says what is dirty; one read pinned to ``head.hash`` says what is true. So a reorg needs
    no history in a mirror: what either set of logs touches is dirty, and is read again at the new head.
    """

    head: Header
    logs: tuple[Log, ...] = ()
    undone: tuple[Log, ...] = ()
    seen_ns: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a mirror for the store: opaque to everybody but the market that wrote it."""

    kind: str
    key: str
    payload: bytes | None
    """None deletes the row."""


@dataclass(frozen=True, slots=True)
class ReadCall:
    """One ``eth_call`` to be batched with others."""

    to: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What one batched call answered. ``data`` holds the revert data when ``ok`` is false."""

    ok: bool
    data: bytes


class Reader(Protocol):
    """Reads of contract state that all see the same block."""

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        """Answer every call as of the block with that hash, in the order asked.

        A call that reverts is an answer (``ok`` false); ``ChainError`` means that the node could not answer.
        """
        ...


class History(Protocol):
    """Logs of the past, for a protocol whose contracts can't list what they hold."""

    async def logs(self, wanted: LogFilter, first: int, head: Header) -> Sequence[Log]:
        """The wanted logs from block ``first`` up to ``head``, in chain order, all of ``head``'s chain.

        Raises ``ChainError`` if no node can give them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """When a transaction sent now may be mined: block ``number``, at any second from ``earliest`` to ``latest``."""

    number: int
    earliest: int
    latest: int


@dataclass(frozen=True, slots=True)
class PriceTick:
    """Prices seen off the chain (signed readings), already checked by the source that emits them.

    ``prices_e18`` maps the protocol's price id to its value; ``seen_ns`` is when the first byte of the answer was here.
    """

    market: str
    source: str
    prices_e18: tuple[tuple[str, int], ...]
    timestamp: int
    seen_ns: int


class Verdict(enum.Enum):
    """What the protocol would say to a liquidation of an account."""

    LIQUIDATABLE = "liquidatable"
    """At every timestamp of the window."""
    MARGINAL = "marginal"
    """At some timestamps of the window only."""
    HEALTHY = "healthy"
    WAITS = "waits"
    """Liquidatable, but not in this block (a price-shift guard); look again at the next one."""
    UNASSESSABLE = "unassessable"
    """The call would revert for a reason of its own (a stale price, a panic); ``reason`` says which."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The exact verdict on one account at one state and window."""

    account: str
    verdict: Verdict
    reason: str
    """Empty when liquidatable, else the protocol's revert reason or ours."""
    margin_e18: int = 0
    """What counts against the requirement, unrealised profit and loss included, in 18-decimal base units (USD)."""
    required_e18: int = 0
    reward_b0: int = 0
    """Expected reward in raw units of the market's reward token; a lower bound where it can't be exact."""
    value_e18: int = 0
    """The same reward in the market's unit of account (Deri: B0, Meridian: USD), 18 decimals, to weigh against gas."""
    gas: int = 0
    """Gas limit from the market's gas model."""


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One liquidation that was decided on: what to send and what it is expected to earn."""

    market: str
    account: str
    to: str
    data: bytes
    gas_limit: int
    reward_b0: int
    reward_wei: int
    """The expected reward converted to the chain's native coin: the most that gas may cost at break-even."""
    seen_ns: int
    """When the input (price or block) that led to it was seen."""
    decided_ns: int
    number: int
    """The block it is meant for."""
    note: str = ""
    behind: bool = False
    """It must not be mined before what is in flight already: that would fail by the prices that this one brings."""


class OutcomeState(enum.Enum):
    """Where an intent stands. The journal holds one row for every state passed."""

    INTENDED = "intended"
    SENT = "sent"
    REPLACED = "replaced"
    MINED = "mined"
    REVERTED = "reverted"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a liquidation, told by an executor to whoever listens."""

    market: str
    account: str
    state: OutcomeState
    reason: str = ""
    transaction_hash: str | None = None
    block_number: int | None = None
    reward_b0: int = 0
    gas_used: int = 0
    gas_limit: int = 0
    """What it was sent with, if it was mined."""
    fee_wei: int = 0
    """Gas used times the effective gas price, plus an L2's data fee."""
    logs: tuple[Log, ...] = field(default=(), repr=False)


Timed = Callable[[str, str, int], None]
"""Told how long a liquidation took since its input was seen: market, stage reached, nanoseconds.

The stages are ``decided``, ``signed``, ``sent`` (the bytes were handed over), ``accepted`` (by a node) and ``mined``.
"""


def untimed(_market: str, _stage: str, _elapsed_ns: int) -> None:
    """A ``Timed`` for those who don't want to know."""


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether a liquidator may liquidate in a market, and if not, why and what would help."""

    allowed: bool
    reason: str
    """A short code: ``open``, ``qualified``, ``never-staked``, ``below-average``, ``locked``, ``not-listed`` ..."""
    detail: str
    """A sentence for people."""
    until: int | None = None
    """When the present answer ends by itself (a lock's end), if known."""
    remedy: str = ""
