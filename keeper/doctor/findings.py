"""What an examination finds: one line each, fine or with what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from keeper.errors import KeeperError


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """Worth knowing; the keeper liquidates all the same."""
    FAULT = "fault"
    """The keeper can't start, or would not liquidate."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at: ``chain bnb endpoint https://..``, ``market lite wiring``."""
    level: Level
    came: str
    remedy: str = ""


def fine(subject: str, came: str) -> Finding:
    return Finding(subject, Level.OK, came)


def warning(subject: str, came: str, remedy: str) -> Finding:
    return Finding(subject, Level.WARNING, came, remedy)


def fault(subject: str, came: str, remedy: str) -> Finding:
    return Finding(subject, Level.FAULT, came, remedy)


def refused(subject: str, error: KeeperError) -> Finding:
    """An error raised on purpose, as a finding."""
    return fault(subject, f"expected {error.expected}, but {error.came}", error.remedy)
