"""A second liquidator takes half of the accounts in the same blocks, and pays the higher tip.

The rival knows beforehand which accounts it wants, a random half, and sends a few dozen at the beginning of each block,
before the keeper has decided: whatever both want in one block, the rival gets. What is not lost beforehand reverts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.daemon import run_daemon
from keeper.devnet.deri_world import Cohort, DeriWorld, moved, three_futures
from keeper.devnet.transactions import Transaction, send
from scripts.storms.scene import OnChain, Scene, allowed, blocks, load, mined, scene

CRASH = "-0.13"
NEAR = (0.06, 0.10)
PER_BLOCK = 40
GAS_LIMIT = 1_200_000
RIVAL_TIP_WEI = 3 * 10**9
SECONDS = 120.0
MOST_REVERTED = 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the race cost."""

    accounts: int
    ours: int
    rivals: int
    rivals_reverted: int
    sent: int
    """Transactions of ours that were mined, whatever became of them."""
    reverted: int
    cancelled: int
    lost_gas: int
    """Used by what reverted or was cancelled."""
    lost_wei: int
    spent_wei: int

    @property
    def good(self) -> bool:
        return self.ours + self.rivals == self.accounts and self.reverted <= MOST_REVERTED * self.sent

    def figures(self) -> dict[str, object]:
        return {
            "accounts": self.accounts,
            "taken by us": self.ours,
            "taken by the rival": self.rivals,
            "the rival's reverted": self.rivals_reverted,
            "our transactions mined": self.sent,
            "of these reverted": f"{self.reverted} ({self.reverted / max(1, self.sent):.1%})",
            "of these cancellations": self.cancelled,
            "gas lost": self.lost_gas,
            "gas lost of all that we paid": f"{self.lost_wei / max(1, self.spent_wei):.2%}",
            "machine": load(),
        }


def world(accounts: int) -> DeriWorld:
    """Longs near the edge, and a few calm accounts."""
    return replace(
        three_futures(accounts),
        cohorts=(Cohort("near", accounts, 1, NEAR), Cohort("calm", 20, 1, (0.4, 0.6))),
        liquidity_usd=100_000_000,
        lock_seconds=1,
    )


async def storm(folder: Path, accounts: int, seed: int, *, watched: bool = True, block_time: int = 1) -> Verdict:
    """Play it, with the keeper watching the mempool or not. Raises ``TimeoutError`` if accounts are left over."""
    options = AnvilOptions(block_time=block_time, prune_history=256)
    extra = f"watch_mempool = {str(watched).lower()}"
    async with scene(folder, world(accounts), options=options, chain_extra=extra) as place:
        ids = [trader.p_token_id for trader in place.market.cohort("near")]
        half = random.Random(seed).sample(ids, accounts // 2)
        async with run_daemon(place.config) as daemon:
            await daemon.wait_for(allowed, 60)
            await blocks(place.node, 2)
            place.market.oracle.move(moved(place.market.world.symbols, CRASH))
            await _race(place, half)
            await _all_gone(place, set(ids))
            assert await daemon.stop() == 0, daemon.tail()
        rival = place.market.stakers[0]
        chain = await mined(place, [place.market.liquidator, rival])
        return _judge(place, chain, rival, accounts)


async def _race(place: Scene, wanted: Sequence[int]) -> None:
    """Send the rival's liquidations, some at the beginning of each block; those that are still there."""
    market, left = place.market, list(wanted)
    rival = market.stakers[0]
    while left:
        signatures = [reading.as_tuple() for reading in await market.readings()]
        now, left = left[:PER_BLOCK], left[PER_BLOCK:]
        calls = [market.pool.encode("liquidate", id_, signatures) for id_ in now]
        to, tip_wei = market.pool.address, RIVAL_TIP_WEI
        await send(place.node, [Transaction(rival, to, data, GAS_LIMIT, tip_per_gas_wei=tip_wei) for data in calls])
        await blocks(place.node, 1)
        gone = {account.p_token_id for account in await market.accounts(left) if not account.active_symbols}
        left = [id_ for id_ in left if id_ not in gone]


async def _all_gone(place: Scene, ids: set[int]) -> None:
    async with asyncio.timeout(SECONDS):
        while any(account.active_symbols for account in await place.market.accounts(sorted(ids))):
            await blocks(place.node, 1)
        await blocks(place.node, 4)


def _judge(place: Scene, chain: Sequence[OnChain], rival: str, accounts: int) -> Verdict:
    us = [one for one in chain if one.sender != rival]
    lost = [one for one in us if not one.ok or one.account is None]
    return Verdict(
        accounts=accounts,
        ours=sum(one.ok and one.account is not None for one in us),
        rivals=sum(one.ok and one.account is not None for one in chain if one.sender == rival),
        rivals_reverted=sum(not one.ok for one in chain if one.sender == rival),
        sent=len(us),
        reverted=sum(not one.ok for one in us),
        cancelled=sum(one.ok and one.account is None for one in us),
        lost_gas=sum(one.gas_used for one in lost),
        lost_wei=sum(one.fee_wei for one in lost),
        spent_wei=sum(one.fee_wei for one in us),
    )
