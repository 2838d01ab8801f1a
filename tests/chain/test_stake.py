"""Eligibility row by row on a chain: our answer is the privileger's, and its revert is understood, not propagated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_world import ONE, Rules
from keeper.errors import ProtocolError
from keeper.model import Eligibility
from keeper.protocols.deri import plans
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.stake.account import StakeReading, read_stakers, read_stakes
from keeper.protocols.deri.stake.plan import plan
from keeper.protocols.deri.stake.stakers import find_users
from keeper.protocols.deri.stake.watch import Alert, AlertKind, qualified
from tests.chain.following import Follower, following

# The world's own stakers hold 30,000, 20,000 and 10,000: 20,000 on average.


class Scene:
    """A market that follows the chain, with our liquidator and the privileger's own word about it."""

    def __init__(self, deri: DeriDevnet, market: DeriMarket, follower: Follower) -> None:
        self.deri = deri
        self.us = deri.liquidator
        self.market = market
        self.alerts: list[Alert] = []
        market.stakes.listen(self.alerts.append)
        self.follower = follower

    async def answer(self) -> Eligibility:
        """Ours at the head, which the contract and its verification have to agree with."""
        await self.follower.follow()
        head, parts = self.market.mirror.head, self.market.mirror.wiring
        answer = self.market.eligibility(self.us, head.timestamp)
        [said] = await plans.run(qualified(parts.privileger, [self.us]), self.follower.reader, head.hash)
        assert answer.allowed is bool(said)
        assert (answer.reason == "locked") is (said is None)
        state = self.market.mirror.state.privileger
        assert state is not None
        assert await self.market.stakes.verify(self.follower.reader, head, parts, state) == 0
        return answer

    async def stake(self, user: str, amount_deri: int) -> None:
        await self.deri.confirm(await self.deri.mint_deri(user, amount_deri * ONE))
        await self.deri.confirm(await self.deri.stake(user, amount_deri * ONE))

    async def withdraw(self, user: str, amount_deri: int) -> None:
        await self.deri.confirm(await self.deri.withdraw_stake(user, amount_deri * ONE))

    async def unlocked(self, seconds: int | None = None) -> None:
        """Let time pass: the whole lock, unless told how much."""
        node = self.deri.node
        await node.set_next_block_timestamp(
            await node.block_timestamp() + (self.deri.world.lock_seconds if seconds is None else seconds)
        )
        await node.mine()

    async def reading(self) -> StakeReading:
        reader, head = self.follower.reader, self.market.mirror.head
        reading = await read_stakes(self.deri.pool.address, [self.us], reader, head)
        assert reading is not None
        users = await find_users(self.follower.rpc, reading.parts, 0, head)
        return await read_stakers(reading, users, reader)

    def told(self, kind: AlertKind) -> list[bool]:
        """The alerts of a kind so far: True for each raised, False for each cleared."""
        return [not alert.cleared for alert in self.alerts if alert.kind is kind]


@pytest.fixture
async def scene(deri: DeriDevnet) -> AsyncIterator[Scene]:
    market = DeriMarket(DeriMarketConfig("local", deri.pool.address, liquidators=(deri.liquidator,)))
    async with following(deri.node, market) as follower:
        yield Scene(deri, market, follower)


async def test_who_never_staked_may_not(scene: Scene) -> None:
    answer = await scene.answer()
    assert (answer.allowed, answer.reason, answer.until) == (False, "never-staked", None)


async def test_the_running_lock_is_an_answer_with_an_end(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    staked_at = await scene.deri.node.block_timestamp()
    answer = await scene.answer()
    assert (answer.reason, answer.until) == ("locked", staked_at + scene.deri.world.lock_seconds)
    await scene.unlocked(scene.deri.world.lock_seconds - 1)
    assert (await scene.answer()).reason == "locked"
    assert scene.told(AlertKind.LOCK_ENDED) == []
    await scene.unlocked(1)
    assert (await scene.answer()).reason == "qualified"
    assert scene.told(AlertKind.LOCK_ENDED) == [True]


@pytest.mark.parametrize(("stake", "reason"), [(19_999, "below-average"), (20_000, "qualified"), (20_001, "qualified")])
async def test_below_exactly_at_and_above_the_average(scene: Scene, stake: int, reason: str) -> None:
    await scene.stake(scene.us, stake)
    await scene.unlocked()
    answer = await scene.answer()
    assert answer.reason == reason
    assert answer.allowed is (reason == "qualified")


async def test_anothers_deposit_moves_the_average_past_us(scene: Scene) -> None:
    await scene.stake(scene.us, 20_000)
    await scene.unlocked()
    assert (await scene.answer()).allowed
    await scene.stake(scene.deri.stakers[0], 10_000)
    answer = await scene.answer()
    assert answer.reason == "below-average"
    assert scene.told(AlertKind.BELOW_AVERAGE) == [True]


async def test_anothers_withdrawal_moves_the_average_past_us(scene: Scene) -> None:
    await scene.stake(scene.us, 20_000)
    await scene.unlocked()
    assert (await scene.answer()).allowed
    await scene.withdraw(scene.deri.stakers[2], 10_000)
    assert (await scene.answer()).reason == "below-average"


async def test_anothers_withdrawal_brings_us_back(scene: Scene) -> None:
    await scene.stake(scene.us, 15_000)
    await scene.unlocked()
    assert (await scene.answer()).reason == "below-average"
    await scene.withdraw(scene.deri.stakers[0], 20_000)
    assert (await scene.answer()).allowed
    assert scene.told(AlertKind.BELOW_AVERAGE) == [True, False]


async def test_a_top_up_restarts_the_lock_of_the_whole_stake(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    await scene.unlocked()
    assert (await scene.answer()).allowed
    await scene.stake(scene.us, 10_000)
    answer = await scene.answer()
    assert answer.reason == "locked"
    assert answer.until == await scene.deri.node.block_timestamp() + scene.deri.world.lock_seconds
    await scene.unlocked()
    assert (await scene.answer()).allowed


async def test_a_full_withdrawal_ends_it_and_leaves_the_lock(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    await scene.withdraw(scene.us, 30_000)
    # The contract looks at the lock first, even with nothing staked.
    assert (await scene.answer()).reason == "locked"
    await scene.unlocked()
    assert (await scene.answer()).reason == "withdrawn"


async def test_the_last_staker_is_qualified_by_any_stake_and_nobody_by_none(scene: Scene) -> None:
    await scene.stake(scene.us, 10_000)
    for staker, amount in zip(scene.deri.stakers, scene.deri.world.stakes_deri, strict=True):
        await scene.withdraw(staker, amount)
    await scene.unlocked()
    assert (await scene.answer()).reason == "qualified"
    await scene.withdraw(scene.us, 10_000)
    assert (await scene.answer()).reason == "withdrawn"


async def test_a_reorg_takes_a_deposit_back(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    await scene.unlocked()
    assert (await scene.answer()).allowed
    await scene.stake(scene.deri.stakers[0], 60_000)
    assert (await scene.answer()).reason == "below-average"
    await scene.deri.node.reorg(1)
    assert (await scene.answer()).allowed


async def test_the_planned_deposit_suffices_on_the_chain(scene: Scene) -> None:
    await scene.answer()
    reading = await scene.reading()
    deposit = plan(reading.privileger, scene.us, reading.head.timestamp).least
    assert deposit == 20_000 * ONE
    await scene.deri.confirm(await scene.deri.stake(scene.us, deposit))
    await scene.unlocked()
    assert (await scene.answer()).allowed


async def test_the_stakers_are_found_by_their_events(scene: Scene) -> None:
    await scene.stake(scene.us, 25_000)
    await scene.withdraw(scene.deri.stakers[1], 20_000)
    await scene.answer()
    reading = await scene.reading()
    first, _, third = scene.deri.stakers
    assert reading.stakers == {scene.us: 25_000 * ONE, first: 30_000 * ONE, third: 10_000 * ONE}
    assert (reading.token.symbol, reading.token.decimals) == ("DERI", 18)
    assert reading.wallets[scene.us].balance == scene.deri.world.liquidator_deri * ONE


async def test_events_from_too_late_on_are_not_taken_for_all_of_them(scene: Scene) -> None:
    await scene.answer()
    reading = replace(await scene.reading(), stakers=None)
    users = await find_users(scene.follower.rpc, reading.parts, reading.head.number, reading.head)
    assert (await read_stakers(reading, users, scene.follower.reader)).stakers is None


async def test_little_head_room_is_told_once_and_cleared(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    await scene.unlocked()
    await scene.answer()
    assert scene.told(AlertKind.HEADROOM_LOW) == []
    await scene.stake(scene.deri.stakers[0], 29_000)  # the others hold 89,000; 1,000 more and we are out
    await scene.answer()
    await scene.unlocked()
    assert (await scene.answer()).allowed
    assert scene.told(AlertKind.HEADROOM_LOW) == [True]
    await scene.withdraw(scene.deri.stakers[0], 29_000)
    await scene.answer()
    assert scene.told(AlertKind.HEADROOM_LOW) == [True, False]


async def test_a_mirror_that_is_wrong_is_found_out(scene: Scene) -> None:
    await scene.stake(scene.us, 30_000)
    await scene.unlocked()
    await scene.answer()
    market, reader = scene.market, scene.follower.reader
    state = market.mirror.state.privileger
    assert state is not None
    wrong = replace(state, stakes_total=state.stakes_total * 9)
    with capture_logs() as lines:
        found = await market.stakes.verify(reader, market.mirror.head, market.mirror.wiring, wrong)
    assert (found, market.stakes.mismatches) == (1, 1)
    assert [line["event"] for line in lines] == ["stake.mismatch"]
    assert "the privileger says qualified, the mirror not qualified" in lines[0]["detail"]


async def test_an_implementation_that_changes_is_told(scene: Scene) -> None:
    await scene.answer()
    await scene.deri.confirm(await scene.deri.upgrade_pool(Rules(max_liquidation_reward_e18=900 * ONE)))
    await scene.answer()
    assert scene.told(AlertKind.IMPLEMENTATION_CHANGED) == [True]
    assert scene.alerts[-1].subject == scene.deri.pool.address


async def test_a_privileger_without_code_is_refused(scene: Scene) -> None:
    assert scene.deri.privileger is not None
    await scene.answer()
    await scene.deri.node.set_code(scene.deri.privileger.address, b"")
    await scene.deri.node.mine()
    await scene.follower.follow()
    with pytest.raises(ProtocolError, match=r"to answer deri\(\), but it answered 0 bytes"):
        await scene.reading()
