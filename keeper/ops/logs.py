"""Logging: JSON lines in production, readable on a terminal; secrets are masked on the way out.

Nothing in the keeper logs a secret on purpose. The mask is the second line: whatever was registered as secret (a
password, a key, the credential in an endpoint's URL) is replaced in every string that a log line carries.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Literal, TextIO
from urllib.parse import urlsplit

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_MASK = "[secret]"


class Secrets:
    """The strings that must never leave the process. Owned by the logging configuration."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def add(self, value: str) -> None:
        """Mask ``value`` from now on. Strings shorter than four characters would mask too much and are left."""
        if len(value) >= 4:
            self._values.add(value)

    def add_url(self, url: str) -> None:
        """Mask whatever of an endpoint's URL may be a credential: user, password, path and query."""
        parts = urlsplit(url)
        for value in (parts.username, parts.password, parts.path.strip("/"), parts.query):
            if value and len(value) >= 8:
                self.add(value)

    def mask(self, text: str) -> str:
        for value in self._values:
            if value in text:
                text = text.replace(value, _MASK)
        return text

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            event[key] = self._masked(value)
        return event

    def _masked(self, value: object) -> object:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, MutableMapping):
            return {key: self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        if isinstance(value, Exception):
            return self.mask(str(value))
        return value


def configure(
    form: Literal["auto", "json", "text"] = "auto", level: str = "info", stream: TextIO | None = None
) -> Secrets:
    """Set structlog up for the process and return the register of secrets to mask."""
    out = stream or sys.stderr
    secrets = Secrets()
    readable = form == "text" or (form == "auto" and out.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        secrets,
        structlog.dev.ConsoleRenderer(colors=out.isatty()) if readable else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    return secrets
