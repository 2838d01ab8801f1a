"""The metrics say what the snapshot says, and every rule and panel asks for a metric that there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from keeper.ops.metrics import MOST_REASONS, STAGES, Metrics
from keeper.views import Cause, Level, Snapshot
from tests.unit.ops_views import HEALTHY, MARKET, SIGNER, with_market

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "config" / "grafana" / "dashboards" / "keeper.json"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(snapshot: Snapshot, metrics: Metrics | None = None) -> Samples:
    metrics = metrics or Metrics(lambda: snapshot)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_gauges_and_counters_are_those_of_the_snapshot() -> None:
    market = replace(
        MARKET, reverted={"can not liquidate": 2}, skipped={"the reward does not cover the gas": 3}, lost=1
    )
    snapshot = replace(with_market(market), causes=(Cause("low-balance:0x1", Level.WARNING, "little left"),))
    samples = scrape(snapshot)
    lite = ("market", "lite")
    assert samples["keeper_ready", ()] == 1
    assert samples["keeper_accounts_watched", (lite,)] == 4
    assert samples["keeper_nearest_distance_percent", (lite,)] == 1.5
    assert samples["keeper_mined_total", (lite,)] == 2
    assert samples["keeper_lost_total", (lite,)] == 1
    assert samples["keeper_reverted_total", (lite, ("reason", "can not liquidate"))] == 2
    assert samples["keeper_skipped_total", (lite, ("reason", "the reward does not cover the gas"))] == 3
    assert samples["keeper_stake_headroom", (lite, ("signer", SIGNER))] == 120_000
    assert samples["keeper_stake_lock_end_seconds", (lite, ("signer", SIGNER))] == 0
    assert samples["keeper_balance_native", (("chain", "bnb"), ("signer", SIGNER))] == 5
    assert samples["keeper_gas_budget_left_native", (("chain", "bnb"), ("signer", SIGNER))] == 1
    assert samples["keeper_rpc_calls_total", (("chain", "bnb"), ("method", "eth_call"))] == 7
    assert samples["keeper_endpoint_lag_blocks", (("chain", "bnb"), ("endpoint", "ws://node:8546"))] == 0
    assert samples["keeper_cause", (("cause", "low-balance"), ("level", "warning"), ("subject", "0x1"))] == 1


def test_a_critical_cause_makes_it_unready() -> None:
    snapshot = replace(HEALTHY, causes=(Cause("head-stalled:bnb", Level.CRITICAL, "no block"),))
    assert scrape(snapshot)["keeper_ready", ()] == 0


def test_each_stage_has_its_histogram_from_the_start() -> None:
    metrics = Metrics(lambda: HEALTHY)
    metrics.prepare(["lite"])
    metrics.timed("lite", "sent", 3_000_000)
    samples = scrape(HEALTHY, metrics)
    for stage in STAGES:
        labels = (("market", "lite"), ("stage", stage))
        assert samples["keeper_price_seen_to_seconds_count", labels] == (1 if stage == "sent" else 0)
    assert samples["keeper_price_seen_to_seconds_sum", (("market", "lite"), ("stage", "sent"))] == 0.003


def test_reasons_are_bounded() -> None:
    many = {f"reason {number}": number + 1 for number in range(MOST_REASONS + 20)}
    samples = scrape(with_market(replace(MARKET, reverted=many)))
    shown = [labels for name, labels in samples if name == "keeper_reverted_total"]
    assert len(shown) == MOST_REASONS + 1
    assert samples["keeper_reverted_total", (("market", "lite"), ("reason", "other"))] == sum(range(1, 21))


def names() -> set[str]:
    market = replace(MARKET, reverted={"x": 1}, skipped={"y": 1})
    metrics = Metrics(lambda: replace(with_market(market), causes=(Cause("paused", Level.INFO, ""),)))
    metrics.prepare(["lite"])
    text = metrics.text().decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def asked_for(text: str) -> set[str]:
    return set(re.findall(r"\bkeeper_[a-z_]+\b", text))


def test_every_rule_and_every_panel_asks_for_a_metric_that_there_is() -> None:
    expressions = re.findall(r"expr: (?:>-\n\s+)?(.+)", RULES.read_text())
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) >= 30
    assert {name for text in expressions for name in asked_for(text)} <= names()


def test_every_rule_names_a_page_of_the_runbook() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    pages = set(re.findall(r"^## ([a-z-]+)$", runbook, re.MULTILINE))
    named = set(re.findall(r"runbook\.md#([a-z-]+)", RULES.read_text()))
    assert named <= pages
    health = (ROOT / "keeper" / "ops" / "health.py").read_text() + (ROOT / "keeper" / "ops" / "station.py").read_text()
    causes = set(re.findall(r"(?:Finding\(\s*|: \(|condition\()\"([a-z]+(?:-[a-z]+)+)\"", health))
    assert len(causes) >= 14
    assert causes <= pages, causes - pages


def test_promtool_accepts_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        # The rules' names are checked above; promtool comes with Debian's package `prometheus`.
        return
    checked = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
