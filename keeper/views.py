"""The tables and figures that the console, the metrics and the command line all show: plain records, no logic of ours.

A ``Snapshot`` is the whole daemon at one instant, taken between two steps of its event loop, so its parts belong
together. It is immutable, so another thread may read it. Money is in integers with its unit; what is only looked at
(percentages, ages, prices) is in floats.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

DISTANCE_BINS_PERCENT = 30
"""Accounts further than this from liquidation are counted together."""


class Level(enum.StrEnum):
    """How much something matters to whoever operates the keeper."""

    INFO = "info"
    WARNING = "warning"
    """Should be looked at in the morning."""
    CRITICAL = "critical"
    """The keeper does not liquidate, or not as it should: worth being woken for."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that is not as it should be. ``name`` stays the same for as long as it lasts."""

    name: str
    level: Level
    text: str
    since: float = 0.0
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class EndpointView:
    """A node's endpoint, named without its credentials."""

    name: str
    healthy: bool
    lagging: bool
    forked: bool
    height: int
    behind: int
    """Blocks behind the highest head that any endpoint of the chain was seen to know."""
    latency_ms: float
    failures: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """A signer and what it may still spend."""

    address: str
    balance_wei: int
    budget_left_wei: int
    in_flight: int
    alerts: Mapping[str, str] = field(default_factory=dict)
    """What the lane itself has raised, by name."""


@dataclass(frozen=True, slots=True)
class ChainView:
    """One chain as the keeper follows it."""

    name: str
    chain_id: int
    head: int
    head_age_s: float
    """Since that head was seen."""
    head_late_s: float
    """By how much its timestamp is behind this machine's clock; negative if ahead."""
    block_time_s: float
    pushed: bool
    """A websocket delivers the heads; else they are asked for."""
    tended: int
    """The last head at which the lanes looked after what is in flight."""
    endpoints: tuple[EndpointView, ...]
    lanes: tuple[LaneView, ...]
    calls: Mapping[str, int]
    """RPC calls by method since the start."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account near to liquidation. ``percent`` is the move of the one price that hurts most; None: none does."""

    account: str
    percent: float | None
    price: str
    upward: bool
    """It is hurt when that price rises."""
    margin: float
    """What is left above the requirement, in the market's unit; None is not known."""
    funding_s: float | None
    """Seconds until funding alone uses it up."""


@dataclass(frozen=True, slots=True)
class PriceView:
    """A price as the next transaction would see it."""

    name: str
    value: float
    source: str
    """``signed`` off the chain, or ``chain``."""
    age_s: float | None
    expires_in_s: float | None
    """None if it never does."""


@dataclass(frozen=True, slots=True)
class StakeView:
    """What gives a liquidator its right."""

    address: str
    staked: float
    average: float
    headroom: float | None
    """What the others may add before it falls below the average; None if there are no others."""
    headroom_percent: float | None
    lock_until: int | None
    """Unix seconds, if a lock runs."""


@dataclass(frozen=True, slots=True)
class Distances:
    """How many accounts the move of one price would make liquidatable, by percent of that move.

    ``down[i]`` counts the accounts that a fall of between ``i`` and ``i + 1`` percent reaches, ``up`` those of a rise.
    """

    down: tuple[int, ...] = ()
    up: tuple[int, ...] = ()
    beyond: int = 0
    """Further away than the bins reach, or out of reach of any price."""
    unassessable: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a market's protocol tells of it, for people."""

    unit: str
    """The unit of account, in which margins and rewards are shown."""
    decimals: int
    """Of raw amounts of the reward token."""
    nearest: tuple[AccountView, ...] = ()
    distances: Distances = Distances()
    prices: tuple[PriceView, ...] = ()
    stakes: tuple[StakeView, ...] = ()
    mismatches: int = 0
    """How often the mirror, or a verdict, was found to differ from the chain."""
    mismatch: str = ""
    """Why the mirror is not trusted at present; empty while it is."""


@dataclass(frozen=True, slots=True)
class SignerView:
    """Whether one liquidator may liquidate in a market."""

    address: str
    allowed: bool
    reason: str
    detail: str
    until: int | None
    remedy: str


@dataclass(frozen=True, slots=True)
class MarketView:
    """One market as the keeper watches it."""

    name: str
    chain: str
    protocol: str
    ready: bool
    """Its mirror was read."""
    accounts: int
    mirror_block: int
    mirror_age_s: float
    behind: bool
    """The last attempt to read a block failed."""
    stopped_by: str
    """Why nothing is sent though it could be; empty if nothing stops it."""
    signers: tuple[SignerView, ...]
    figures: Figures | None
    native_price_e18: int
    """One native coin in the unit of account."""
    rounds: int
    candidates: int
    decided: int
    sent: int
    mined: int
    lost: int
    reverted: Mapping[str, int]
    """By reason."""
    skipped: Mapping[str, int]
    """By reason."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole daemon at one instant."""

    at: float
    """Unix seconds."""
    started_at: float
    version: str
    mode: str
    paused: bool
    chains: tuple[ChainView, ...]
    markets: tuple[MarketView, ...]
    causes: tuple[Cause, ...] = ()

    @property
    def ready(self) -> bool:
        """Nothing keeps the keeper from liquidating, or it is meant not to."""
        return not any(cause.level is Level.CRITICAL for cause in self.causes)
