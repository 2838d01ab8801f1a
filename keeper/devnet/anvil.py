"""Anvil as a child process, with what a development node can do at hand."""

from __future__ import annotations

import platform
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from keeper.chain.anvil import AnvilOptions as AnvilOptions
from keeper.chain.anvil import anvil_process
from keeper.devnet.rpc import DevNode, http_session
from keeper.errors import ConfigError

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"


class Anvil(DevNode):
    """A running Anvil that this process started."""

    def __init__(self, http_url: str, session: aiohttp.ClientSession, pid: int) -> None:
        super().__init__(http_url, session)
        self.pid = pid


@asynccontextmanager
async def run_anvil(options: AnvilOptions | None = None) -> AsyncIterator[Anvil]:
    """Start Anvil, wait until it answers, and stop it on leaving, however the block is left.

    Raises ``ConfigError`` if Anvil is not installed and ``ChainError`` if it does not come up.
    """
    async with anvil_process(anvil_binary(), options or AnvilOptions()) as process, http_session() as session:
        node = Anvil(process.http_url, session, process.pid)
        # From here on Anvil prints nothing, so a busy event loop can't fill the pipe and stall it.
        await node.rpc("anvil_setLoggingEnabled", False)
        yield node


def anvil_binary() -> Path:
    """The platform's Anvil as npm installed it.

    Not ``.bin/anvil``: that is a Node.js wrapper with the real Anvil as a child, and killing it may orphan the child.
    """
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    binary = CONTRACTS / "node_modules" / "@foundry-rs" / f"anvil-{system}-{machine}" / "bin" / "anvil"
    if not binary.is_file():
        raise ConfigError("Anvil from the npm packages", f"there is no {binary}", "run `make setup`")
    return binary
