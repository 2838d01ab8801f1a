"""The keeper as a process of its own, for tests and demos: configured, started, listened to, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keeper.chain.eth_accounts import Account
from keeper.devnet.anvil import anvil_binary
from keeper.errors import ConfigError

PASSWORD = "correct horse battery staple"  # noqa: S105 - of keystores that open nothing outside a local chain
STOP_SECONDS = 10.0

Event = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LocalMarket:
    """A Deri pool to watch, as the configuration names it."""

    name: str
    pool: str
    price_server: str

    def lines(self, chain: str) -> list[str]:
        """Its section of the configuration."""
        return [
            f"[markets.{self.name}]",
            'protocol = "deri-v3"',
            f'chain = "{chain}"',
            f'pool = "{self.pool}"',
            f'price_servers = ["{self.price_server}"]',
            "poll_seconds = 0.1",
            "native_price_b0 = 300",
        ]


@dataclass(frozen=True, slots=True)
class LocalVault:
    """A Meridian vault to watch, as the configuration names it."""

    name: str
    vault: str
    position_manager: str | None
    start_block: int = 0

    def lines(self, chain: str) -> list[str]:
        """Its section of the configuration."""
        manager = [f'position_manager = "{self.position_manager}"'] if self.position_manager else []
        return [
            f"[markets.{self.name}]",
            'protocol = "meridian"',
            f'chain = "{chain}"',
            f'vault = "{self.vault}"',
            *manager,
            f"start_block = {self.start_block}",
            "native_price_usd = 300",
        ]


def write_keystore(folder: Path, key: bytes) -> tuple[Path, Path]:
    """An encrypted keystore and its password file, both for their owner only."""
    keystore, password = folder / "keystore.json", folder / "password"
    # A cheap derivation: these keys guard nothing, and tests start many daemons.
    keystore.write_text(json.dumps(Account.encrypt(key, PASSWORD, iterations=1024)))
    password.write_text(PASSWORD + "\n")
    for path in (keystore, password):
        path.chmod(0o600)
    return keystore, password


def write_config(
    folder: Path,
    rpc_url: str,
    markets: Sequence[LocalMarket | LocalVault],
    key: bytes,
    *,
    chain_id: int = 31337,
    extra: str = "",
    gas: str = "",
    market_extra: str = "",
    chain_extra: str = "",
    http: str = "port = 0",
) -> Path:
    """A complete configuration for a local chain in ``folder``; the file's path.

    ``extra`` goes to the top, ``gas``, ``chain_extra`` and ``http`` into their sections, ``market_extra`` into every
    market's.
    """
    keystore, password = write_keystore(folder, key)
    endpoints = f'["{rpc_url.replace("http", "ws", 1)}", "{rpc_url}"]'
    lines = [
        extra,
        "[log]",
        'format = "json"',
        "[http]",
        http,
        "[store]",
        'path = "keeper.sqlite"',
        *_fork_lines(),
        "[chains.local]",
        f"chain_id = {chain_id}",
        f"endpoints = {endpoints}",
        "requests_per_second = 2000",
        chain_extra,
        "[chains.local.gas]",
        gas or "tip_gwei = 1\nmax_fee_gwei = 100\nbudget_per_hour = 10\nbudget_per_day = 10",
        "[[chains.local.signers]]",
        f'address = "{Account.from_key(key).address}"',
        f'keystore = "{keystore.name}"',
        f'password_file = "{password.name}"',
    ]
    for market in markets:
        lines += [*market.lines("local"), market_extra]
    path = folder / "keeper.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _fork_lines() -> list[str]:
    """Where the keeper finds an Anvil for forks of its own; nothing where there is none (a container's chain)."""
    try:
        return ["[fork]", f'anvil = "{anvil_binary()}"']
    except ConfigError:
        return []


class Daemon:
    """A running keeper: its events as they are logged, and its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self.other_output: list[str] = []
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        stream = self.process.stderr
        assert stream is not None
        while line := await stream.readline():
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                self.other_output.append(line.decode(errors="replace").rstrip())
                continue
            self.events.append(event)
            async with self._news:
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    async def wait_for(self, wanted: Callable[[Event], bool], seconds: float = 30.0, since: int = 0) -> Event:
        """The first event from number ``since`` on that is wanted; waits for it.

        Raises ``AssertionError`` with the last output if the process ends or the time is up before.
        """
        at = since
        try:
            async with asyncio.timeout(seconds), self._news:
                while True:
                    while at < len(self.events):
                        if wanted(self.events[at]):
                            return self.events[at]
                        at += 1
                    if self._reader.done():
                        break
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"the keeper did not say it within {seconds} s\n{self.tail()}") from None
        raise AssertionError(f"the keeper ended before it said so\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The last of what it said."""
        return "\n".join([*(json.dumps(event) for event in self.events[-lines:]), *self.other_output[-lines:]])

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait; killed if it does not. The exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(sign)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        await self._reader
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def run_daemon(config: Path, *, env: Mapping[str, str] | None = None) -> AsyncIterator[Daemon]:
    """Run `keeper run` on a configuration; it is stopped, if it still runs, when the block is left.

    ``env`` is added to this process's own environment.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keeper",
        "run",
        "--config",
        str(config),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        limit=1 << 22,
    )
    daemon = Daemon(process)
    try:
        yield daemon
    finally:
        await daemon.stop()
