"""Taking the snapshot: reads the running objects between two steps of the event loop, changes nothing, asks nobody."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from keeper.chain.lane import Lane
from keeper.chain.rpc import Rpc
from keeper.engine.executors import Executor
from keeper.engine.live import LiveExecutor
from keeper.engine.loop import MarketLoop
from keeper.model import Header
from keeper.settings import ChainSettings, MarketSettings
from keeper.views import ChainView, EndpointView, Figures, LaneView, MarketView, SignerView


class Following(Protocol):
    """As much of ``keeper.chain.heads.Heads`` as is shown."""

    @property
    def live(self) -> bool: ...

    @property
    def block_time_s(self) -> float: ...


class RunningChain(Protocol):
    """As much of a chain at run time as is shown. Times are ``time.monotonic()`` seconds."""

    name: str
    settings: ChainSettings
    rpc: Rpc
    executor: Executor
    head: Header
    seen_at: float
    tended: int
    loops: dict[str, MarketLoop]
    following: dict[str, Following]


def chain_view(chain: RunningChain) -> ChainView:
    """One chain as it is now."""
    following = list(chain.following.values())
    best = max((link.health.height for link in chain.rpc.links), default=0)
    return ChainView(
        name=chain.name,
        chain_id=chain.settings.chain_id,
        head=chain.head.number,
        head_age_s=time.monotonic() - chain.seen_at,
        head_late_s=time.time() - chain.head.timestamp,
        block_time_s=min((each.block_time_s for each in following), default=1.0),
        pushed=any(each.live for each in following),
        tended=chain.tended,
        endpoints=tuple(
            EndpointView(
                name=link.name,
                healthy=link.health.streak == 0 and link.chain_id in (None, chain.rpc.chain_id),
                lagging=link.health.lagging,
                forked=link.health.forked,
                height=link.health.height,
                behind=max(0, best - link.health.height) if link.health.height else 0,
                latency_ms=link.health.latency_s * 1000,
                failures=link.health.failures,
            )
            for link in chain.rpc.links
        ),
        lanes=tuple(_lane_view(lane) for lane in lanes_of(chain.executor)),
        calls=dict(chain.rpc.calls),
    )


def lanes_of(executor: Executor) -> Sequence[Lane]:
    """The lanes behind an executor; none unless it sends."""
    return executor.lanes if isinstance(executor, LiveExecutor) else ()


def _lane_view(lane: Lane) -> LaneView:
    return LaneView(lane.address, lane.balance_wei, lane.room_wei, lane.under_way, lane.alerts)


def market_view(
    loop: MarketLoop,
    settings: MarketSettings,
    figures: Figures | None,
    *,
    mirror_age_s: float,
    native_price_e18: int,
) -> MarketView:
    """One market as it is now; ``figures`` may be a little older."""
    market, tally, head = loop.market, loop.tally, loop.head
    return MarketView(
        name=market.name,
        chain=settings.chain,
        protocol=settings.protocol,
        ready=head is not None,
        accounts=market.accounts_watched() if head is not None else 0,
        mirror_block=head.number if head is not None else 0,
        mirror_age_s=mirror_age_s,
        behind=loop.behind,
        stopped_by=loop.stopped_by,
        signers=tuple(
            SignerView(address, answer.allowed, answer.reason, answer.detail, answer.until, answer.remedy)
            for address, answer in loop.eligibility.items()
        ),
        figures=figures,
        native_price_e18=native_price_e18,
        rounds=tally.rounds,
        candidates=tally.candidates,
        decided=tally.decided,
        sent=tally.sent,
        mined=tally.mined,
        lost=tally.lost,
        reverted=dict(tally.reverts),
        skipped=dict(tally.skips),
    )


def plain(value: object) -> object:
    """A view as JSON takes it: integers beyond what a browser can count become strings."""
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return value
    if isinstance(value, int):
        return value if -(2**53) < value < 2**53 else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    names = getattr(type(value), "__dataclass_fields__", None)
    if names is None:
        raise TypeError(f"{type(value).__name__} has no form in JSON")
    return {name: plain(getattr(value, name)) for name in names}
