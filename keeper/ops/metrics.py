"""What Prometheus reads: one registry of our own, its gauges and counters taken from the snapshot at the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from keeper.views import Snapshot

STAGES = ("decided", "signed", "sent", "accepted", "mined")
BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
MOST_REASONS = 40
"""Reasons beyond so many are counted as ``other``: a node's own words may hold anything."""
_WEI = 10**18

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Owns the histograms. ``timed`` is called where liquidations are made, so it does next to nothing."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._registry = CollectorRegistry()
        self._histogram = Histogram(
            "keeper_price_seen_to",
            "From the input that led to a liquidation to a stage of it",
            ("market", "stage"),
            unit="seconds",
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._children: dict[tuple[str, str], Histogram] = {}
        self._registry.register(_FromSnapshot(snapshot))

    def prepare(self, markets: Iterable[str]) -> None:
        """Have every series from the start, so that rates are right from the first event."""
        for market in markets:
            for stage in STAGES:
                self._children[market, stage] = self._histogram.labels(market, stage)

    def timed(self, market: str, stage: str, elapsed_ns: int) -> None:
        """A ``keeper.model.Timed``."""
        child = self._children.get((market, stage))
        if child is not None:
            child.observe(elapsed_ns / 1e9)

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format."""
        return generate_latest(self._registry)


class _FromSnapshot(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        snapshot = self._snapshot()
        if snapshot is None:
            return
        yield _gauge("keeper_ready", "1 while nothing keeps the keeper from liquidating", (), [((), snapshot.ready)])
        yield _gauge("keeper_paused", "1 while the operator has paused the sending", (), [((), snapshot.paused)])
        yield _gauge("keeper_start_time_seconds", "When the keeper started", (), [((), snapshot.started_at)])
        yield _gauge("keeper_snapshot_time_seconds", "When these figures were taken", (), [((), snapshot.at)])
        causes = [
            ((cause.name.partition(":")[0], cause.name.partition(":")[2], cause.level), 1) for cause in snapshot.causes
        ]
        yield _gauge("keeper_cause", "What is amiss at present", ("cause", "subject", "level"), causes)
        yield from _chains(snapshot)
        yield from _markets(snapshot)


def _chains(snapshot: Snapshot) -> Iterable[Metric]:
    chains = snapshot.chains
    yield _gauge("keeper_head_block", "The head", ("chain",), [((c.name,), c.head) for c in chains])
    yield _gauge(
        "keeper_head_age_seconds", "Since the head was seen", ("chain",), [((c.name,), c.head_age_s) for c in chains]
    )
    endpoints = [(c.name, e) for c in chains for e in c.endpoints]
    labels = ("chain", "endpoint")
    yield _gauge(
        "keeper_endpoint_lag_blocks", "Blocks behind the best", labels, [((n, e.name), e.behind) for n, e in endpoints]
    )
    yield _gauge(
        "keeper_endpoint_healthy",
        "1 if it answers and is on the chain",
        labels,
        [((n, e.name), e.healthy and not e.lagging and not e.forked) for n, e in endpoints],
    )
    yield _gauge(
        "keeper_endpoint_latency_seconds",
        "Moving average over answers",
        labels,
        [((n, e.name), e.latency_ms / 1000) for n, e in endpoints],
    )
    yield _counter(
        "keeper_endpoint_failures", "Failed exchanges", labels, [((n, e.name), e.failures) for n, e in endpoints]
    )
    yield _counter(
        "keeper_rpc_calls",
        "Calls sent to nodes",
        ("chain", "method"),
        [((c.name, method), count) for c in chains for method, count in sorted(c.calls.items())],
    )
    lanes = [(c.name, lane) for c in chains for lane in c.lanes]
    labels = ("chain", "signer")
    yield _gauge(
        "keeper_balance_native", "In native coin", labels, [((n, a.address), a.balance_wei / _WEI) for n, a in lanes]
    )
    yield _gauge(
        "keeper_gas_budget_left_native",
        "What the gas budget still allows, in native coin",
        labels,
        [((n, a.address), a.budget_left_wei / _WEI) for n, a in lanes],
    )
    yield _gauge(
        "keeper_in_flight", "Transactions under way", labels, [((n, a.address), a.in_flight) for n, a in lanes]
    )


def _markets(snapshot: Snapshot) -> Iterable[Metric]:
    markets = snapshot.markets
    labels: tuple[str, ...] = ("market",)
    yield _gauge(
        "keeper_accounts_watched", "Accounts in the mirror", labels, [((m.name,), m.accounts) for m in markets]
    )
    yield _gauge(
        "keeper_mirror_age_seconds",
        "For how long the mirror has been behind the chain's head",
        labels,
        [((m.name,), m.mirror_age_s) for m in markets],
    )
    shown = [(m.name, m.figures) for m in markets if m.figures]
    yield _gauge(
        "keeper_nearest_distance_percent",
        "The smallest move of any one price that makes an account liquidatable",
        labels,
        [((n,), f.nearest[0].percent) for n, f in shown if f.nearest and f.nearest[0].percent is not None],
    )
    yield _gauge(
        "keeper_accounts_unassessable",
        "Accounts that can't be judged",
        labels,
        [((n,), f.distances.unassessable) for n, f in shown],
    )
    yield _counter(
        "keeper_mirror_mismatches", "Times that the chain disagreed", labels, [((n,), f.mismatches) for n, f in shown]
    )
    yield _gauge(
        "keeper_price_age_seconds",
        "Age of a price",
        ("market", "price"),
        [((n, p.name), p.age_s) for n, f in shown for p in f.prices if p.age_s is not None],
    )
    stakes = [(n, s) for n, f in shown for s in f.stakes]
    labels = ("market", "signer")
    yield _gauge("keeper_stake", "DERI staked", labels, [((n, s.address), s.staked) for n, s in stakes])
    yield _gauge(
        "keeper_stake_headroom",
        "DERI that the others may add before the stake falls below the average",
        labels,
        [((n, s.address), s.headroom) for n, s in stakes if s.headroom is not None],
    )
    yield _gauge(
        "keeper_stake_lock_end_seconds",
        "When the stake's lock ends; 0 if none runs",
        labels,
        [((n, s.address), s.lock_until or 0) for n, s in stakes],
    )
    yield _gauge(
        "keeper_eligible",
        "1 if the signer may liquidate",
        labels,
        [((m.name, s.address), s.allowed) for m in markets for s in m.signers],
    )
    labels = ("market",)
    for name, text, counts in (
        ("candidates", "Accounts weighed, once a round", [(m.name, m.candidates) for m in markets]),
        ("decided", "Liquidations decided on", [(m.name, m.decided) for m in markets]),
        ("sent", "Liquidations that a node accepted", [(m.name, m.sent) for m in markets]),
        ("mined", "Liquidations mined", [(m.name, m.mined) for m in markets]),
        ("lost", "On their way from us when somebody else was first", [(m.name, m.lost) for m in markets]),
    ):
        yield _counter(f"keeper_{name}", text, labels, [((market,), count) for market, count in counts])
    labels = ("market", "reason")
    yield _counter("keeper_reverted", "Transactions reverted", labels, _reasons((m.name, m.reverted) for m in markets))
    yield _counter("keeper_skipped", "Accounts left, by reason", labels, _reasons((m.name, m.skipped) for m in markets))


def _reasons(counts: Iterable[tuple[str, Mapping[str, int]]]) -> list[tuple[tuple[str, str], int]]:
    rows: list[tuple[tuple[str, str], int]] = []
    for market, by_reason in counts:
        ranked = sorted(by_reason.items(), key=lambda item: -item[1])
        rows += [((market, reason), count) for reason, count in ranked[:MOST_REASONS]]
        if rest := sum(count for _, count in ranked[MOST_REASONS:]):
            rows.append(((market, "other"), rest))
    return rows


_Rows = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: _Rows) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], rows: _Rows) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, float(value))
    return family
