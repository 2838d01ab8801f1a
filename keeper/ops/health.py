"""What is not as it should be, judged from a snapshot: the causes that turn readiness red or wake somebody.

One cause for one trouble: what follows from another cause is left out, so that an alert names the root. A name is a
page of the runbook (docs/runbook.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keeper.views import ChainView, Level, MarketView, Snapshot

BLOCKS = 3
"""So many block times without progress are too many."""
LEAST_S = 5.0
"""Quick chains hiccup: less than this is nobody's trouble."""
STARTING_S = 60.0
PAUSED = "paused by the operator"
MISMATCH = "shadow-mismatch"
"""The reason why nobody may liquidate while the chain disagrees with the mirror."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause before it is known since when. ``subject`` is what it is about: a chain, a market, a signer."""

    name: str
    subject: str
    level: Level
    text: str
    patience_s: float = 0.0
    """How long it may last before anybody is told; readiness shows it at once."""

    @property
    def key(self) -> str:
        return f"{self.name}:{self.subject}" if self.subject else self.name


def findings(snapshot: Snapshot) -> list[Finding]:
    """Everything that is amiss in a snapshot."""
    found = [finding for chain in snapshot.chains for finding in _chain(chain)]
    silent = {finding.subject for finding in found if finding.name in ("endpoints-down", "head-stalled")}
    live = snapshot.mode == "live"
    for market in snapshot.markets:
        found += _market(market, chain_silent=market.chain in silent, live=live)
    for chain in snapshot.chains:
        for lane in chain.lanes:
            found += _lane(lane.address, lane.alerts)
    if snapshot.paused:
        found.append(Finding("paused", "", Level.INFO, "the operator paused the sending; resume it when you are done"))
    return found


def limit_s(block_time_s: float) -> float:
    """How old a head may be."""
    return max(BLOCKS * block_time_s, LEAST_S)


def _chain(chain: ChainView) -> Iterator[Finding]:
    limit = limit_s(chain.block_time_s)
    fit = [each for each in chain.endpoints if each.healthy and not each.lagging and not each.forked]
    if not fit:
        named = ", ".join(each.name for each in chain.endpoints)
        yield Finding(
            "endpoints-down",
            chain.name,
            Level.CRITICAL,
            f"no endpoint of {chain.name} answers or can be trusted: {named}; look at the nodes and the network",
            patience_s=2.0,
        )
        return
    if chain.head_age_s > limit:
        reached = max(each.height for each in chain.endpoints)
        ahead = f", while a node knows {reached}: the keeper itself hangs" if reached > chain.head + BLOCKS else ""
        yield Finding(
            "head-stalled",
            chain.name,
            Level.CRITICAL,
            f"no block after {chain.head} for {chain.head_age_s:.0f} s on {chain.name}{ahead}",
            patience_s=2.0,
        )
    elif chain.head_late_s > max(limit, 10.0):
        yield Finding(
            "node-late",
            chain.name,
            Level.CRITICAL,
            f"the newest block of {chain.name} is {chain.head_late_s:.0f} s old by its own timestamp: the nodes lag "
            "behind the chain, or this machine's clock is wrong",
            patience_s=5.0,
        )
    elif (
        chain.lanes and chain.tended and chain.head - chain.tended > max(BLOCKS, LEAST_S / max(chain.block_time_s, 0.1))
    ):
        yield Finding(
            "lanes-stuck",
            chain.name,
            Level.CRITICAL,
            f"the lanes of {chain.name} have not looked after what is in flight since block {chain.tended}",
            patience_s=2.0,
        )
    for each in chain.endpoints:
        if each not in fit:
            state = "lags behind" if each.lagging else "is on a fork of its own" if each.forked else "does not answer"
            yield Finding(
                "endpoint-degraded",
                each.name,
                Level.WARNING,
                f"{each.name} {state}; another endpoint of {chain.name} stands in for it",
                patience_s=60.0,
            )


def _market(market: MarketView, *, chain_silent: bool, live: bool) -> Iterator[Finding]:
    if not market.ready:
        yield Finding(
            "starting",
            market.name,
            Level.CRITICAL,
            f"the mirror of {market.name} is still being read",
            patience_s=STARTING_S,
        )
        return
    figures = market.figures
    if figures is not None and figures.mismatch:
        yield Finding(
            "mirror-mismatch",
            market.name,
            Level.CRITICAL,
            f"the chain disagrees with the mirror of {market.name}: {figures.mismatch}; nothing is sent "
            "until it has been read anew",
        )
    elif any(signer.reason == MISMATCH for signer in market.signers):
        yield Finding("mirror-mismatch", market.name, Level.CRITICAL, market.signers[0].detail)
    elif live and market.signers and not any(signer.allowed for signer in market.signers):
        first = market.signers[0]
        yield Finding(
            "not-eligible",
            market.name,
            Level.CRITICAL,
            f"nobody of ours may liquidate in {market.name}: {first.reason}: {first.detail}; {first.remedy}",
            patience_s=1.0,
        )
    if market.mirror_age_s > LEAST_S and not chain_silent:
        yield Finding(
            "mirror-behind",
            market.name,
            Level.CRITICAL,
            f"the mirror of {market.name} stands at block {market.mirror_block} since {market.mirror_age_s:.0f} s "
            "while the chain goes on",
            patience_s=2.0,
        )
    for price in figures.prices if figures else ():
        if price.expires_in_s is not None and price.expires_in_s <= 0:
            yield Finding(
                "price-expired",
                f"{market.name}.{price.name}",
                Level.WARNING,
                f"the price of {price.name} in {market.name} has expired: who holds it can't be liquidated before a "
                "new reading comes; look at the price servers",
                patience_s=30.0,
            )


_LANE: Mapping[str, tuple[str, Level, str]] = {
    "signer": ("signer-locked", Level.CRITICAL, ""),
    "journal": ("store-unwritable", Level.CRITICAL, "store"),
    "budget-spent": ("budget-spent", Level.CRITICAL, ""),
    "insufficient-funds": ("insufficient-funds", Level.CRITICAL, ""),
    "low-balance": ("low-balance", Level.WARNING, ""),
}
"""A lane's own alerts: the name here, the level, and the subject where it isn't the signer."""


def _lane(address: str, alerts: Mapping[str, str]) -> Iterator[Finding]:
    for name, sentence in alerts.items():
        kind, level, subject = _LANE.get(name, (name.partition(":")[0], Level.WARNING, name.partition(":")[2]))
        yield Finding(kind, subject or address, level, sentence)
