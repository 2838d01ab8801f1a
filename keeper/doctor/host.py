"""Examining the machine: the store, the port, and Anvil where it is wanted."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from keeper.chain.anvil import find_anvil
from keeper.doctor.findings import Finding, Level, fault, fine, refused, warning
from keeper.errors import KeeperError, StoreError
from keeper.settings import Mode, Settings
from keeper.store.hold import hold
from keeper.store.journal import Journal


async def examine_host(settings: Settings) -> AsyncIterator[Finding]:
    """Everything about this machine that can be wrong before the first block."""
    store = await _store(settings.store.path)
    yield store
    if settings.http.enabled:
        yield _port(settings.http.host, settings.http.port, running=store.level is Level.WARNING)
    if settings.mode is Mode.DRY_RUN:
        try:
            yield fine("anvil", str(find_anvil(settings.fork.anvil)))
        except KeeperError as error:
            yield warning("anvil", f"{error.came}: a dry run simulates at the node instead", error.remedy)


async def _store(path: Path) -> Finding:
    subject = f"store {path}"
    if (finding := _place(subject, path)) is not None:
        return finding
    try:
        with hold(path):
            journal = await Journal.open(path)
            await journal.close()
    except StoreError as error:
        if "another one is running" in error.came:
            return warning(subject, "a keeper is running with it", "stop it before you start another one")
        return refused(subject, error)
    return fine(subject, "it can be written")


def _place(subject: str, path: Path) -> Finding | None:
    """What the folder alone tells; None if there is a store to open."""
    folder = next(each for each in path.parents if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
        return fault(subject, f"{folder} can't be written", "correct its rights, or store.path")
    return None if path.exists() else fine(subject, "it is made at the first start")


def _port(host: str, port: int, *, running: bool) -> Finding:
    subject = f"http {host}:{port}"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if running:
            return warning(subject, str(error.strerror), "the keeper that is running listens there, or somebody else")
        return fault(subject, str(error.strerror), "stop what listens there, or set http.port")
    return fine(subject, "free")
