"""The whole way in the running daemon: from a price seen to bytes handed to the connections, 10,000 accounts watched.

What ``bench_lane`` leaves out is in it: the price server's answer, signatures, the screen, the verdict, and a process
that has slept since the last price. ``scripts/storm.py latency`` plays the same.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from scripts.demos.stage import percentile
from scripts.storms import latency

Figure = dict[str, object]

WATCHED = 10_000
SEED = 1


def run() -> list[Figure]:
    """Every figure of the daemon's latency, for ``make bench``; takes three minutes."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = asyncio.run(latency.storm(Path(folder), WATCHED, SEED))
    found = []
    for size, first in verdict.first_us.items():
        name = f"daemon: price to bytes, {WATCHED:,} watched, {size} fall{'s' if size == 1 else ''}"
        for percent in (50, 99):
            target = latency.TARGET_US[f"p{percent}"]
            found.append(_figure(f"{name}, first, p{percent}", percentile(first, percent), target))
            if size > 1:
                found.append(_figure(f"{name}, all, p{percent}", percentile(verdict.all_us[size], percent)))
    return found


def _figure(name: str, us: float, target_us: int | None = None) -> Figure:
    target = None if target_us is None else target_us / 1000
    return {"name": name, "value": us / 1000, "unit": "ms", "baseline": None, "target": target}
