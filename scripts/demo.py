"""`make demo`: a local market, the keeper as its own process, and a crash.

The demo plays the world: it mines blocks, moves prices, lets traders add margin. The keeper is told nothing but its
configuration. At the end the chain itself is the judge: every account that it called liquidatable at the end of a
block has to have been liquidated, and nothing may have reverted.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.demos import deri, meridian

SCENARIOS = {"deri": deri.play, "meridian": meridian.play}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else "deri"
    if name not in SCENARIOS:
        sys.stderr.write(f"demo: expected one of {', '.join(SCENARIOS)}, got {name!r}; make demo PROTOCOL=deri\n")
        return 2
    return asyncio.run(SCENARIOS[name]())


if __name__ == "__main__":
    sys.exit(main())
