"""The base fee is multiplied by five while transactions are in flight: all land or are cancelled soon after.

"Soon" is counted from the moment at which a transaction's own ceiling allows the base fee of the coming block: what the
operator allows, or what its expected reward pays for, whichever is lower. The base fee is put up again at every block
for a while, so that waiting for it to fall is no way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keeper.chain.gas import TRANSFER_GAS
from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.daemon import run_daemon
from keeper.devnet.deri_world import Cohort, DeriWorld, moved, three_futures
from keeper.devnet.rpc import as_int
from scripts.storms.books import read_books
from scripts.storms.scene import OnChain, Scene, allowed, blocks, load, mined, scene

GWEI = 10**9
BASE_FEE_WEI = 8 * GWEI
TIMES = 5
ACCOUNTS = 24
WITHIN_BLOCKS = 5
CRASH = "-0.10"
BLOCK_SECONDS = 2
CEILING_WEI = 100 * GWEI
GAS = f"tip_gwei = 1\nmax_fee_gwei = {CEILING_WEI // GWEI}\nbudget_per_hour = 1000\nbudget_per_day = 1000"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of what was in flight."""

    in_flight: int
    """When the base fee rose."""
    landed: int
    cancelled: int
    reverted: int
    open: int
    """Neither, after so many blocks."""
    slowest_blocks: int
    replaced: int

    @property
    def good(self) -> bool:
        return (
            self.in_flight >= 10
            and not self.open
            and not self.reverted
            and self.slowest_blocks <= WITHIN_BLOCKS
            and self.landed + self.cancelled >= self.in_flight
        )

    def figures(self) -> dict[str, object]:
        return {
            "in flight when the base fee rose": self.in_flight,
            "base fee": f"{BASE_FEE_WEI // GWEI} to {TIMES * BASE_FEE_WEI // GWEI} gwei",
            "landed": self.landed,
            "cancelled": self.cancelled,
            "reverted": self.reverted,
            "still open": self.open,
            "replaced by dearer ones": self.replaced,
            "blocks from where the ceiling allowed it, at most": self.slowest_blocks,
            "machine": load(),
        }


def world() -> DeriWorld:
    """Longs near the edge."""
    return replace(three_futures(ACCOUNTS), cohorts=(Cohort("near", ACCOUNTS, 1, (0.05, 0.08)),), lock_seconds=1)


async def storm(folder: Path) -> Verdict:
    """Play it. Raises ``TimeoutError`` if the transactions do not end at all."""
    options = AnvilOptions(block_time=BLOCK_SECONDS, prune_history=256)
    async with scene(folder, world(), options=options, gas=GAS) as place:
        node = place.node
        await node.set_next_base_fee(BASE_FEE_WEI)
        await blocks(node, 1)
        async with run_daemon(place.config) as daemon:
            await daemon.wait_for(allowed, 60)
            await node.set_next_base_fee(BASE_FEE_WEI)
            started = await blocks(node, 1)
            place.market.oracle.move(moved(place.market.world.symbols, CRASH))
            in_flight = await _gathered(place)
            # Nothing of it may be mined yet: the fee has to rise in the very block that they were meant for.
            await node.set_next_base_fee(TIMES * BASE_FEE_WEI)
            rose = await blocks(node, 1)
            assert rose == started + 1, "the transactions came too late for their block"
            for _ in range(3):
                await node.set_next_base_fee(TIMES * BASE_FEE_WEI)
                await blocks(node, 1)
            async with asyncio.timeout(60):
                while await asyncio.to_thread(lambda: read_books(place.journal).open):
                    await blocks(node, 1)
            assert await daemon.stop() == 0, daemon.tail()
        chain = await mined(place, [place.market.liquidator])
        last = await node.block_number()
        fees = {number: as_int((await node.block(number))["baseFeePerGas"]) for number in range(rose, last + 1)}
        return _judge(place, chain, in_flight, fees)


async def _gathered(place: Scene) -> int:
    """Wait until the node holds all that the keeper sends; how many."""
    node, us = place.node, place.market.liquidator
    async with asyncio.timeout(BLOCK_SECONDS):
        count = 0
        while count < ACCOUNTS:
            pending = await node.quantity("eth_getTransactionCount", us, "pending")
            count = pending - place.nonce
            await asyncio.sleep(0.02)
    return count


def _judge(place: Scene, chain: Sequence[OnChain], in_flight: int, base_fees_wei: Mapping[int, int]) -> Verdict:
    books = read_books(place.journal)
    waits = []
    for ending in books.endings:
        ceiling_wei = min(ending.ceiling_wei, CEILING_WEI)
        allowed_at = min(number for number, fee_wei in base_fees_wei.items() if fee_wei <= ceiling_wei)
        waits.append(ending.block - allowed_at)
    return Verdict(
        in_flight=in_flight,
        landed=sum(one.ok and one.account is not None for one in chain),
        cancelled=sum(one.account is None and one.gas_used == TRANSFER_GAS for one in chain),
        reverted=sum(not one.ok for one in chain),
        open=books.open,
        slowest_blocks=max(waits),
        replaced=len(books.hashes) - books.intents,
    )
