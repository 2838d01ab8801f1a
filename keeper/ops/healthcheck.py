"""Asks a keeper on this machine whether it is ready: for a container's health check, so it imports next to nothing."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

PATIENCE_S = 3.0


def main() -> int:
    """0 if ready, else 1 with what the keeper said. The port is ``KEEPER_HTTP__PORT``'s, else the usual one."""
    port = int(os.environ.get("KEEPER_HTTP__PORT", "8787"))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=PATIENCE_S):
            return 0
    except urllib.error.HTTPError as error:
        sys.stdout.write(error.read(2000).decode(errors="replace"))
    except OSError as error:
        sys.stdout.write(f"no answer on port {port}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
