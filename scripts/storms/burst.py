"""A thousand accounts liquidatable at once: how many blocks the keeper needs, against the least that anybody would.

The least is a bound that no plan can beat, worked out from the chain afterwards and without the keeper's engine:

- *Gas*: the blocks have to hold the gas that these liquidations really used. (A block takes a transaction only if its
  whole gas limit still fits, so even this is more than can be reached.)
- *Price-shift guard*, for each symbol: a close passes only while those before it in the block have moved the symbol's
  net volume by no more than the allowance ``startingPriceShiftLimit / K``. All but the last close of a block therefore
  sum up to the allowance at most, and the last may be as large as it likes; so ``n`` blocks close at most ``n``
  allowances and the ``n`` largest volumes. ``K = price * alpha / L``; the largest ``L`` of the burst is taken.

Before the crash a small dip takes a few accounts, so that the keeper knows, as it does in earnest, what a liquidation
really uses of its gas limit.

The bound is the larger of the two. That an account needs all of its symbols to pass in the same block, and that the
keeper can't know a block's start before it has heard of it, is left out: the true least is higher.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.devnet.daemon import run_daemon
from keeper.devnet.deri_world import ONE, Cohort, DeriWorld, moved, three_futures
from scripts.demos.stage import percentile, read_ledger
from scripts.storms.scene import OnChain, Scene, allowed, blocks, load, mined, scene, until

DIP, FIRST, FIRST_TO_FALL = "-0.045", 40, (0.02, 0.04)
CRASH, NEAR = "-0.13", (0.06, 0.10)
SECONDS = 180.0
BLOCK_GAS = 30_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a burst."""

    accounts: int
    liquidated: int
    reverted: int
    blocks: int
    """From the block after the crash up to the last one with a liquidation."""
    by_gas: int
    by_guard: int
    gas_used: int
    gas_limits: int
    sent_us: tuple[int, ...]
    per_block: tuple[int, ...]

    @property
    def least(self) -> int:
        return max(self.by_gas, self.by_guard)

    @property
    def ratio(self) -> float:
        return self.blocks / self.least

    @property
    def good(self) -> bool:
        return self.liquidated == self.accounts and not self.reverted and self.ratio <= 1.1

    def figures(self) -> dict[str, object]:
        return {
            "accounts liquidatable at once": self.accounts,
            "accounts liquidated": self.liquidated,
            "transactions reverted": self.reverted,
            "blocks needed": self.blocks,
            "least by gas": self.by_gas,
            "least by the price-shift guard": self.by_guard,
            "ratio": f"{self.ratio:.3f}",
            "liquidations in each block": " ".join(map(str, self.per_block)),
            "gas used of gas limits": f"{self.gas_used / self.gas_limits:.1%}",
            "price to sent, p50 of all": f"{percentile(self.sent_us, 50) / 1000:.1f} ms",
            "price to sent, first": f"{self.sent_us[0] / 1000:.2f} ms" if self.sent_us else "none was sent",
            "machine": load(),
        }


def world(accounts: int, liquidity_usd: int, symbols: tuple[str, ...] = ()) -> DeriWorld:
    """Longs near the edge, some very near, and a few calm accounts."""
    return replace(
        three_futures(accounts),
        cohorts=(
            Cohort("first", FIRST, 1, FIRST_TO_FALL),
            Cohort("near", accounts, 1, NEAR, symbols),
            Cohort("calm", 50, 1, (0.4, 0.6)),
        ),
        liquidity_usd=liquidity_usd,
        lock_seconds=1,
    )


async def storm(folder: Path, accounts: int, liquidity_usd: int, symbols: tuple[str, ...] = ()) -> Verdict:
    """Play it, with positions in these symbols (all if none). ``TimeoutError`` if the keeper does not get through."""
    wanted = world(accounts, liquidity_usd, symbols)
    options = AnvilOptions(block_time=1, gas_limit=BLOCK_GAS, prune_history=256)
    async with scene(folder, wanted, options=options) as place:
        async with run_daemon(place.config) as daemon:
            await daemon.wait_for(allowed, 60)
            place.market.oracle.move(moved(wanted.symbols, DIP))
            await until(place.node, lambda: len(read_ledger(place.journal).blocks) >= FIRST, SECONDS)
            first = len(read_ledger(place.journal).latencies_us)
            before = await blocks(place.node, 2)
            prices = moved(wanted.symbols, CRASH)
            place.market.oracle.move(prices)
            readings = await place.market.readings()
            await until(place.node, lambda: len(read_ledger(place.journal).blocks) >= FIRST + accounts, SECONDS)
            assert await daemon.stop() == 0, daemon.tail()
        # Asked only now, of the block before: a thousand questions to the node would have been in the keeper's way.
        weak = await place.market.liquidatable(tag=before, readings=readings)
        sent_us = read_ledger(place.journal).latencies_us[first:]
        return await _judge(place, weak, before, prices, sent_us)


async def _judge(
    place: Scene, weak: set[int], before: int, prices: dict[str, int], sent_us: tuple[int, ...]
) -> Verdict:
    chain = await mined(place, [place.market.liquidator])
    closes = [one for one in chain if one.ok and one.account in weak]
    last = max(one.block for one in closes)
    used = sum(one.gas_used for one in closes)
    return Verdict(
        accounts=len(weak),
        liquidated=len(weak & {one.account for one in closes}),
        reverted=sum(not one.ok for one in chain),
        blocks=last - before,
        by_gas=-(-used // BLOCK_GAS),
        by_guard=await least_by_guard(place, closes, before, prices),
        gas_used=used,
        gas_limits=sum(one.gas_limit for one in closes),
        sent_us=sent_us,
        per_block=tuple(sum(one.block == number for one in closes) for number in range(before + 1, last + 1)),
    )


async def least_by_guard(place: Scene, closes: Sequence[OnChain], before: int, prices: dict[str, int]) -> int:
    """The least number of blocks that the guard of any one symbol needs for these liquidations."""
    pool, node = place.market.pool, place.node
    equity = 0
    for number in range(before, max(one.block for one in closes) + 1):
        parts = [await pool.read_int(node, name, tag=number) for name in ("liquidity", "lpsPnl")]
        equity = max(equity, sum(parts))
    volumes: dict[str, list[int]] = defaultdict(list)
    closed = {one.account for one in closes}
    for trader in place.market.traders:
        for position in trader.positions if trader.p_token_id in closed else ():
            volumes[position.symbol].append(abs(position.volume_e18))
    least = 0
    for symbol in place.market.world.symbols:
        k = prices[symbol.name] * symbol.terms.alpha_e18 // equity
        allowance = symbol.terms.starting_price_shift_limit_e18 * ONE // k
        least = max(least, blocks_for(sorted(volumes[symbol.name], reverse=True), allowance))
    return least


def blocks_for(volumes: Sequence[int], allowance: int) -> int:
    """The fewest blocks of which each closes an allowance's worth and one volume more; the largest volumes first."""
    total, free, count = sum(volumes), 0, 0
    while total > count * allowance + free:
        free += volumes[count]
        count += 1
    return count
