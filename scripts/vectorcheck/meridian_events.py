"""Meridian logs: replayed, they give exactly a scenario's positions and cumulative funding rates.

What they must give is in the outcomes file of the same set, which lies beside the events file under the corresponding
name (``events.json`` and ``outcomes.json``).
"""

from __future__ import annotations

from pathlib import Path

from keeper.protocols.meridian.events import Record, fold
from scripts.vectorcheck.document import MalformedError, Node, load, require_schema
from scripts.vectorcheck.meridian import SCHEMA as OUTCOMES_SCHEMA
from scripts.vectorcheck.meridian import read_positions
from scripts.vectorcheck.report import Comparison, Report

SCHEMA = "gmx-v1-events/1"


def check_file(path: Path) -> Report:
    """Replay the file's logs and compare. Raises ``MalformedError`` if it or its outcomes can't be used."""
    outcomes = path.with_name(path.name.replace("events", "outcomes"))
    if outcomes == path:
        raise MalformedError("expected a name with 'events' in it, to find the set's outcomes beside it")
    document = load(path)
    require_schema(document, SCHEMA)
    if not outcomes.is_file():
        raise MalformedError(f"expected the set's outcomes at {outcomes}, to compare with; put them there")
    expected = load(outcomes)
    require_schema(expected, OUTCOMES_SCHEMA)
    return check(document, expected)


def check(document: Node, outcomes: Node) -> Report:
    """Replay every scenario's logs against the positions and rates of ``outcomes``."""
    scenarios = {scenario["id"].text: scenario for scenario in outcomes["scenarios"]}
    exact = {"positions": 0, "rates": 0}
    total = dict(exact)
    mismatches: list[str] = []

    def compare(kind: str, where: str, recorded: object, computed: object) -> None:
        compared = Comparison(where)
        compared.same(kind, recorded, computed)
        total[kind] += 1
        exact[kind] += not compared.differences
        mismatches.extend(compared.differences)

    for recorded in document["scenarios"]:
        name = recorded["id"].text
        if name not in scenarios:
            raise MalformedError(f"{recorded.path}.id: expected a scenario of the outcomes, but came {name!r}")
        scenario = scenarios[name]
        ledger = fold(_records(recorded["logs"]), scenario["vault"]["fundingInterval"].integer)
        positions = {position.key: position for position in read_positions(scenario) if position.size_e30}
        for key in sorted(positions.keys() | ledger.positions.keys()):
            compare("positions", f"{name} {key}", positions.get(key), ledger.positions.get(key))
        for symbol, token in scenario["tokens"].items():
            rate, last = token["cumulativeFundingRate"].integer, token["lastFundingTime"].integer
            # The first update of a token starts its clock without an event: without one, only the rate is told.
            computed = ledger.funding.get(token["address"].text, (0, last))
            compare("rates", f"{name} {symbol}", (rate, last), computed)
    counts = ", ".join(f"{exact[kind]}/{total[kind]} {kind}" for kind in total)
    return Report(f"meridian-events: {counts} exact", tuple(mismatches), exact == total and total["rates"] > 0)


def _records(logs: Node) -> list[Record]:
    ordered = sorted(logs, key=lambda log: (log["blockNumber"].integer, log["logIndex"].integer))
    return [Record(log["topic0"].raw, log["data"].raw, log["timestamp"].integer) for log in ordered]
