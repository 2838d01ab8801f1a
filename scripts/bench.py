"""`make bench`: run every benchmark, print one table, write bench.json.

A benchmark is a module `scripts/bench_*.py` with `run() -> list[dict]` whose entries have `name, value, unit, baseline,
target` (the last two may be None). Arguments choose modules by name: `scripts/bench.py lane`.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent


def main(chosen: list[str]) -> None:
    sys.path.insert(0, str(HERE.parent))
    console = Console(width=None if sys.stdout.isatty() else 140)
    figures: list[dict[str, object]] = []
    for path in sorted(HERE.glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        if chosen and name not in chosen:
            continue
        console.print(f"[dim]measuring {name} ...[/dim]")
        figures.extend(importlib.import_module(f"scripts.{path.stem}").run())
    table = Table(
        "figure", "value", "unit", "baseline", "target", title=f"{os.cpu_count()} cores, {platform.machine()}"
    )
    for figure in figures:
        table.add_row(*(_shown(figure[key]) for key in ("name", "value", "unit", "baseline", "target")))
    console.print(table)
    (HERE.parent / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    console.print("written to bench.json")


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(sys.argv[1:])
