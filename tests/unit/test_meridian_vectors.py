"""Recorded outcomes and logs of the published contracts: the engine reproduces every number."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from scripts.vectorcheck import meridian, meridian_events
from scripts.vectorcheck.document import MalformedError, Node, load

FOLDER = Path(__file__).parents[1] / "vectors" / "meridian"


@pytest.fixture(scope="module")
def outcomes() -> Node:
    return load(FOLDER / "outcomes.json.gz")


def test_every_outcome_is_exact(outcomes: Node) -> None:
    report = meridian.check(outcomes)
    assert report.mismatches == ()
    assert report.summary == "meridian: 275/275 outcomes exact"
    assert report.exact


def test_every_position_and_rate_follows_from_the_logs() -> None:
    report = meridian_events.check_file(FOLDER / "events.json.gz")
    assert report.mismatches == ()
    assert report.summary == "meridian-events: 100/100 positions, 25/25 rates exact"
    assert report.exact


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("after", "poolAmount"), "1"),
        (("traderReceived",), "1"),
        (("viewStored",), ["0", "0"]),
        (("event", "fee"), "1"),
    ],
)
def test_a_single_wrong_figure_is_found(outcomes: Node, path: tuple[str, ...], value: object) -> None:
    document = copy.deepcopy(outcomes.value)
    assert isinstance(document, dict)
    document["scenarios"] = document["scenarios"][:1]
    field = next(o for o in document["scenarios"][0]["evals"][0]["outcomes"] if o["ok"])
    for name in path[:-1]:
        field = field[name]
    field[path[-1]] = value
    report = meridian.check(Node(document))
    assert not report.exact
    assert len(report.mismatches) == 1
    assert path[0] in report.mismatches[0]


def test_a_file_of_another_schema_is_refused() -> None:
    with pytest.raises(MalformedError, match="schema"):
        meridian.check(load(FOLDER / "events.json.gz"))


def test_events_without_their_outcomes_beside_them_are_refused(tmp_path: Path) -> None:
    lonely = tmp_path / "events.json.gz"
    lonely.write_bytes((FOLDER / "events.json.gz").read_bytes())
    with pytest.raises(MalformedError, match="outcomes"):
        meridian_events.check_file(lonely)
