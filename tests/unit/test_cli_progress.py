"""What takes a while says so: on a terminal, on standard error, and nowhere else."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from keeper.cli import rehearse
from keeper.cli.dry_run import so_far
from keeper.cli.progress import as_they_come, counting, waiting
from keeper.engine.dry_run import DryRunRecord, Taken, Trial
from keeper.rehearsal import Act, Result
from keeper.settings import Settings
from tests.unit.ops_views import SIGNER


class Screen(io.StringIO):
    """A terminal, and what was written to it."""

    def isatty(self) -> bool:
        return True


def on_a_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard error from now on; no fixture, since pytest takes the stream back before a test begins."""
    monkeypatch.setenv("TERM", "xterm")
    made = Screen()
    monkeypatch.setattr(sys, "stderr", made)
    return made


async def three() -> AsyncIterator[int]:
    for number in range(3):
        yield number


async def test_nothing_is_shown_where_nobody_looks_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with waiting("reading"):
        pass
    with counting() as shown:
        shown.add_task("counting", total=3)
    assert [number async for number in as_they_come("examining", three())] == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


async def test_on_a_terminal_it_is_on_standard_error_and_out_of_the_way_of_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = on_a_screen(monkeypatch)
    async for number in as_they_come("examining [it]", three()):
        written = screen.tell()
        sys.stdout.write(f"found {number}\n")
        assert screen.tell() == written
    assert screen.getvalue().count("examining [it]") >= 3
    assert screen.getvalue().endswith("\x1b[2K")  # the line is cleared
    assert capsys.readouterr().out == "found 0\nfound 1\nfound 2\n"


async def test_a_rehearsal_is_shown_account_by_account(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_a_screen(monkeypatch)

    async def rehearsed(settings: Settings, name: str, count: int, expect: Callable[[int], None]) -> AsyncIterator[Act]:
        yield Act(name, "", Result.FAILED, "3 accounts can't be assessed")
        expect(2)
        yield Act(name, "1", Result.PASSED)
        yield Act(name, "2", Result.FAILED, "can not liquidate")

    monkeypatch.setattr(rehearse, "rehearse", rehearsed)
    settings = Settings.model_validate(
        {
            "mode": "observe",
            "chains": {"local": {"chain_id": 1, "endpoints": ["http://node"]}},
            "markets": {"lite": {"protocol": "deri-v3", "chain": "local", "pool": SIGNER, "native_price_b0": 1}},
        }
    )
    acts = await rehearse._acts(settings, "lite", 20)
    assert [act.account for act in acts] == ["", "1", "2"]
    assert "lite: 1 passed, 2 failed" in screen.getvalue()


def test_a_dry_run_says_how_long_it_still_takes_and_what_it_has_found() -> None:
    record = DryRunRecord()
    for account, ok in (("1", True), ("2", False)):
        record.trials.append(Trial("lite", account, 7, ok, "", 0, 0, 0, 0, 0, executed=True))
    record.skips["lite", "3"] = "the reward does not cover the gas", 0
    record.taken["lite", "4"] = Taken("lite", "4", "0x", 7)
    said = "1 of 2 tried went through, 1 left, 1 missed"
    assert so_far(record, 3_725.4) == f"1:02:05 to go: {said}"
    assert so_far(record, None) == said
