"""What may happen while the lane waits for something: each await is a moment in which the world goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.chain.budget import Limits
from keeper.chain.data_fee import NoDataFee
from keeper.chain.relay import Answer, Delivery
from keeper.chain.transaction import Fees, Transaction
from keeper.errors import StoreError
from keeper.model import Outcome, OutcomeState
from keeper.store.journal import StateRow
from keeper.store.ledger import entries
from tests.unit.lane_alone import (
    COIN,
    GAS,
    GWEI,
    MARKET,
    SETTINGS,
    SIGNER,
    Alone,
    Figures,
    header,
    lane_alone,
    liquidation,
)


def slow_disk(alone: Alone, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """What is put on disk from now on: set when that begins, and to be set for it to go on."""
    put, begun, goes_on = alone.journal.intend, asyncio.Event(), asyncio.Event()

    async def slow(*args: object) -> None:
        begun.set()
        await goes_on.wait()
        await put(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(alone.journal, "intend", slow)
    return begun, goes_on


async def test_a_gap_that_nobody_can_tell_of_now_is_looked_for_at_the_next_head(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1", "2", "3")
        # The node forgot that it ever had the first two: they are in no slot, and the third waits for them.
        alone.lane._nonces.slots.pop(0)
        alone.lane._nonces.slots.pop(1)
        alone.chain.silent_about = "eth_getTransactionCount pending"
        await alone.turn(101)
        alone.chain.silent_about = ""
        await alone.turn(102)
        await alone.turn(103)
        assert sorted(alone.lane._nonces.slots) == [0, 1, 2]


async def test_a_journal_that_can_t_be_tidied_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_alone(tmp_path) as alone:

        async def full() -> None:
            raise StoreError("room", "the disk is full", "free some")

        monkeypatch.setattr(alone.journal, "checkpoint", full)
        await alone.turn(112)
        await alone.send("1", number=112)
        assert alone.states("1") == ["sent"]


async def test_what_is_mined_while_its_replacement_is_put_on_disk_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        [first] = alone.door.hashes
        begun, goes_on = slow_disk(alone, monkeypatch)
        mending = asyncio.create_task(alone.lane.on_head(header(102, 40 * GWEI)))
        await begun.wait()
        alone.chain.mine(first, 102)
        await alone.lane._look(header(102, 40 * GWEI))
        goes_on.set()
        await mending
        await alone.turn(103)
        await alone.turn(104)
        assert alone.states("1") == ["sent", "mined"]
        assert alone.lane.under_way == 0
        await alone.journal.drain()
        [entry] = await entries(alone.journal.engine)
        assert (entry.state.value, entry.reward_b0) == ("mined", 5)


async def test_a_liquidation_whose_spare_nonce_is_mined_while_it_is_put_on_disk_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        [first] = alone.door.hashes
        alone.lane.withdraw("pool", "1", "somebody else was first")
        begun, goes_on = slow_disk(alone, monkeypatch)
        sending = asyncio.create_task(alone.send("2"))
        await begun.wait()
        alone.chain.mine(first, 101, ok=False)
        await alone.lane._look(header(101))
        goes_on.set()
        await sending
        assert alone.states("1") == ["sent", "reverted"]
        assert alone.states("2") == ["abandoned"]
        await alone.send("2", number=101)
        await alone.turn(102)
        assert alone.states("1") == ["sent", "reverted"]
        assert alone.states("2") == ["abandoned", "sent"]
        assert list(alone.lane._nonces.slots) == [1]


async def test_who_is_cancelled_while_it_sends_leaves_no_account_claimed_and_no_intent_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_alone(tmp_path) as alone:
        with monkeypatch.context() as patch:
            begun, goes_on = slow_disk(alone, patch)
            sending = [asyncio.create_task(alone.send(*accounts)) for accounts in (("1", "2"), ("3",))]
            await begun.wait()
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            goes_on.set()
        assert not alone.door.handed
        assert [alone.lane.in_flight("pool", account) for account in "123"] == [False] * 3
        await alone.send("1", "2", "3")
        assert [alone.states(account)[-1] for account in "123"] == ["sent"] * 3


async def test_13_what_waits_for_its_turn_when_the_lane_closes_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_alone(tmp_path) as alone:
        begun, goes_on = slow_disk(alone, monkeypatch)
        sending = [asyncio.create_task(alone.send(account)) for account in "12"]
        await begun.wait()
        closing = asyncio.create_task(alone.lane.close(0.1))
        await a_while()
        goes_on.set()
        await asyncio.gather(*sending, closing)
        assert (alone.states("1"), alone.states("2")) == (["sent"], ["skipped"])


async def test_a_first_form_that_is_still_unanswered_is_not_given_up_with_its_replacement(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        first: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        alone.door.answers = [first, answered(Answer.NO_FUNDS)]
        await alone.lane.submit([liquidation("1")], header(100))
        await alone.lane.on_head(header(101, 40 * GWEI))
        await a_while()
        assert len(alone.door.handed) == 2
        assert alone.lane.in_flight("pool", "1")
        first.set_result(Delivery(Answer.ACCEPTED))
        await alone.lane.answered()
        alone.chain.mine(alone.door.hashes[0], 102)
        await alone.turn(102)
        assert alone.states("1") == ["replaced", "mined"]


async def test_what_takes_a_nonce_whose_last_form_is_unanswered_is_dear_enough_to_replace_it(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        first: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        alone.door.answers = [first]
        await alone.lane.submit([liquidation("1")], header(100))
        alone.lane.withdraw("pool", "1", "healthy again")
        await alone.lane.submit([liquidation("2")], header(100))
        [slot] = alone.lane._nonces.live()
        first.set_result(Delivery(Answer.ACCEPTED))
        assert slot.forms[1].fees.max_wei * 8 >= slot.forms[0].fees.max_wei * 9


async def test_10_what_a_revert_cost_is_not_free_again_while_its_reason_is_asked_for(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        alone.chain.mine(alone.door.hashes[0], 101, ok=False)
        before, paid = alone.lane.room_wei, GAS // 2 * 11 * GWEI
        alone.chain.holds["eth_call"] = asyncio.Event()
        looking = asyncio.create_task(alone.turn(101))
        await a_while()
        assert alone.lane.room_wei == SETTINGS.limits.hour_wei - paid
        assert before < alone.lane.room_wei
        alone.chain.holds["eth_call"].set()
        await looking
        assert alone.lane.room_wei == SETTINGS.limits.hour_wei - paid


async def test_10_a_replacement_with_a_smaller_gas_limit_makes_no_room_for_others(tmp_path: Path) -> None:
    """A nonce that went from a large transaction to a small one may still cost what the large one does."""
    at_most = GAS * 21 * GWEI
    tight = replace(SETTINGS, limits=Limits(hour_wei=11 * at_most, day_wei=50 * at_most))
    async with lane_alone(tmp_path, settings=tight) as alone:
        large = replace(liquidation("large"), gas_limit=8 * GAS)
        await alone.lane.submit([large], header(100))
        await alone.lane.answered()
        alone.lane.withdraw("pool", "large", "healthy again")
        await alone.send("small", "other")
        await alone.turn(101, 40 * GWEI)
        assert alone.lane.room_wei >= 0


class PerByte(NoDataFee):
    """An L2 that charges a coin's thousandth for a byte, besides the gas."""

    def on_top_wei(self, length: int) -> int:
        return length * COIN // 1000


async def test_10_the_data_fee_of_what_is_in_flight_is_not_spent_twice(tmp_path: Path) -> None:
    tight = replace(SETTINGS, limits=Limits(hour_wei=COIN // 100, day_wei=COIN))
    async with lane_alone(tmp_path, settings=tight, data_fee=PerByte()) as alone:
        await alone.send("one")
        assert alone.lane.room_wei == COIN // 100 - GAS * 21 * GWEI - 3 * COIN // 1000
        await alone.send("two")
        await alone.send("three")
        assert alone.states("three") == ["skipped"]


async def answered(answer: Answer) -> Delivery:
    return Delivery(answer, "no")


async def a_while() -> None:
    """Let everything go on that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_8_a_cancellation_that_was_refused_is_signed_and_handed_over_again(tmp_path: Path) -> None:
    """With fees that don't move, as on BNB Chain, its bytes are the same and are in the journal already."""
    async with lane_alone(tmp_path) as alone:
        await alone.send("0")
        no_money = Answer.NO_FUNDS
        alone.door.answers = [answered(no_money), answered(Answer.ACCEPTED), answered(no_money)]
        await alone.send("1", "2")
        for number in (101, 102, 103):
            await alone.turn(number)
        assert alone.door.hashes.count(alone.door.hashes[3]) == 2
        assert "journal" not in alone.lane.alerts
        assert alone.states("1") == ["abandoned"], "what is given up is not open again because its nonce is filled"
        assert [slot.accepted for slot in alone.lane._nonces.live()] == [True] * 3


async def test_4_what_a_node_can_t_tell_of_at_a_start_is_taken_as_known(tmp_path: Path) -> None:
    chain = Figures()
    async with lane_alone(tmp_path, chain=chain) as alone:
        await alone.send("1")
    chain.failing.add("eth_getTransactionByHash")
    async with lane_alone(tmp_path, chain=chain) as alone:
        assert alone.lane.in_flight("pool", "1")
        chain.failing.clear()
        await alone.turn(101)
        await alone.turn(102)
        assert len(alone.door.handed) >= 1


async def test_4_an_account_whose_nonce_another_one_used_is_not_in_flight_after_a_start(tmp_path: Path) -> None:
    chain = Figures()
    async with lane_alone(tmp_path, chain=chain) as alone:
        await alone.send("1")
        alone.lane.withdraw("pool", "1", "healthy again")
        await alone.send("2")
        chain.mine(alone.door.hashes[1], 101)
        await alone.turn(101)
        assert (alone.states("1")[-1], alone.states("2")[-1]) == ("abandoned", "mined")
        # The last row of the first is lost, as by a power cut.
        [first] = [
            entry for entry in await alone.journal.unsettled(31337, SIGNER.address, 0, 0) if entry.intent.account == "1"
        ]
        alone.journal.record(StateRow(first.intent.id, OutcomeState.REPLACED, 0.0))
    async with lane_alone(tmp_path, chain=chain) as alone:
        assert not alone.lane.in_flight("pool", "1")
        await alone.send("1")
        assert alone.states("1") == ["abandoned", "sent"]


async def test_7_what_a_round_found_useless_and_left_over_is_cancelled_before_the_next_block(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1", "2")
        await alone.turn(101)
        for account in "12":
            alone.lane.withdraw("pool", account, "its trader has added margin")
        await alone.send("3", number=101)
        alone.lane.sweep()
        await alone.lane.answered()
        slots = alone.lane._nonces.live()
        assert [(slot.current.intent.account, slot.current.cancels) for slot in slots] == [("3", False), ("2", True)]


async def test_7_what_is_mined_already_is_not_cancelled(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        alone.chain.mine(alone.door.hashes[0], 101, ok=False)
        alone.lane.withdraw("pool", "1", "somebody else was first")
        alone.lane.sweep()
        await alone.lane.answered()
        assert len(alone.door.handed) == 1
        assert alone.states("1") == ["sent", "reverted"]


async def test_9_with_nothing_in_flight_the_next_nonce_is_the_chain_s(tmp_path: Path) -> None:
    """The owner has used the key for something else, staking for one."""
    async with lane_alone(tmp_path) as alone:
        await alone.turn(102)
        alone.chain.counts = {"latest": 2, "pending": 2}
        await alone.turn(112)
        await alone.send("1", number=112)
        assert list(alone.lane._nonces.slots) == [2]


async def test_a_reward_that_makes_no_sense_is_read_later_and_the_nonce_is_settled(tmp_path: Path) -> None:
    rewards: list[int] = []

    def realised(outcome: Outcome) -> int:
        if not rewards:
            raise ValueError("3 bytes hold no word 0")
        return rewards[0]

    async with lane_alone(tmp_path, realised=realised) as alone:
        await alone.send("1")
        alone.chain.mine(alone.door.hashes[0], 101)
        await alone.turn(101)
        assert alone.states("1") == ["sent", "mined"]
        assert not alone.lane.in_flight("pool", "1")
        rewards.append(7)
        await alone.turn(102)
        await alone.journal.drain()
        assert [entry.reward_b0 for entry in await entries(alone.journal.engine)] == [7]


async def test_6_a_replacement_too_leaves_what_the_data_fee_takes_of_the_reward(tmp_path: Path) -> None:
    async with lane_alone(tmp_path, data_fee=PerByte()) as alone:
        worth_60_gwei = replace(liquidation("one"), reward_wei=GAS * 60 * GWEI + PerByte().on_top_wei(3))
        await alone.lane.submit([worth_60_gwei], header(100))
        await alone.lane.answered()
        await alone.turn(101, 55 * GWEI)
        [slot] = alone.lane._nonces.live()
        assert len(slot.forms) == 2
        assert slot.current.fees.max_wei == 60 * GWEI


class AsGas(NoDataFee):
    """Arbitrum's way: a transaction's bytes cost gas, a transfer's too."""

    def extra_gas(self, length: int, base_fee_wei: int) -> int:
        return 7_000 + length


async def test_7_a_cancellation_has_gas_for_its_bytes_where_they_cost_gas(tmp_path: Path) -> None:
    async with lane_alone(tmp_path, data_fee=AsGas()) as alone:
        await alone.send("1")
        alone.lane.withdraw("pool", "1", "healthy again")
        alone.lane.sweep()
        await alone.lane.answered()
        [slot] = alone.lane._nonces.live()
        wanted = Transaction(31337, 0, SIGNER.address, b"", 28_000, slot.current.fees)
        assert slot.current.cancels
        assert slot.current.gas_limit == 28_000
        assert (await SIGNER.sign(wanted)).raw == alone.door.handed[-1]


async def test_13_closing_does_not_wait_for_what_waits_for_its_turn(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        alone.lane.withdraw("pool", "1", "healthy again")
        told = alone.chain.holds["eth_getTransactionCount"] = asyncio.Event()
        alone.lane.sweep()
        await a_while()
        closing = asyncio.create_task(alone.lane.close(60.0))
        await a_while()
        told.set()
        async with asyncio.timeout(5):
            await closing
        assert len(alone.door.handed) == 1


async def test_13_a_closed_lane_replaces_nothing(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        await alone.lane.close(0.1)
        await alone.lane.on_head(header(102, 40 * GWEI))
        assert len(alone.door.handed) == 1


async def test_10_a_wallet_that_a_node_found_too_poor_is_well_again_once_there_is_more_in_it(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        alone.door.answers = [answered(Answer.NO_FUNDS)]
        await alone.send("1")
        for number in (101, 102, 103):
            await alone.turn(number)
            assert "insufficient-funds" in alone.lane.alerts
        alone.chain.balance_wei *= 2
        for number in range(104, 114):
            await alone.turn(number)
        assert "insufficient-funds" not in alone.lane.alerts


async def test_11_a_replacement_that_is_refused_says_nothing_against_an_account_that_is_in_flight(
    tmp_path: Path,
) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.send("1")
        alone.door.answers = [answered(Answer.REFUSED) for _ in range(12)]
        for number in range(102, 142):
            await alone.turn(number, 40 * GWEI)
        assert not alone.door.answers, "all were heard"
        assert alone.lane.in_flight("pool", "1")
        assert not [name for name in alone.lane.alerts if name.startswith("account-stopped")]


async def test_a_batch_goes_no_further_than_what_may_be_in_flight(tmp_path: Path) -> None:
    async with lane_alone(tmp_path, settings=replace(SETTINGS, max_in_flight=3)) as alone:
        await alone.send("1", "2", "3", "4", "5")
        assert len(alone.lane._nonces.slots) == 3
        assert alone.states("4") == ["skipped"]


async def test_what_another_lane_is_unsure_of_is_left(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        await alone.lane.submit([liquidation("1")], header(100), frozenset({("pool", "1")}))
        assert alone.states("1") == ["skipped"]
        assert not alone.lane._nonces.slots


async def test_7_an_account_at_which_a_rival_is_ahead_is_left_to_it_and_no_other(tmp_path: Path) -> None:
    async with lane_alone(tmp_path) as alone:
        alone.lane.rival_seen(MARKET, "1", Fees(100 * GWEI, 50 * GWEI))
        alone.lane.rival_seen(MARKET, "2", Fees(100 * GWEI, 0))
        assert alone.lane.held_back(MARKET, "1", 101)
        assert not alone.lane.held_back(MARKET, "2", 101)
        await alone.send("1", "2", "3")
        assert [alone.states(account) for account in "123"] == [["skipped"], ["sent"], ["sent"]]
