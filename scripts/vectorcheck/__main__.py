"""``scripts/vectors KIND FILE``: load a file of vectors, compare, print mismatches and one summary line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from scripts import meridian_vectors
from scripts.vectorcheck import deri, deri_events
from scripts.vectorcheck.document import MalformedError, Node, load
from scripts.vectorcheck.report import Report


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in CHECKS:
        print(f"usage: scripts/vectors {'|'.join(CHECKS)} FILE   (.json or .json.gz)", file=sys.stderr)
        return 2
    kind, path = arguments
    try:
        return CHECKS[kind](Path(path))
    except MalformedError as error:
        print(f"scripts/vectors: {path}: {error}", file=sys.stderr)
        return 2


def _reported(check: Callable[[Node], Report]) -> Callable[[Path], int]:
    def run(path: Path) -> int:
        report = check(load(path))
        for line in report.mismatches:
            print(line)
        print(report.summary)
        return 0 if report.exact else 1

    return run


CHECKS: dict[str, Callable[[Path], int]] = {
    "deri": _reported(deri.check),
    "deri-events": _reported(deri_events.check),
    "meridian": meridian_vectors.outcomes,
    "meridian-events": meridian_vectors.logs,
}
"""Per kind of file: compare, print, and answer the exit code."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
