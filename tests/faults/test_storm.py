"""The real daemon in a storm on a real market, in small; `scripts/storm.py` plays these and others at full size."""

from __future__ import annotations

from pathlib import Path

from scripts.storms import kills, rival


async def test_killed_at_random_moments_nothing_is_lost_or_sent_twice(tmp_path: Path) -> None:
    verdict = await kills.storm(tmp_path, kills=6, seed=7)
    assert verdict.liquidated > 20
    assert verdict.good, verdict
    assert verdict.reverted == 0


async def test_a_rival_in_the_mempool_is_no_reason_to_revert(tmp_path: Path) -> None:
    # Blocks of two seconds: of so few, one that a busy machine withdraws too late would already be too many.
    verdict = await rival.storm(tmp_path, accounts=60, seed=1, block_time=2)
    assert verdict.rivals > 0
    assert verdict.ours > 0
    assert verdict.good, verdict
