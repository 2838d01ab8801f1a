"""The daily summary: proof of life, and what the day brought."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.ops.alerts import Message
from keeper.store.ledger import Entry, Totals, totals
from keeper.views import Level, MarketView, Snapshot

_WEI = 10**18


def summary(snapshot: Snapshot, found: Sequence[Entry]) -> Message:
    """What happened in the entries' time, beside how things stand now."""
    days = (snapshot.at - snapshot.started_at) / 86_400
    state = "ready" if snapshot.ready else "NOT READY"
    lines = [f"Running for {days:.1f} days, {state}, mode {snapshot.mode}{', paused' if snapshot.paused else ''}."]
    by_market = {total.market: total for total in totals(found)}
    lines += [_market(market, by_market.get(market.name)) for market in snapshot.markets]
    lines += [f"{cause.level}: {cause.name}: {cause.text}" for cause in snapshot.causes]
    return Message(Level.INFO if snapshot.ready else Level.WARNING, "keeper: daily summary", "\n".join(lines))


def _market(market: MarketView, total: Totals | None) -> str:
    text = f"{market.name}: {market.accounts:,} accounts watched"
    if market.figures and market.figures.nearest and market.figures.nearest[0].percent is not None:
        text += f", the nearest {market.figures.nearest[0].percent:.2f} % from liquidation"
    if total is None:
        return text + "; nothing to do."
    unit, decimals = (market.figures.unit, market.figures.decimals) if market.figures else ("B0", 18)
    return (
        f"{text}; {total.won} liquidated, {total.reverted} reverted; earned "
        f"{total.earned_b0 / 10**decimals:,.2f} {unit}, paid {total.spent_wei / _WEI:.6f} native for gas."
    )
