"""The Meridian demo: a vault behind its timelock; a slide, a price gone stale, a crash, a strike-off, a squeeze.

Positions above the leverage limit (state 2) pay nobody: the keeper is given a budget for them, so at the end nobody
that the chain calls liquidatable may be left.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import Daemon, LocalVault, run_daemon, write_config
from keeper.devnet.meridian import Cohort, MeridianDevnet, MeridianWorld, deploy_meridian
from scripts.demos.stage import Stage, percentile, read_ledger

FAST_SECONDS = 12
"""Fast prices go stale this soon, so that it can be watched."""
BTC, ETH = Decimal(60_000), Decimal(3_000)
MOVE_SECONDS = 30.0
STILL_BLOCKS = 2
JUDGE_SECONDS = 0.4
"""After a block: a verdict on every position keeps the node busy, and the keeper is in a hurry just then."""


def _spread(index: str, *, long: bool, count: int, first: int, step: int) -> tuple[Cohort, ...]:
    """Cohorts of one position each, ``step`` hundredths of a percent apart."""
    return tuple(
        Cohort(index, is_long=long, count=1, distance=Decimal(first + step * number) / 10_000)
        for number in range(count)
    )


WORLD = MeridianWorld(
    (
        *_spread("BTC", long=True, count=14, first=300, step=25),
        *_spread("ETH", long=True, count=14, first=300, step=25),
        Cohort("BTC", is_long=True, count=40, distance=Decimal("0.10")),
        Cohort("ETH", is_long=False, count=24, distance=Decimal("0.08"), collateral="DAI"),
        Cohort("ETH", is_long=False, count=16, distance=Decimal("0.12")),
        Cohort("ETH", is_long=True, count=80, distance=Decimal("0.5")),
    ),
    fast=True,
)


@dataclass(slots=True)
class World:
    """Everything that the scenario plays with, and what the chain itself said, block by block."""

    stage: Stage
    market: MeridianDevnet
    daemon: Daemon
    journal: Path
    prices: dict[str, Decimal] = field(default_factory=lambda: {"BTC": BTC, "ETH": ETH})
    named: dict[str, int] = field(default_factory=dict)
    """Position to the first block at whose end the chain called it liquidatable."""
    now: set[str] = field(default_factory=set)
    number: int = 0
    still: int = 0
    news: asyncio.Condition = field(default_factory=asyncio.Condition)


async def play() -> int:
    """Play the whole scenario. The exit code: 0 only if the chain's judgement is as it should be."""
    with tempfile.TemporaryDirectory(prefix="keeper-demo-") as name, Stage("Meridian Trade: a vault") as stage:
        stage.act("A chain with one-second blocks, and a vault on it that a timelock governs")
        async with run_anvil(AnvilOptions(block_time=1)) as node:
            market = await deploy_meridian(node, WORLD)
            await market.confirm(await market.set_fast_durations(FAST_SECONDS, 3600), await _push(market, BTC, ETH))
            vault = LocalVault("vault", market.vault.address, market.position_manager, market.start_block)
            spend = 'close_state_2 = "budget"\nstate_2_budget_per_day = 5\nsettings_seconds = 2'
            config = write_config(Path(name), node.http_url, [vault], market.liquidator_key, market_extra=spend)
            stage.say(f"{len(market.holders)} positions; liquidators are listed, as the protocol's are")
            async with run_daemon(config) as daemon:
                return await _scenario(World(stage, market, daemon, Path(name) / "keeper.sqlite"))


async def _scenario(world: World) -> int:
    stage = world.stage
    await world.daemon.wait_for(lambda seen: seen.get("event") == "watching")
    watching = asyncio.create_task(_watch(world))
    beating = asyncio.create_task(_beat(world))
    try:
        stage.act("A slide: positions fall one after the other, some of them for their trader (state 2)")
        for percent in (3, 4, 5):
            await _move(world, f"-{percent}%", 1 - Decimal(percent) / 100)
        await _stale(world, beating)
        stage.act("A crash of 12%: forty at once")
        await _move(world, "-12%", Decimal("0.88"))
        await _struck_off(world)
        stage.act("A squeeze to +13%: the shorts")
        await _move(world, "+13%", Decimal("1.13"))
    except TimeoutError:
        stage.stop()
        stage.console.print(f"[red]nothing moved for too long[/red]; still liquidatable: {sorted(world.now)}")
        stage.console.print(world.daemon.tail(30), markup=False)
        return 1
    finally:
        for task in (watching, beating):
            task.cancel()
        await asyncio.gather(watching, beating, return_exceptions=True)
    code = await world.daemon.stop()
    stage.stop()
    return await _judge(world, code)


async def _stale(world: World, beating: asyncio.Task[None]) -> None:
    """The updaters fall silent: half a percent is added to every price without a single event."""
    stage, named = world.stage, len(world.named)
    stage.act("The fast prices fall silent: after a while the vault's price is wider, with no event to say so")
    beating.cancel()
    await _until(world, lambda: len(world.named) > named and world.still >= STILL_BLOCKS)
    stage.say(f"the chain named {len(world.named) - named} more as the price went stale; nobody is left")


async def _struck_off(world: World) -> None:
    """Taken off the list and put back on: the keeper sees both."""
    stage, market = world.stage, world.market
    stage.act("The keeper is struck off the list of liquidators, and put on it again")
    for active in (False, True):
        since = len(world.daemon.events)
        await market.confirm(await market.list_liquidator(market.liquidator, active=active))
        said = await world.daemon.wait_for(
            lambda seen, wanted=active: seen.get("event") == "eligibility" and seen["allowed"] is wanted,  # type: ignore[misc]
            since=since,
        )
        stage.say(f"keeper: {said['reason']}: {said['detail']}")


async def _judge(world: World, code: int) -> int:
    """Hold the keeper's journal against the chain, print the summary, and say whether all is as it should be."""
    ledger = read_ledger(world.journal)
    missed = sorted(key for key in world.named if f"vault:{key}" not in ledger.blocks)
    good = not missed and not ledger.reverted and code == 0 and len(ledger.blocks) >= 60
    world.stage.summary(
        {
            "positions watched": str(len(world.market.holders)),
            "liquidatable at a block's end, says the chain": str(len(world.named)),
            "of these missed": ", ".join(missed) or "0",
            "liquidated": str(len(ledger.blocks)),
            "reverted": str(ledger.reverted),
            "reward earned": f"{ledger.rewards_b0 / 1e18:,.2f} USD",
            "gas paid": f"{ledger.fees_wei / 1e18:.6f} native",
            "price seen to transaction sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
            "price seen to transaction sent, p99": f"{percentile(ledger.latencies_us, 99) / 1000:.2f} ms",
            "exit code of the keeper": str(code),
        },
        good=good,
    )
    if not good:
        world.stage.console.print(world.daemon.tail(30), markup=False)
    return 0 if good else 1


async def _watch(world: World) -> None:
    """After each block ask the chain itself who is liquidatable, and show it beside what the keeper did."""
    node = world.market.node
    while True:
        number = await node.block_number()
        if number == world.number:
            await asyncio.sleep(0.05)
            continue
        await asyncio.sleep(JUDGE_SECONDS)
        world.number = number
        at = await node.block_timestamp(number) + 1
        verdicts = await world.market.verdicts(world.market.holders, at=at, tag=number)
        world.now = {key for key, reason in verdicts.items() if reason is None}
        for key in world.now:
            world.named.setdefault(key, number)
        world.still = 0 if world.now else world.still + 1
        async with world.news:
            world.news.notify_all()
        world.stage.show(await asyncio.to_thread(_figures, world))


def _figures(world: World) -> Mapping[str, str]:
    ledger = read_ledger(world.journal)
    return {
        "block": str(world.number),
        "prices": "  ".join(f"{symbol} {price:,.0f}" for symbol, price in world.prices.items()),
        "watched": str(len(world.market.holders)),
        "liquidatable now, says the chain": str(len(world.now)),
        "liquidated": str(ledger.mined),
        "reverted": str(ledger.reverted),
        "reward": f"{ledger.rewards_b0 / 1e18:,.2f} USD",
        "gas": f"{ledger.fees_wei / 1e18:.6f}",
        "price to sent, p50": f"{percentile(ledger.latencies_us, 50) / 1000:.2f} ms",
    }


async def _beat(world: World) -> None:
    """The updaters: fast prices every few seconds."""
    while True:
        await asyncio.sleep(FAST_SECONDS / 3)
        await _push(world.market, world.prices["BTC"], world.prices["ETH"])


async def _push(market: MeridianDevnet, btc: Decimal, eth: Decimal) -> str:
    return await market.set_fast_prices({"BTC": btc, "ETH": eth, "USDC": 1, "DAI": 1})


async def _until(world: World, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(MOVE_SECONDS), world.news:
        await world.news.wait_for(holds)


async def _move(world: World, text: str, factor: Decimal) -> None:
    """Move all prices to a share of the start, and wait until nobody is left."""
    market, named = world.market, len(world.named)
    world.prices = {"BTC": BTC * factor, "ETH": ETH * factor}
    sent = [await market.set_price(symbol, price) for symbol, price in world.prices.items()]
    await market.confirm(*sent, await _push(market, world.prices["BTC"], world.prices["ETH"]))
    start = world.number
    await _until(world, lambda: world.number > start + STILL_BLOCKS and world.still >= STILL_BLOCKS)
    world.stage.say(f"{text:>6}: the chain named {len(world.named) - named} more; nobody is left")
