"""Modes that never send, as the whole daemon: what they decide, what they print, and that they can't send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keeper import app
from keeper.cli.dry_run import dry, report
from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalMarket, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import moved, three_futures
from keeper.engine.dry_run import DryRunRecord
from keeper.ops.logs import Secrets
from keeper.settings import Mode, load

WORLD = replace(three_futures(24), lock_seconds=1)
STAKE_DERI = 60_000 * 10**18


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[tuple[DeriDevnet, Path]]:
    """A qualified liquidator on a chain of its own, and a configuration for it without any key."""
    async with run_anvil(AnvilOptions(block_time=1)) as node, deri_market(node, WORLD) as market:
        local = LocalMarket("lite", market.pool.address, market.oracle.url)
        config = write_config(folder, node.http_url, [local], market.liquidator_key)
        (folder / "keystore.json").unlink()
        (folder / "password").unlink()
        await market.confirm(await market.stake(market.liquidator, STAKE_DERI))
        assert market.privileger is not None
        async with asyncio.timeout(20):
            while not await qualified(market):  # noqa: ASYNC110 - another process's blocks
                await asyncio.sleep(0.3)
        yield market, config


async def qualified(market: DeriDevnet) -> bool:
    assert market.privileger is not None
    with contextlib.suppress(Exception):
        return bool(await market.privileger.read_int(market.node, "isQualifiedLiquidator", market.liquidator))
    return False


async def senders(market: DeriDevnet, first: int) -> set[str]:
    """Everybody who sent a transaction from block ``first`` on."""
    found = set()
    for number in range(first, await market.node.block_number() + 1):
        block = await market.node.block(number, full=True)
        transactions = block["transactions"]
        assert isinstance(transactions, list)
        found |= {str(sent["from"]).lower() for sent in transactions if isinstance(sent, dict)}
    return found


async def test_the_command_says_what_would_have_happened_and_who_was_first(tmp_path: Path) -> None:
    async with place(tmp_path) as (market, config):
        first_block = await market.node.block_number() + 1
        market.oracle.move(moved(WORLD.symbols, "-0.09"))
        weak = await market.liquidatable()
        assert len(weak) > 2
        words = ("-m", "keeper", "dry-run", "--config", str(config), "--for", "5s")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=pipe, stderr=pipe)
        assert process.stderr is not None
        assert process.stdout is not None
        tried: dict[str, dict[str, object]] = {}
        try:
            async with asyncio.timeout(30):
                while len(tried) < len(weak):
                    event = json.loads(await process.stderr.readline())
                    if event["event"] == "tried":
                        tried[event["account"]] = event
                taken = next(iter(tried))
                ours = tried[taken]["block"]
                assert isinstance(ours, int)
                while await market.node.block_number() <= ours:  # noqa: ASYNC110 - another process's blocks
                    await asyncio.sleep(0.1)
                rival = market.stakers[0]
                await market.confirm(await market.liquidate(rival, int(taken)))
                printed = (await process.stdout.read()).decode()
                await process.stderr.read()
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert {int(account) for account in tried} == weak
        assert all(event["ok"] for event in tried.values())
        rows = [line for line in printed.splitlines() if "nobody" in line or "after us" in line]
        assert len(rows) == len(weak)
        assert sum("after us" in row for row in rows) == 1
        assert f"{rival[:8]}…{rival[-4:]}" in printed
        assert f"{len(weak)} of {len(weak)}" in printed
        sent = await senders(market, first_block)
        assert rival.lower() in sent
        assert market.liquidator.lower() not in sent


@pytest.mark.parametrize("mode", [Mode.DRY_RUN, Mode.OBSERVE])
async def test_a_mode_that_never_sends_makes_no_lane_and_opens_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a lane or a key was wanted")

    for name in ("Lane", "unlock", "PublicRelay", "LiveExecutor"):
        monkeypatch.setattr(app, name, forbidden)
    async with place(tmp_path) as (market, config):
        first_block = await market.node.block_number() + 1
        market.oracle.move(moved(WORLD.symbols, "-0.09"))
        weak = {str(account) for account in await market.liquidatable()}
        settings = dry(load(config)).model_copy(update={"mode": mode})
        record = DryRunRecord()
        await app.run(settings, Secrets(), record=record, stop_after_s=2.5)
        assert {trial.account for trial in record.trials if trial.ok} == (weak if mode is Mode.DRY_RUN else set())
        assert len(report(settings, record)) == 1
        assert market.liquidator.lower() not in await senders(market, first_block)
