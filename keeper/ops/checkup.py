"""Examining what operating rests on: the switch's token, and whether those who are to be told can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import apprise

from keeper.doctor.findings import Finding, fine, refused, warning
from keeper.errors import ConfigError
from keeper.ops.alerts import services_of
from keeper.ops.logs import Secrets
from keeper.ops.station import read_token
from keeper.settings import Settings

PATIENCE_S = 5.0
_TRY = "`keeper alerts test` sends a message"
_WEBHOOKS = frozenset({"json", "xml", "form"})
"""Where the host in the URL is a host. Elsewhere it may be a token."""


async def examine_operating(settings: Settings) -> AsyncIterator[Finding]:
    """Everything about console and alerts that can be wrong before something happens. No message is sent."""
    if settings.http.token_file is not None:
        try:
            read_token(settings.http, Secrets())
            yield fine("http.token_file", str(settings.http.token_file))
        except ConfigError as error:
            yield refused("http.token_file", error)
    if settings.alerts.urls_file is None:
        return
    try:
        services = services_of(settings.alerts, Secrets())
    except ConfigError as error:
        yield refused("alerts.urls_file", error)
        return
    if not services:
        yield warning("alerts.urls_file", "it names no service: nobody is told", "one Apprise URL a line")
    for finding in await asyncio.gather(*(_reached(f"alerts {name}", service) for name, service in services)):
        yield finding


async def _reached(subject: str, service: apprise.Apprise) -> Finding:
    """Whether somebody listens where the service is. Host and port are all of its URL that is named."""
    if (place := _place(service)) is None:
        return fine(subject, f"Apprise knows it; {_TRY}")
    host, port = place
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # TimeoutError is one.
        came = f"nobody answers at {host}:{port} ({type(error).__name__})"
        return warning(subject, came, f"check the URL and the network; {_TRY}")
    writer.close()
    return fine(subject, f"{host}:{port} answers; {_TRY}")


def _place(service: apprise.Apprise) -> tuple[str, int] | None:
    """Where messages go, for mail, webhooks, and services at a fixed address; None if only Apprise knows."""
    plugin = service[0]
    if smtp_host := getattr(plugin, "smtp_host", None):
        return str(smtp_host), int(plugin.port or 25)
    if getattr(plugin, "protocol", None) in _WEBHOOKS:
        return str(plugin.host), int(plugin.port or (443 if plugin.secure else 80))
    fixed = urlsplit(str(getattr(type(plugin), "notify_url", "")))
    return (fixed.hostname, 443) if fixed.hostname and "{" not in fixed.hostname else None
