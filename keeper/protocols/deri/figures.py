"""What people see of a Deri market: distances, prices, stakes. In floats, for looking at and never for deciding."""

from __future__ import annotations

import math

import numpy as np

from keeper.fixed import ONE
from keeper.protocols.deri.distance import Distance, Distances, nearest
from keeper.protocols.deri.market import DeriMarket
from keeper.protocols.deri.privileger import stake_of
from keeper.protocols.deri.readings import expires_at
from keeper.protocols.deri.stake.plan import headroom
from keeper.protocols.deri.state import OracleKind, OracleState, PrivilegerState
from keeper.views import DISTANCE_BINS_PERCENT, AccountView, Figures, PriceView, StakeView
from keeper.views import Distances as DistanceBins

NEAREST = 12


def figures_of(market: DeriMarket) -> Figures:
    """A look at the market as it is now. Some vector operations over the book; no I/O."""
    book, measured = market.measure()
    mirror, state = market.mirror, market.mirror.state
    names = {oracle_id: oracle.name for oracle_id, oracle in state.oracles.items()}
    now, fresher = mirror.head.timestamp, market.fresher()
    wanted = {symbol.params.price_id for symbol in state.symbols.values()}
    return Figures(
        unit="B0",
        decimals=state.pool.decimals_b0,
        nearest=tuple(_account(one, names) for one in nearest(book, measured, NEAREST)),
        distances=_binned(measured),
        prices=tuple(
            _price(oracle, now, signed=oracle.oracle_id in fresher)
            for oracle in sorted(market.state().oracles.values(), key=lambda oracle: oracle.name)
            if oracle.oracle_id in wanted
        ),
        stakes=tuple(_stake(state.privileger, one, now) for one in market.liquidators) if state.privileger else (),
        mismatches=mirror.mismatches + market.shadow.mismatches + market.stakes.mismatches,
        mismatch=market.shadow.stopped,
    )


def _account(one: Distance, names: dict[str, str]) -> AccountView:
    return AccountView(
        account=str(one.p_token_id),
        percent=one.percent if math.isfinite(one.percent) else None,
        price=names.get(one.price_id, ""),
        upward=one.upward,
        margin=one.margin_e18 / ONE,
        funding_s=one.funding_s if math.isfinite(one.funding_s) else None,
    )


def _binned(measured: Distances) -> DistanceBins:
    edges = np.arange(DISTANCE_BINS_PERCENT + 1)
    held = np.isnan(measured.margin_e18) | (measured.margin_e18 < 1e40)  # a column without an account is far above
    percent, unknown = measured.percent, np.isnan(measured.margin_e18)
    upward = np.array([rises for _, rises in measured.moves] or [False])[measured.move]
    # np.histogram counts the last edge in, and people expect 30 % to be "beyond".
    near = held & np.isfinite(percent) & (percent < DISTANCE_BINS_PERCENT)
    down, _ = np.histogram(percent[near & ~upward], edges)
    up, _ = np.histogram(percent[near & upward], edges)
    return DistanceBins(
        down=tuple(down.tolist()),
        up=tuple(up.tolist()),
        beyond=int(np.count_nonzero(held & ~near & ~unknown)),
        unassessable=int(np.count_nonzero(unknown)),
    )


def _price(oracle: OracleState, now: int, *, signed: bool) -> PriceView:
    due = expires_at(oracle)
    return PriceView(
        name=oracle.name,
        value=oracle.value / ONE,
        source="signed" if signed else "chain",
        age_s=None if oracle.kind is OracleKind.WOO else max(0, now - oracle.timestamp),
        expires_in_s=None if due is None else due - now,
    )


def _stake(privileger: PrivilegerState, liquidator: str, now: int) -> StakeView:
    stake, room = stake_of(privileger, liquidator), headroom(privileger, liquidator)
    unlocked = stake.timestamp + privileger.min_lock_time_s
    count = privileger.stakes_count
    return StakeView(
        address=liquidator,
        staked=stake.amount / ONE,
        average=privileger.stakes_total / count / ONE if count else 0.0,
        headroom=None if room.present is None else room.present / ONE,
        headroom_percent=None if room.percent is None else float(room.percent),
        lock_until=unlocked if stake.amount and unlocked > now else None,
    )
