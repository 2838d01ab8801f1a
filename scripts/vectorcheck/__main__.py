"""``scripts/vectors KIND FILE``: load a file of vectors, compare, print mismatches and one summary line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from scripts.vectorcheck import deri, deri_events, meridian, meridian_events
from scripts.vectorcheck.document import MalformedError, load
from scripts.vectorcheck.report import Report

CHECKS: dict[str, Callable[[Path], Report]] = {
    "deri": lambda path: deri.check(load(path)),
    "deri-events": lambda path: deri_events.check(load(path)),
    "meridian": lambda path: meridian.check(load(path)),
    "meridian-events": meridian_events.check_file,
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in CHECKS:
        print(f"usage: scripts/vectors {'|'.join(CHECKS)} FILE   (.json or .json.gz)", file=sys.stderr)
        return 2
    kind, path = arguments
    try:
        report = CHECKS[kind](Path(path))
    except MalformedError as error:
        print(f"scripts/vectors: {path}: {error}", file=sys.stderr)
        return 2
    for line in report.mismatches:
        print(line)
    print(report.summary)
    return 0 if report.exact else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
