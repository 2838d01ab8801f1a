"""An endpoint of a node: where it is, how it is named without its credentials, and how well it has been doing."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LATENCY_WEIGHT = 0.2
_FIRST_COOLDOWN_S = 0.25
_LONGEST_COOLDOWN_S = 2.0
_HALF_LIFE_S = 15.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A node's URL. A lower ``priority`` is asked first."""

    url: str = field(repr=False)
    priority: int = 0
    requests_per_second: int = 0
    """0 means no limit of ours."""

    @property
    def websocket(self) -> bool:
        return urlsplit(self.url).scheme in ("ws", "wss")

    @property
    def name(self) -> str:
        """The URL fit for a log."""
        return redacted(self.url)


def redacted(url: str) -> str:
    """Scheme, host and port of a URL: user, password, path and query may hold a key, so they are left out."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    shown = f"{parts.scheme}://{parts.hostname or '?'}" + (f":{port}" if port else "")
    secretive = parts.path.strip("/") or parts.query or parts.username
    return shown + ("/…" if secretive else "")


@dataclass(slots=True)
class Health:
    """How an endpoint has been doing. Times are ``time.monotonic()`` seconds."""

    latency_s: float = 0.0
    """Moving average over answered exchanges."""
    streak: int = 0
    """Failures since the last success."""
    trouble: float = 0.0
    """Failures, each counting half as much after ``_HALF_LIFE_S``; as of ``troubled_at``."""
    troubled_at: float = 0.0
    failures: int = 0
    cooling_until: float = 0.0
    height: int = 0
    """The highest block it was seen to know."""
    lagging: bool = False
    forked: bool = False

    def answered(self, seconds: float) -> None:
        weight = _LATENCY_WEIGHT if self.latency_s else 1.0
        self.latency_s += weight * (seconds - self.latency_s)
        self.streak = 0
        self.cooling_until = 0.0

    def failed(self) -> None:
        self.failures += 1
        self.streak += 1
        self.trouble = self.recent_trouble + 1
        self.troubled_at = time.monotonic()
        pause = min(_FIRST_COOLDOWN_S * 2 ** (self.streak - 1), _LONGEST_COOLDOWN_S)
        self.cooling_until = time.monotonic() + pause

    @property
    def recent_trouble(self) -> float:
        return self.trouble * math.exp2((self.troubled_at - time.monotonic()) / _HALF_LIFE_S)

    @property
    def shaky(self) -> bool:
        """It failed lately: another one is preferred, also if of a later priority."""
        return self.recent_trouble > 0.5

    @property
    def cooling(self) -> bool:
        return time.monotonic() < self.cooling_until

    @property
    def trusted(self) -> bool:
        """Neither behind the others nor on a chain of its own: fit to decide on."""
        return not (self.lagging or self.forked)
