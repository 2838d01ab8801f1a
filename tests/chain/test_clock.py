"""The next block's timestamp is in the window that was told before it, however the chain mines."""

from __future__ import annotations

import asyncio

import pytest

from keeper.chain.clock import Clock
from keeper.chain.endpoint import Endpoint
from keeper.chain.heads import Heads
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.model import LogFilter, Window
from tests.conftest import StartAnvil


async def misses(anvil: Anvil, blocks: int, mine_after_s: float | None) -> list[tuple[Window, int]]:
    """Follow so many blocks; the windows told just before one came, and its timestamp, where it was outside."""
    clock, missed = Clock(), []
    async with Rpc([Endpoint(anvil.ws_url)], 31337) as rpc:
        heads = Heads(rpc, LogFilter(frozenset()))
        clock.observe(await heads.start())
        async with heads:
            advances = heads.advances()
            while blocks:
                if mine_after_s is not None:
                    await asyncio.sleep(mine_after_s)
                    window = clock.window()
                    await anvil.mine()
                else:
                    window = clock.window()
                head = (await anext(advances)).head
                clock.observe(head)
                if head.number == window.number:
                    blocks -= 1
                    if not window.earliest <= head.timestamp <= window.latest:
                        missed.append((window, head.timestamp))
    return missed


@pytest.mark.parametrize("block_time", [0.25, 1.0])
async def test_blocks_at_intervals_come_within_their_windows(start_anvil: StartAnvil, block_time: float) -> None:
    anvil = await start_anvil(AnvilOptions(block_time=block_time))
    assert await misses(anvil, round(3 / block_time), None) == []


async def test_blocks_on_demand_come_within_their_windows(anvil: Anvil) -> None:
    assert await misses(anvil, 6, 0.3) == []
