"""Storms that the keeper has to weather: `scripts/storm.py kills|burst|stuck|rival|latency`.

Each runs the real daemon on a real local market, prints its figures, and exits with 1 if one of them is not as it has
to be.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.storms import burst, kills, latency, rival, stuck
from scripts.storms.scene import show


class Verdict(Protocol):
    """What a storm comes to."""

    @property
    def good(self) -> bool: ...

    def figures(self) -> dict[str, object]: ...


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    storms = parser.add_subparsers(dest="storm", required=True)
    killing = storms.add_parser("kills", help="SIGKILL at random moments, and a start after each")
    killing.add_argument("--count", type=int, default=200)
    killing.add_argument("--seed", type=int, default=1)
    bursting = storms.add_parser("burst", help="a thousand accounts at once, against the least number of blocks")
    bursting.add_argument("--accounts", type=int, default=1000)
    bursting.add_argument("--liquidity", type=int, default=100_000_000, help="the pool's, in USD; less binds the guard")
    bursting.add_argument("--symbols", nargs="*", default=(), help="what is held; fewer bind the guard")
    racing = storms.add_parser("rival", help="a second liquidator takes half of the accounts in the same blocks")
    racing.add_argument("--accounts", type=int, default=600)
    racing.add_argument("--seed", type=int, default=1)
    racing.add_argument("--blind", action="store_true", help="the keeper does not watch the mempool")
    timing = storms.add_parser("latency", help="price seen to bytes handed over, with 1, 20 and 100 candidates")
    timing.add_argument("--accounts", type=int, default=10_000)
    timing.add_argument("--seed", type=int, default=1)
    storms.add_parser("stuck", help="the base fee times five while transactions are in flight")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keeper-storm-") as name:
        return asyncio.run(_play(chosen, Path(name)))


async def _play(chosen: argparse.Namespace, folder: Path) -> int:
    verdict: Verdict
    match chosen.storm:
        case "kills":
            verdict = await kills.storm(folder, chosen.count, chosen.seed)
        case "latency":
            verdict = await latency.storm(folder, chosen.accounts, chosen.seed)
        case "rival":
            verdict = await rival.storm(folder, chosen.accounts, chosen.seed, watched=not chosen.blind)
        case "stuck":
            verdict = await stuck.storm(folder)
        case _:
            verdict = await burst.storm(folder, chosen.accounts, chosen.liquidity, tuple(chosen.symbols))
    show(verdict.figures())
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
