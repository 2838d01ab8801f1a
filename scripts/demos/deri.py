"""The Deri demo: 200 traders on three futures, a dip, a creep by funding, a recovery, a crash, a spike."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import Daemon, LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import BNB, BTC, ETH, Cohort, DeriWorld, Futures, Terms, moved
from scripts.demos.stage import Stage, percentile, read_ledger

QUICK = Terms(funding_period_seconds=600)
"""Funding some four hundred times as quick as in earnest, so that it can be watched."""
SYMBOLS = tuple(Futures(s.name, s.price_e18, terms=QUICK) for s in (BTC, ETH, BNB))
WORLD = DeriWorld(
    symbols=SYMBOLS,
    cohorts=(
        Cohort("first to fall", 20, 1, (0.050, 0.060)),
        Cohort("creeping", 12, 1, (0.0602, 0.0614)),
        Cohort("savers", 14, 1, (0.065, 0.080)),
        Cohort("crowd", 64, 1, (0.090, 0.140)),
        Cohort("shorts", 40, -1, (0.080, 0.160)),
        Cohort("calm", 50, 0, (0.400, 0.700)),
    ),
    liquidity_usd=3_000_000,
)
STAKE_DERI = 60_000 * 10**18
STILL_BLOCKS = 2
"""A move is over when the chain has named nobody liquidatable for that many blocks."""
MOVE_SECONDS = 25.0


@dataclass(slots=True)
class Watch:
    """What the chain itself said, block by block."""

    named: dict[int, int] = field(default_factory=dict)
    """Account to the first block at whose end the chain called it liquidatable."""
    now: set[int] = field(default_factory=set)
    number: int = 0
    still: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)


async def play() -> int:
    """Play the whole scenario. The exit code: 0 only if the chain's judgement is as it should be."""
    with tempfile.TemporaryDirectory(prefix="keeper-demo-") as name, Stage("Deri V3, Lite pool") as stage:
        stage.act("A chain with one-second blocks, and a market on it")
        async with run_anvil(AnvilOptions(block_time=1, chain_id=31337)) as node, deri_market(node, WORLD) as market:
            config = write_config(
                Path(name),
                node.http_url,
                [LocalMarket("lite", market.pool.address, market.oracle.url)],
                market.liquidator_key,
            )
            stage.say(f"{len(market.traders)} traders on {len(SYMBOLS)} symbols; the keeper gets an encrypted keystore")
            async with run_daemon(config) as daemon:
                return await _scenario(stage, market, daemon, Path(name) / "keeper.sqlite")


async def _scenario(stage: Stage, market: DeriDevnet, daemon: Daemon, journal: Path) -> int:
    watch = Watch()
    watching = asyncio.create_task(_watch(stage, market, journal, watch))
    try:
        await _qualify(stage, market, daemon)
        before = await market.node.balance_wei(market.liquidator)
        await _dip(stage, market, watch)
        await _recover(stage, market, watch)
        crash_from, crash_to = await _crash(stage, market, watch)
        await _spike(stage, market, watch)
    finally:
        watching.cancel()
    code = await daemon.stop()
    ledger = read_ledger(journal)
    done = {int(account.rpartition(":")[2]) for account in ledger.blocks}
    missed = sorted(set(watch.named) - done)
    crashed = [block for block in ledger.blocks.values() if crash_from < block <= crash_to]
    [balance] = market.token_b0.artifact.decode(
        "balanceOf",
        await market.node.call(market.token_b0.address, market.token_b0.encode("balanceOf", market.liquidator)),
    )
    on_chain = cast("int", balance)
    spent = before - await market.node.balance_wei(market.liquidator)
    good = (
        not missed and not ledger.reverted and code == 0 and on_chain == ledger.rewards_b0 and spent == ledger.fees_wei
    )
    stage.__exit__()
    stage.summary(
        {
            "accounts watched": str(len(market.traders)),
            "liquidatable at a block's end, says the chain": str(len(watch.named)),
            "liquidated by us": str(len(done)),
            "missed": ", ".join(map(str, missed)) or "0",
            "reverted": str(ledger.reverted),
            "reward earned": f"{ledger.rewards_b0 / 1e18:,.2f} B0",
            "on chain": f"{on_chain / 1e18:,.2f} B0",
            "gas paid": f"{ledger.fees_wei / 1e18:.6f} native",
            "price seen to transaction sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
            "price seen to transaction sent, p99": f"{percentile(ledger.latencies_us, 99) / 1000:.2f} ms",
            "blocks needed for the burst": f"{len(set(crashed))} for {len(crashed)} accounts",
            "exit code of the keeper": str(code),
        },
        good=good,
    )
    if not good:
        stage.console.print(daemon.tail(30))
    if picture := os.environ.get("DEMO_PICTURE"):
        stage.console.save_svg(picture, title="make demo")
    return 0 if good else 1


async def _watch(stage: Stage, market: DeriDevnet, journal: Path, watch: Watch) -> None:
    """After each block ask the chain itself who is liquidatable, and show it beside what the keeper did."""
    while True:
        number = await market.node.block_number()
        if number == watch.number:
            await asyncio.sleep(0.05)
            continue
        watch.number = number
        watch.now = await market.liquidatable(tag=number)
        for account in watch.now:
            watch.named.setdefault(account, number)
        watch.still = 0 if watch.now else watch.still + 1
        async with watch.news:
            watch.news.notify_all()
        ledger = await asyncio.to_thread(read_ledger, journal)
        prices = "  ".join(f"{name[:3]} {value / 1e18:,.0f}" for name, value in market.oracle.values_e18.items())
        stage.show(
            {
                "block": str(number),
                "prices": prices,
                "watched": str(len(market.traders)),
                "liquidatable now, says the chain": str(len(watch.now)),
                "liquidated": str(ledger.mined),
                "on their way": str(max(0, ledger.sent - ledger.mined - ledger.reverted)),
                "reverted": str(ledger.reverted),
                "reward": f"{ledger.rewards_b0 / 1e18:,.2f} B0",
                "gas": f"{ledger.fees_wei / 1e18:.6f}",
                "price to sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
            }
        )


async def _qualify(stage: Stage, market: DeriDevnet, daemon: Daemon) -> None:
    stage.act("The keeper starts, and finds that it may not liquidate")
    refused = await daemon.wait_for(lambda event: event.get("event") == "eligibility" and not event["allowed"])
    stage.say(f"keeper: [yellow]{refused['reason']}[/yellow]: {refused['detail']}")
    await market.confirm(await market.stake(market.liquidator, STAKE_DERI))
    stage.say(f"{STAKE_DERI // 10**18:,} DERI staked; the lock runs")
    allowed = await daemon.wait_for(lambda event: event.get("event") == "eligibility" and bool(event["allowed"]))
    stage.say(f"keeper: [green]{allowed['reason']}[/green]")


async def _move(stage: Stage, market: DeriDevnet, watch: Watch, change: str) -> None:
    """Move all prices by a fraction of the start, and wait until nobody is left."""
    named = len(watch.named)
    market.oracle.move(moved(WORLD.symbols, change))
    await _settled(watch)
    stage.say(f"{change:>6}: {len(watch.named) - named} became liquidatable; nobody is left")


async def _settled(watch: Watch) -> None:
    start = watch.number
    async with asyncio.timeout(MOVE_SECONDS), watch.news:
        await watch.news.wait_for(lambda: watch.number > start + STILL_BLOCKS and watch.still >= STILL_BLOCKS)


async def _dip(stage: Stage, market: DeriDevnet, watch: Watch) -> None:
    stage.act("A dip of 6%: some fall at once, others creep over the edge by funding alone")
    market.oracle.move(moved(WORLD.symbols, "-0.06"))
    start = watch.number
    creeping = {trader.p_token_id for trader in market.cohort("creeping")}
    async with asyncio.timeout(MOVE_SECONDS * 2), watch.news:
        await watch.news.wait_for(lambda: watch.number > start + 2)
        at_once = len(watch.named)
        await watch.news.wait_for(lambda: len(creeping & watch.named.keys()) >= 4 and watch.still >= STILL_BLOCKS)
    stage.say(f" -0.06: {at_once} at once, {len(watch.named) - at_once} more by funding while prices stood still")


async def _recover(stage: Stage, market: DeriDevnet, watch: Watch) -> None:
    stage.act("Savers add margin before prices fall further")
    hashes = [await market.add_margin(trader.owner, trader.margin_b0) for trader in market.cohort("savers")]
    await market.confirm(*hashes)
    await _move(stage, market, watch, "-0.085")
    stage.say(f"{len({t.p_token_id for t in market.cohort('savers')} - watch.named.keys())} savers saved")
    await _move(stage, market, watch, "-0.02")


async def _crash(stage: Stage, market: DeriDevnet, watch: Watch) -> tuple[int, int]:
    stage.act("A crash of 15%: a crowd at once, all on the same side, so the price-shift guard spreads them")
    start = watch.number
    await _move(stage, market, watch, "-0.15")
    return start, watch.number


async def _spike(stage: Stage, market: DeriDevnet, watch: Watch) -> None:
    stage.act("A spike: now the shorts")
    await _move(stage, market, watch, "0.18")
