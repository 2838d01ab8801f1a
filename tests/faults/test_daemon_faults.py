"""A faulty node costs no liquidation that is still open when it recovers: the daemon against ten kinds of faults."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import BNB, BTC, ETH, Cohort, DeriWorld, moved
from scripts.demos.stage import read_ledger
from tests.conftest import StartAnvil
from tests.faults.proxy import Fault, faulty_node

WITHIN_S = 5.0
SETTLE_S = 4.0
"""Beyond the mirror's five seconds: a decision, a one-second block, and a second one for what a guard held back."""
WORLD = DeriWorld(symbols=(BTC, ETH, BNB), cohorts=(Cohort("longs", 60, 1, (0.05, 0.16)),))


async def blocks(node: Anvil, count: int) -> None:
    target = await node.block_number() + count
    async with asyncio.timeout(10 + 2 * count):
        while (number := await node.block_number()) < target:  # noqa: ASYNC110 - another process's blocks
            await asyncio.sleep(0.1 * (target - number))


async def all_closed(market: DeriDevnet, seconds: float) -> None:
    """Wait until the chain names nobody liquidatable any more."""
    left: set[int] = set()
    try:
        async with asyncio.timeout(seconds):
            while left := await market.liquidatable():  # noqa: ASYNC110 - another process's work
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"still liquidatable {seconds} s after the fault: {sorted(left)}") from None


async def test_no_liquidation_that_is_still_open_is_missed(tmp_path: Path, start_anvil: StartAnvil) -> None:
    async with (
        run_anvil(AnvilOptions(block_time=1)) as node,
        deri_market(node, WORLD) as market,
        faulty_node(node.http_url) as faulty,
    ):
        await market.confirm(await market.stake(market.liquidator, 60_000 * 10**18))
        local = LocalMarket("lite", market.pool.address, market.oracle.url)
        config = write_config(tmp_path, faulty.http_url, [local], market.liquidator_key)
        async with run_daemon(config) as daemon:
            await daemon.wait_for(lambda seen: seen.get("event") == "eligibility" and bool(seen["allowed"]))
            named: set[int] = set()
            for index, fault in enumerate(Fault):
                other = (
                    await start_anvil(AnvilOptions(fork_url=node.http_url, block_time=1))
                    if fault is Fault.FORKED
                    else node
                )
                async with faulty.suffering(fault, other.http_url):
                    await blocks(node, 1)
                    market.oracle.move(moved(WORLD.symbols, Decimal("-0.06") - Decimal("0.01") * index))
                    weak = await market.liquidatable()
                    assert weak, f"the move during {fault.name} made nobody liquidatable"
                    named |= weak
                    await blocks(node, 2)
                await all_closed(market, WITHIN_S + SETTLE_S)
            await blocks(node, 2)  # the last receipts
            assert await daemon.stop() == 0
        ledger = read_ledger(tmp_path / "keeper.sqlite")
        assert {f"lite:{account}" for account in named} <= ledger.blocks.keys()
        assert ledger.reverted == 0
        assert await market.token_b0_balance(market.liquidator) == ledger.rewards_b0
