"""Anvil as a child process: started on a free port, and gone when the block that started it is left."""

from __future__ import annotations

import asyncio
import ctypes
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keeper.errors import ChainError, ConfigError

START_SECONDS = 30.0
STOP_SECONDS = 5.0
_LISTENING = re.compile(rb"Listening on \S+:(\d+)")
_PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that the kernel sends to a child when its parent dies."""


@dataclass(frozen=True, slots=True)
class AnvilOptions:
    """How to start Anvil. None leaves Anvil's own default."""

    block_time: float | None = None
    """Seconds between blocks; None mines a block for every transaction."""
    no_mining: bool = False
    """Mine only when asked to."""
    chain_id: int = 31337
    gas_limit: int = 30_000_000
    accounts: int = 10
    timestamp: int | None = None
    """The genesis block's, in seconds."""
    base_fee_per_gas_wei: int | None = None
    hardfork: str | None = None
    fork_url: str | None = None
    fork_block_number: int | None = None
    code_size_limit: bool = True
    """False lifts the limit of EIP-170."""
    prune_history: int | None = None
    """States of past blocks to keep. With large markets, keeping all of them slows every block."""
    order: str | None = None
    """How pending transactions are ordered: ``fees`` or ``fifo``."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""

    def arguments(self) -> list[str]:
        """The command line after the program's name."""
        given: dict[str, object] = {
            "--host": self.host,
            "--port": self.port,
            "--chain-id": self.chain_id,
            "--gas-limit": self.gas_limit,
            "--accounts": self.accounts,
            "--block-time": self.block_time,
            "--timestamp": self.timestamp,
            "--block-base-fee-per-gas": self.base_fee_per_gas_wei,
            "--hardfork": self.hardfork,
            "--fork-url": self.fork_url,
            "--fork-block-number": self.fork_block_number,
            "--order": self.order,
            "--prune-history": self.prune_history,
        }
        arguments = ["--color", "never", "--no-request-size-limit"]
        for name, value in given.items():
            if value is not None:
                arguments += [name, str(value)]
        if self.no_mining:
            arguments.append("--no-mining")
        if not self.code_size_limit:
            arguments.append("--disable-code-size-limit")
        return arguments


@dataclass(frozen=True, slots=True)
class AnvilProcess:
    """A running Anvil that this process started."""

    http_url: str
    pid: int


@asynccontextmanager
async def anvil_process(binary: Path, options: AnvilOptions) -> AsyncIterator[AnvilProcess]:
    """Start Anvil, wait until it listens, and stop it on leaving, however the block is left.

    Its output is read and forgotten; whoever uses it switches logging off, so that a busy event loop can't fill the
    pipe and stall it. Raises ``ConfigError`` if it can't be run and ``ChainError`` if it does not come up.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            *options.arguments(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=_die_with_parent(),
        )
    except OSError as error:
        raise ConfigError(f"to run Anvil at {binary}", str(error.strerror), "correct its path or its rights") from None
    assert process.stdout is not None
    last_lines: deque[bytes] = deque(maxlen=20)
    drain: asyncio.Task[None] | None = None
    try:
        port = await _listening_port(process.stdout, last_lines)
        drain = asyncio.create_task(_drain(process.stdout, last_lines))
        yield AnvilProcess(f"http://127.0.0.1:{port}", process.pid)
    finally:
        await _stop(process)
        if drain is not None:
            await drain


def find_anvil(configured: Path | None) -> Path:
    """The configured Anvil, or the one on the PATH. Raises ``ConfigError`` if there is none."""
    found = shutil.which(configured or "anvil")
    if found is None:
        raise ConfigError(
            f"Anvil at {configured}" if configured else "a program `anvil` on the PATH",
            "there is none that can be run",
            "install Foundry, or name it by fork.anvil in the configuration",
        )
    return Path(found)


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, have the kernel kill the child if this process is killed before it can stop it."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def set_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return set_death_signal


async def _listening_port(output: asyncio.StreamReader, last_lines: deque[bytes]) -> int:
    try:
        async with asyncio.timeout(START_SECONDS):
            async for line in output:
                last_lines.append(line)
                if found := _LISTENING.search(line):
                    return int(found[1])
    except TimeoutError:
        came = f"it said nothing of that within {START_SECONDS:.0f} s"
    else:
        came = "it ended"
    said = b"".join(last_lines).decode(errors="replace").strip()
    raise ChainError("Anvil to listen on a port", f"{came}: {said}", "check its options and whether the port is free")


async def _drain(output: asyncio.StreamReader, last_lines: deque[bytes]) -> None:
    async for line in output:
        last_lines.append(line)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Terminate, then kill; the process is reaped also if the task is cancelled meanwhile."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
