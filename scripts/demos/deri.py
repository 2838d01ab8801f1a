"""The Deri demo: a Lite pool and a full one on one chain, a dip, a creep by funding, a recovery, a crash, a spike.

The Lite pool has 200 traders on futures, everlasting options and powers; the full pool has 40 more, whose collateral
sits in vaults. One keeper watches both.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import Daemon, LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import Cohort, SymbolSpec, all_kinds, full_pool, moved
from scripts.demos.stage import Stage, percentile, read_ledger

FUNDING_SECONDS = 600
"""Funding of the futures is some four hundred times as quick as in earnest, so that it can be watched."""
FUTURES = ("BTCUSD", "ETHUSD", "BNBUSD")
STAKE_DERI = 60_000 * 10**18
STILL_BLOCKS = 2
"""A move is over when the chain has named nobody liquidatable for that many blocks."""
MOVE_SECONDS = 25.0

Account = tuple[str, int]
"""A market's name and a pTokenId."""


def _quick(symbol: SymbolSpec) -> SymbolSpec:
    if symbol.name not in FUTURES:
        return symbol
    return replace(symbol, terms=replace(symbol.terms, funding_period_seconds=FUNDING_SECONDS))


LITE = replace(
    all_kinds(200),
    symbols=tuple(_quick(symbol) for symbol in all_kinds(200).symbols),
    cohorts=(
        Cohort("first to fall", 18, 1, (0.050, 0.060), symbols=FUTURES),
        Cohort("creeping", 12, 1, (0.0602, 0.0614), symbols=FUTURES),
        Cohort("savers", 14, 1, (0.065, 0.080), symbols=FUTURES),
        Cohort("crowd", 36, 1, (0.090, 0.140), symbols=FUTURES),
        Cohort("mixed", 8, 1, (0.090, 0.140)),
        Cohort("shorts", 22, -1, (0.080, 0.160), symbols=FUTURES),
        Cohort("short of options and powers", 8, -1, (0.080, 0.160)),
        Cohort("calm", 82, 0, (0.400, 0.700)),
    ),
    liquidity_usd=3_000_000,
)
FULL = replace(
    full_pool(40),
    cohorts=(
        Cohort("longs", 10, 1, (0.090, 0.140), symbols=("BTCUSD", "ETHUSD", "BTC^2", "ETH^2")),
        Cohort("shorts", 8, -1, (0.080, 0.160), symbols=("BTCUSD", "ETHUSD", "BTC^2", "ETH^2")),
        Cohort("calm", 22, 0, (0.400, 0.700)),
    ),
    liquidity_usd=3_000_000,
)


@dataclass(slots=True)
class Watch:
    """What the chain itself said, block by block."""

    named: dict[Account, int] = field(default_factory=dict)
    """Account to the first block at whose end the chain called it liquidatable."""
    now: set[Account] = field(default_factory=set)
    number: int = 0
    still: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the scenario plays with."""

    stage: Stage
    markets: Mapping[str, DeriDevnet]
    daemon: Daemon
    journal: Path
    watch: Watch

    @property
    def lite(self) -> DeriDevnet:
        return self.markets["lite"]

    def cohort(self, name: str) -> set[Account]:
        """Accounts of the Lite pool."""
        return {("lite", trader.p_token_id) for trader in self.lite.cohort(name)}


async def play() -> int:
    """Play the whole scenario. The exit code: 0 only if the chain's judgement is as it should be."""
    with tempfile.TemporaryDirectory(prefix="keeper-demo-") as name, Stage("Deri V3: a Lite and a full pool") as stage:
        stage.act("A chain with one-second blocks, and two pools on it")
        folder = Path(name)
        async with (
            run_anvil(AnvilOptions(block_time=1)) as node,
            deri_market(node, LITE) as lite,
            deri_market(node, FULL) as full,
        ):
            markets = {"lite": lite, "full": full}
            config = write_config(
                folder,
                node.http_url,
                [LocalMarket(key, market.pool.address, market.oracle.url) for key, market in markets.items()],
                lite.liquidator_key,
            )
            for key, market in markets.items():
                stage.say(f"{key}: {len(market.traders)} traders on {len(market.symbols)} symbols")
            async with run_daemon(config) as daemon:
                return await _scenario(World(stage, markets, daemon, folder / "keeper.sqlite", Watch()))


async def _scenario(world: World) -> int:
    stage, watch = world.stage, world.watch
    watching = asyncio.create_task(_watch(world))
    try:
        await _qualify(world)
        before = await world.lite.node.balance_wei(world.lite.liquidator)
        await _dip(world)
        await _recover(world)
        burst_from, burst_to = await _crash(world)
        await _spike(world)
    except TimeoutError:
        stage.stop()
        stage.console.print(f"[red]nothing moved for too long[/red]; still liquidatable: {sorted(watch.now)}")
        stage.console.print(world.daemon.tail(30), markup=False)
        return 1
    finally:
        watching.cancel()
    code = await world.daemon.stop()
    stage.stop()
    return await _judge(world, code, before, range(burst_from + 1, burst_to + 1))


async def _judge(world: World, code: int, before_wei: int, burst: range) -> int:
    """Hold the keeper's journal against the chain, print the summary, and say whether all is as it should be."""
    stage, watch = world.stage, world.watch
    ledger = read_ledger(world.journal)
    missed = sorted(
        f"{market}:{account}" for market, account in watch.named if f"{market}:{account}" not in ledger.blocks
    )
    earned = {name: await market.token_b0_balance(market.liquidator) for name, market in world.markets.items()}
    spent_wei = before_wei - await world.lite.node.balance_wei(world.lite.liquidator)
    crashed = [block for account, block in ledger.blocks.items() if block in burst and account.startswith("lite:")]
    agrees = sum(earned.values()) == ledger.rewards_b0 and spent_wei == ledger.fees_wei
    good = not missed and not ledger.reverted and code == 0 and agrees and len(ledger.blocks) >= 60
    done = {name: sum(account.startswith(f"{name}:") for account in ledger.blocks) for name in world.markets}
    stage.summary(
        {
            "accounts watched": str(sum(len(market.traders) for market in world.markets.values())),
            "liquidatable at a block's end, says the chain": str(len(watch.named)),
            "of these missed": ", ".join(missed) or "0",
            "liquidated": f"{len(ledger.blocks)} ({', '.join(f'{name} {count}' for name, count in done.items())})",
            "reverted": str(ledger.reverted),
            "reward earned": f"{ledger.rewards_b0 / 1e18:,.2f} B0",
            "gas paid": f"{ledger.fees_wei / 1e18:.6f} native",
            "journal and chain agree to the last wei": "yes" if agrees else "no",
            "price seen to transaction sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
            "price seen to transaction sent, p99": f"{percentile(ledger.latencies_us, 99) / 1000:.2f} ms",
            "blocks needed for the burst": f"{len(set(crashed))} for {len(crashed)} accounts of the Lite pool",
            "exit code of the keeper": str(code),
        },
        good=good,
    )
    if not good:
        stage.console.print(world.daemon.tail(30), markup=False)
    if picture := os.environ.get("DEMO_PICTURE"):
        stage.console.save_svg(picture, title="make demo")
    return 0 if good else 1


async def _watch(world: World) -> None:
    """After each block ask the chain itself who is liquidatable, and show it beside what the keeper did."""
    watch, node = world.watch, world.lite.node
    while True:
        number = await node.block_number()
        if number == watch.number:
            await asyncio.sleep(0.05)
            continue
        watch.number = number
        watch.now = {
            (name, account)
            for name, market in world.markets.items()
            for account in await market.liquidatable(tag=number)
        }
        for account in watch.now:
            watch.named.setdefault(account, number)
        watch.still = 0 if watch.now else watch.still + 1
        async with watch.news:
            watch.news.notify_all()
        ledger = await asyncio.to_thread(read_ledger, world.journal)
        prices = "  ".join(f"{name[:3]} {world.lite.oracle.values_e18[name] / 1e18:,.0f}" for name in FUTURES)
        world.stage.show(
            {
                "block": str(number),
                "prices": prices,
                "watched": str(sum(len(market.traders) for market in world.markets.values())),
                "liquidatable now, says the chain": str(len(watch.now)),
                "liquidated": str(ledger.mined),
                "on their way": str(max(0, ledger.sent - ledger.mined - ledger.reverted)),
                "reverted": str(ledger.reverted),
                "reward": f"{ledger.rewards_b0 / 1e18:,.2f} B0",
                "gas": f"{ledger.fees_wei / 1e18:.6f}",
                "price to sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
            }
        )


async def _qualify(world: World) -> None:
    stage, daemon = world.stage, world.daemon
    stage.act("The keeper starts, and finds that it may not liquidate")
    refused = await daemon.wait_for(lambda event: event.get("event") == "eligibility" and not event["allowed"])
    stage.say(f"keeper: [yellow]{refused['reason']}[/yellow]: {refused['detail']}")
    for market in world.markets.values():
        await market.confirm(await market.stake(market.liquidator, STAKE_DERI))
    stage.say(f"{STAKE_DERI // 10**18:,} DERI staked for each pool; the locks run")
    for name in world.markets:
        await daemon.wait_for(
            lambda event, name=name: (  # type: ignore[misc]
                event.get("event") == "eligibility" and bool(event["allowed"]) and event["market"] == name
            )
        )
    stage.say("keeper: [green]qualified[/green]")


def _set_prices(world: World, change: str) -> None:
    """Move prices by a fraction of the start. The full pool's BNB stays: it is collateral, and has a feed on chain."""
    prices = moved(LITE.symbols, change)
    world.lite.oracle.move(prices)
    world.markets["full"].oracle.move({name: prices[name] for name in ("BTCUSD", "ETHUSD")})


async def _move(world: World, change: str) -> None:
    """Move all prices, and wait until nobody is left."""
    watch = world.watch
    named, start = len(watch.named), watch.number
    _set_prices(world, change)
    async with asyncio.timeout(MOVE_SECONDS), watch.news:
        await watch.news.wait_for(lambda: watch.number > start + STILL_BLOCKS and watch.still >= STILL_BLOCKS)
    world.stage.say(f"{change:>6}: the chain named {len(watch.named) - named} more; nobody is left")


async def _dip(world: World) -> None:
    world.stage.act("A dip of 6%: some fall at once, others creep over the edge by funding alone")
    watch, creeping = world.watch, world.cohort("creeping")
    start = watch.number
    _set_prices(world, "-0.06")
    async with asyncio.timeout(MOVE_SECONDS * 2), watch.news:
        await watch.news.wait_for(lambda: watch.number > start + 2)
        at_once = len(watch.named)
        await watch.news.wait_for(lambda: len(creeping & watch.named.keys()) >= 4 and watch.still >= STILL_BLOCKS)
    crept = len(watch.named) - at_once
    world.stage.say(f" -0.06: {at_once} named at once, {crept} more by funding while prices stood still")


async def _recover(world: World) -> None:
    world.stage.act("Savers add margin before prices fall further")
    savers = world.cohort("savers")
    hashes = [await world.lite.add_margin(t.owner, t.margin_b0) for t in world.lite.cohort("savers")]
    await world.lite.confirm(*hashes)
    await _move(world, "-0.085")
    world.stage.say(f"{len(savers - world.watch.named.keys())} of {len(savers)} savers saved")
    await _move(world, "-0.02")


async def _crash(world: World) -> tuple[int, int]:
    world.stage.act("A crash of 15%: a crowd at once, all on the same side, so the price-shift guard spreads them")
    start = world.watch.number
    await _move(world, "-0.15")
    return start, world.watch.number


async def _spike(world: World) -> None:
    world.stage.act("A spike: now the shorts")
    await _move(world, "0.18")
