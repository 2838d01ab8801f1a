"""The dashboard as Grafana will find it, asking only for what Prometheus can answer; each alert rule in its case."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with apprise
from prometheus_client.parser import text_string_to_metric_families

from keeper.ops.metrics import STAGES, Metrics
from keeper.views import Cause, Level
from tests.unit.ops_views import MARKET, with_market

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "config" / "grafana"
PROMETHEUS = ROOT / "config" / "prometheus"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "keeper.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
COLUMNS = 24
"""Of Grafana's grid."""


def provisioned(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return document


COMPOSE = provisioned("docker-compose.yml")["services"]
[DATASOURCE] = provisioned("config/grafana/provisioning/datasources/prometheus.yml")["datasources"]


@dataclass(frozen=True, slots=True)
class Query:
    panel: str
    expr: str
    legend: str


QUERIES = [
    Query(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]
]


def labels_of_metrics() -> dict[str, set[str]]:
    """Every series that the keeper serves, with the labels that it carries."""
    market = replace(MARKET, reverted={"x": 1}, skipped={"y": 1})
    metrics = Metrics(lambda: replace(with_market(market), causes=(Cause("paused", Level.INFO, ""),)))
    metrics.prepare(["lite"])
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


METRICS = labels_of_metrics()


def test_everything_asks_the_provisioned_data_source() -> None:
    assert DATASOURCE["type"] == "prometheus"
    for asked in [*PANELS, *(target for panel in PANELS for target in panel["targets"])]:
        assert asked["datasource"] == {"type": DATASOURCE["type"], "uid": DATASOURCE["uid"]}, asked


def test_grafana_prometheus_and_keeper_find_each_other_in_the_composed_network() -> None:
    assert DATASOURCE["url"] == "http://prometheus:9090"
    [job] = provisioned("config/prometheus/prometheus.yml")["scrape_configs"]
    [[target]] = [each["targets"] for each in job["static_configs"]]
    assert target.rpartition(":")[0] in COMPOSE
    assert f"127.0.0.1:{target.rpartition(':')[2]}:8787" in COMPOSE["keeper"]["ports"]
    assert f'job="{job["job_name"]}"' in (ROOT / "config" / "prometheus" / "alerts.yml").read_text()
    [provider] = provisioned("config/grafana/provisioning/dashboards/keeper.yml")["providers"]
    mounted = dict(each.split(":")[:2] for each in COMPOSE["grafana"]["volumes"])
    assert mounted["./config/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./config/grafana/provisioning"] == "/etc/grafana/provisioning"
    for place in mounted:
        assert (ROOT / place).is_dir()


def test_a_query_uses_only_labels_that_its_metric_has() -> None:
    for query in QUERIES:
        metrics = re.findall(r"\bkeeper_[a-z_]+\b", query.expr)
        assert metrics, query
        kept = {"le"} | set.intersection(*(METRICS[name] for name in metrics))
        matched = re.findall(r"[{,]\s*(\w+)\s*[=!]", query.expr)
        grouped = re.findall(r"by \(([^)]*)\)", query.expr)
        by = {label.strip() for group in grouped for label in group.split(",")}
        assert {*matched, *by} <= kept, query
        left = by if grouped or "sum(" in query.expr else kept
        assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= left, query


def test_every_stage_is_drawn() -> None:
    asked = {stage for query in QUERIES for stage in re.findall(r'stage="(\w+)"', query.expr)}
    assert asked == set(STAGES)


def test_a_panel_has_a_place_of_its_own_and_targets_have_names() -> None:
    assert max(Counter(panel["id"] for panel in PANELS).values()) == 1
    for panel in PANELS:
        names = [target["refId"] for target in panel["targets"]]
        assert names, panel["title"]
        assert len(set(names)) == len(names), panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
    for one, other in combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def promtool(*arguments: str) -> str:
    """What it prints; it has to be content. Nothing where it is not installed: Debian has it in `prometheus`."""
    found = shutil.which("promtool")
    if found is None:
        return ""
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:query{number}", "expr": query.expr} for number, query in enumerate(QUERIES)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = promtool("check", "rules", str(path))
    assert not said or f"{len(QUERIES)} rules found" in said


def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text((PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(PROMETHEUS)))
    promtool("check", "config", str(path))


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    rules = {
        rule["alert"] for group in provisioned("config/prometheus/alerts.yml")["groups"] for rule in group["rules"]
    }
    cases = provisioned("config/prometheus/alerts_test.yml")["tests"]
    fired = {each["alertname"] for case in cases for each in case["alert_rule_test"] if each.get("exp_alerts")}
    silent = {each["alertname"] for each in cases[0]["alert_rule_test"] if not each.get("exp_alerts")}
    assert fired == silent == rules
    promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
