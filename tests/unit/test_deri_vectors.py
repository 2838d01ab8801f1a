"""The recorded outcomes of the real contracts, through the command that a stranger would use."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors" / "deri"
Document = dict[str, Any]


def _run(*arguments: str | Path, cwd: Path) -> tuple[int, list[str], str]:
    command = [str(ROOT / "scripts" / "vectors"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.splitlines(), done.stderr


def _recorded(name: str) -> Document:
    document: Document = json.loads(gzip.decompress((VECTORS / name).read_bytes()))
    return document


def test_every_recorded_outcome_step_and_eligibility_answer_is_exact(tmp_path: Path) -> None:
    code, lines, _ = _run("deri", VECTORS / "outcomes.json.gz", cwd=tmp_path)
    assert lines == ["deri-v3: 300/300 outcomes, 33/33 steps, 40/40 eligibility exact"]
    assert code == 0


def test_replayed_logs_give_positions_active_symbols_and_totals(tmp_path: Path) -> None:
    code, lines, _ = _run("deri-events", VECTORS / "events.json.gz", cwd=tmp_path)
    assert lines == ["deri-v3-events: 19/19 accounts, 64/64 positions, 9/9 symbol totals exact"]
    assert code == 0


def _first(document: Document, liquidatable: bool, mode: str) -> Document:
    found: Document = next(
        outcome
        for snapshot in document["snapshots"]
        if snapshot["mode"] == mode
        for outcome in snapshot["outcomes"]
        if outcome["liquidatable"] is liquidatable and outcome["settlement"]
    )
    return found


def _bump(record: Document | list[Any], key: Any) -> None:
    record[key] = str(int(record[key]) + 1)


TAMPERINGS: dict[str, Callable[[Document], object]] = {
    "margin": lambda d: _bump(_first(d, False, "lite"), "margin"),
    "settlement.traderFunding": lambda d: _bump(_first(d, False, "full")["settlement"], "traderFunding"),
    "perSymbol[0].deltaInitialMarginRequired": lambda d: _bump(_first(d, True, "lite")["perSymbol"][0], 2),
    "reward": lambda d: _bump(_first(d, True, "full"), "reward"),
    "lpsPnlAfter": lambda d: _bump(_first(d, True, "lite"), "lpsPnlAfter"),
    "cumulativePnlPerLiquidityAfter": lambda d: _bump(_first(d, True, "full"), "cumulativePnlPerLiquidityAfter"),
    "vaultLiquidityAtExec": lambda d: _bump(_first(d, False, "full"), "vaultLiquidityAtExec"),
    "revert": lambda d: _first(d, False, "lite").update(revert="another reason"),
    "liquidatable": lambda d: _first(d, False, "lite").update(liquidatable=True),
    "step": lambda d: _bump(d["snapshots"][0]["sequence"][0], "reward"),
    "qualifiedAtExec": lambda d: d["snapshots"][0]["privileger"]["liquidators"][1].update(qualifiedAtExec="true"),
}


def test_a_field_that_differs_by_one_unit_is_named_and_fails(tmp_path: Path) -> None:
    document = _recorded("outcomes.json.gz")
    for tamper in TAMPERINGS.values():
        tamper(document)
    path = tmp_path / "tampered.json"
    path.write_text(json.dumps(document))
    code, lines, _ = _run("deri", path, cwd=tmp_path)
    assert code == 1
    for what in TAMPERINGS:
        assert any(what in line for line in lines[:-1]), what
    assert "300/300" not in lines[-1]
    assert "33/33" not in lines[-1]
    assert "40/40" not in lines[-1]


def test_a_log_left_out_is_noticed(tmp_path: Path) -> None:
    document = _recorded("events.json.gz")
    world = document["worlds"][0]
    manager = world["addresses"]["symbolManager"].lower()
    trades = [log for log in world["logs"] if log["address"].lower() == manager and len(log["topics"]) == 3]
    world["logs"].remove(trades[-1])
    path = tmp_path / "events.json"
    path.write_text(json.dumps(document))
    code, lines, _ = _run("deri-events", path, cwd=tmp_path)
    assert code == 1
    assert len(lines) > 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema": "something-else/1"}', "expected a file of schema 'deri-v3-liquidate-vectors/1'"),
        (b"{}", "expected a field 'schema'"),
        (b"[]", "expected an object"),
        (b"not json", "is not JSON"),
        (b"\x1f\x8b broken", "gzip"),
        (b'{"schema": "deri-v3-liquidate-vectors/1", "perSymbolFields": [], "snapshots": [7]}', "$.snapshots[0]"),
    ],
)
def test_a_file_that_can_not_be_used_gets_a_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    code, lines, errors = _run("deri", path, cwd=tmp_path)
    assert (code, lines) == (2, [])
    assert says in errors
    assert "Traceback" not in errors


def test_a_missing_file_and_an_unknown_kind_get_a_sentence(tmp_path: Path) -> None:
    code, _, errors = _run("deri", tmp_path / "nowhere.json", cwd=tmp_path)
    assert code == 2
    assert "can't be read" in errors
    code, _, errors = _run("unheard-of", tmp_path, cwd=tmp_path)
    assert code == 2
    assert "usage" in errors
