"""A vault's prices as a call sees them: sampled rounds and fast prices, known from events, stale before it is told."""

from __future__ import annotations

from keeper.devnet.anvil import Anvil
from keeper.devnet.meridian import MeridianWorld, deploy_meridian
from keeper.model import Verdict, Window
from tests.chain.meridian_market import COHORTS, check_verdicts, market_of, watching


async def test_a_fast_price_going_stale_is_known_before_it_happens(anvil: Anvil) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, fast=True))
    market = market_of(devnet)
    async with watching(devnet, market) as follower:
        await devnet.confirm(await devnet.set_price("BTC", 57_750), await devnet.set_price("ETH", 3_000))
        await devnet.confirm(await devnet.set_fast_prices({"BTC": 57_750, "ETH": 3_000, "USDC": 1, "DAI": 1}))
        await follower.follow()
        assert set((await check_verdicts(devnet, market)).values()) == {Verdict.HEALTHY}
        head = market.mirror.head
        stale = head.timestamp + 300 + 1  # half a percent wider from then on, without an event
        for at in (stale - 1, stale, stale + 3300):
            await check_verdicts(devnet, market, at=at)
        key = devnet.holders[0].key
        around = market.round(Window(head.number + 1, stale - 2, stale + 2))
        assert around.assess(key).verdict is Verdict.MARGINAL
        assert key in around.candidates()
        after = market.round(Window(head.number + 1, stale, stale + 2))
        assert after.assess(key).verdict is Verdict.LIQUIDATABLE


async def test_several_rounds_are_sampled_from_events_alone(anvil: Anvil) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, sample_space=3))
    market = market_of(devnet, settings_every_s=3600)
    async with watching(devnet, market) as follower:
        before = sum(follower.rpc.calls.values())
        for price in (59_000, 56_000, 61_000, 62_000, 61_500):
            await devnet.confirm(await devnet.set_price("BTC", price))
            await follower.follow()
            await check_verdicts(devnet, market)
        assert sum(follower.rpc.calls.values()) == before
        await devnet.node.mine()
        await follower.follow()
        await check_verdicts(devnet, market)


async def test_fast_prices_move_the_market_without_a_read(anvil: Anvil) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, fast=True))
    market = market_of(devnet, settings_every_s=3600)
    async with watching(devnet, market) as follower:
        await devnet.confirm(await devnet.set_fast_prices({"BTC": 60_000, "ETH": 3_000}))
        await follower.follow()
        before = sum(follower.rpc.calls.values())
        for btc in (59_900, 58_600, 57_700):
            await devnet.confirm(await devnet.set_price("BTC", btc))
            await devnet.confirm(await devnet.set_fast_prices({"BTC": btc, "ETH": 3_000}))
            await follower.follow()
            await check_verdicts(devnet, market)
        assert sum(follower.rpc.calls.values()) == before
        await devnet.node.mine()
        await follower.follow()
        await check_verdicts(devnet, market)
        await devnet.confirm(await devnet.set_fast_prices({"BTC": 56_800}))
        await follower.follow()
        assert sum(follower.rpc.calls.values()) == before + 1
        assert Verdict.LIQUIDATABLE in (await check_verdicts(devnet, market)).values()


async def test_a_fast_price_that_came_some_blocks_ago_counts_from_then(anvil: Anvil) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, fast=True))
    market = market_of(devnet, settings_every_s=3600)
    async with watching(devnet, market) as follower:
        await devnet.confirm(await devnet.set_fast_prices({"BTC": 60_100}))
        await anvil.mine(2, interval_seconds=400)
        await follower.follow()
        token = devnet.tokens["BTC"].address
        fresh = market_of(devnet)
        async with watching(devnet, fresh):
            at = market.mirror.head.timestamp
            assert market.mirror.feeds.quotes[token].at(at) == fresh.mirror.feeds.quotes[token].at(at)
