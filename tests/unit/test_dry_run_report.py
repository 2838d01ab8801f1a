"""The closing table of a dry run: lengths of time, and who was first."""

from __future__ import annotations

import io

import pytest
import typer
from rich.console import Console

from keeper.cli.dry_run import _duration, first, report
from keeper.engine.dry_run import DryRunRecord, Taken, Trial
from keeper.settings import Settings

TRIAL = Trial("lite", "7", 100, True, "", 5, 5, 2 * 10**18, 100_000, 10**18, True)
FAILED = Trial("lite", "8", 100, False, "no position", 0, 5, 0, 50_000, 10**17, True)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1.5h", 5400), ("30", 30)])
def test_a_length_of_time(text: str, seconds: float) -> None:
    assert _duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "m", "-5m", "10 minutes", "1e3"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="90s, 10m or 2h"):
        _duration(text)


@pytest.mark.parametrize(
    ("block", "said"), [(103, "3 blocks after us"), (99, "1 block before us"), (100, "in the same block")]
)
def test_who_was_first(block: int, said: str) -> None:
    assert first(TRIAL, Taken("lite", "7", "0xab", block, "0xRival")).endswith(said)


def test_nobody_was_first_and_nobody_told() -> None:
    assert first(TRIAL, None) == "nobody"
    assert "0xab" in first(TRIAL, Taken("lite", "7", "0xab"))


def test_the_table_adds_up_and_names_what_was_left_and_what_was_missed() -> None:
    settings = Settings.model_validate(
        {
            "mode": "observe",
            "chains": {"local": {"chain_id": 1, "endpoints": ["http://localhost"]}},
            "markets": {
                "lite": {
                    "protocol": "deri-v3",
                    "chain": "local",
                    "pool": "0x" + "11" * 20,
                    "native_price_b0": 300,
                }
            },
        }
    )
    record = DryRunRecord(trials=[TRIAL, FAILED])
    record.skips["lite", "9"] = "the reward does not cover the gas", 1
    record.taken["lite", "9"] = Taken("lite", "9", "0xab", 101, "0xRival")
    out = io.StringIO()
    for table in report(settings, record):
        Console(file=out, width=160).print(table)
    said = out.getvalue()
    assert "1 of 2" in said
    assert "600.0000" in said, "two coins of reward"
    assert "270.0000" in said, "less what the failure cost"
    assert "no position" in said
    assert "9 was liquidated by 0xRival in block 101; here: the reward does not cover the gas" in said
