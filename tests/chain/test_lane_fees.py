"""Fee policies against a real node: what they read, and that what they bid is mined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from keeper.chain.gas import FeeSettings
from keeper.chain.lane import LaneSettings
from keeper.devnet.anvil import AnvilOptions
from keeper.model import OutcomeState
from tests.chain.lane_world import GWEI, MARKET, SETTINGS, World, account, lane_world, prepare
from tests.conftest import StartAnvil


def settings(policy: str) -> LaneSettings:
    return replace(SETTINGS, fees=FeeSettings(policy, tip_wei=GWEI, max_fee_wei=200 * GWEI))


async def tips_wei(world: World) -> list[int]:
    """The tips of everything this lane ever signed, oldest first."""
    standings = await world.standings()
    return [row.tip_wei or 0 for standing in standings for row in standing.transactions]


async def test_a_chain_without_a_base_fee_takes_a_gas_price(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True, hardfork="berlin"))
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal", settings=settings("legacy")) as world:
        assert (await world.head()).base_fee_per_gas_wei is None
        await world.send(account(1))
        [body] = (await world.pool()).values()
        assert body["type"] == "0x0"
        await world.mine()
        assert world.last(account(1)).state is OutcomeState.MINED


async def test_the_percentile_policy_pays_what_recent_blocks_paid(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal", settings=settings("percentile-tip")) as world:
        for number in range(3):
            await world.rival_takes(account(number), tip_wei=7 * GWEI)
            await world.mine()
        await world.send(account(9))
        assert await tips_wei(world) == [7 * GWEI]
        await world.mine()
        assert world.last(account(9)).state is OutcomeState.MINED


async def test_the_profit_share_rises_with_losses_and_falls_back_after_a_win(
    start_anvil: StartAnvil, tmp_path: Path
) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal", settings=settings("profit-share")) as world:
        reward_wei = 120_000 * 200 * GWEI
        await world.send(account(1), reward_wei=reward_wei)
        world.lane.lost(MARKET)
        await world.send(account(2), reward_wei=reward_wei)
        await world.mine()
        await world.send(account(3), reward_wei=reward_wei)
        first, second, third = await tips_wei(world)
        assert second == 2 * first
        assert third * 10 < second * 6
