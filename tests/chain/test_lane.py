"""The lane's contract, clause by clause, on a real Anvil."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.chain.books import Claims
from keeper.chain.budget import Limits
from keeper.chain.gas import FeeSettings, next_base_fee_wei
from keeper.chain.transaction import Fees, Signed, Transaction
from keeper.devnet.anvil import Anvil
from keeper.errors import SignerError, StoreError
from keeper.model import OutcomeState
from tests.chain.lane_world import (
    COIN,
    GWEI,
    MARKET,
    REWARD_B0,
    RIVAL,
    SETTINGS,
    SIGNER,
    account,
    lane_world,
    liquidation,
)

MINED, REVERTED, SENT, REPLACED, CANCELLED, ABANDONED, SKIPPED = (
    OutcomeState.MINED,
    OutcomeState.REVERTED,
    OutcomeState.SENT,
    OutcomeState.REPLACED,
    OutcomeState.CANCELLED,
    OutcomeState.ABANDONED,
    OutcomeState.SKIPPED,
)

TRANSFER = Transaction(31337, 0, RIVAL.address, b"", 21_000, Fees(50 * GWEI, GWEI))


async def test_1_an_intent_and_its_bytes_are_on_disk_before_they_leave(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), account(2))
        standings = await world.standings()
        on_disk = {row.nonce: row.hash for standing in standings for row in standing.transactions}
        assert on_disk == {nonce: body["hash"] for nonce, body in (await world.pool()).items()}
        assert [standing.intent.account for standing in standings] == [account(1), account(2)]


async def test_1_without_a_journal_nothing_is_sent(
    chain: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:

        async def full(*_: object) -> None:
            raise StoreError("room", "the disk is full", "free some")

        with monkeypatch.context() as patch:
            patch.setattr(world.journal, "intend", full)
            await world.send(account(1))
        assert not await world.pool()
        assert world.states(account(1)) == [SKIPPED]
        assert "disk is full" in (world.alerts["journal"] or "")
        await world.send(account(1))
        assert list(await world.pool()) == [0]
        assert world.alerts["journal"] is None


async def test_1_a_signer_that_refuses_uses_no_nonce(chain: Anvil, tmp_path: Path) -> None:
    class Moody:
        """Refuses once."""

        address = SIGNER.address
        refuses = True

        async def sign(self, transaction: Transaction) -> Signed:
            if self.refuses:
                self.refuses = False
                raise SignerError("a signature", "the signer is locked", "unlock it")
            return await SIGNER.sign(transaction)

        async def close(self) -> None: ...

    async with lane_world(chain, tmp_path / "journal", signer=Moody()) as world:
        await world.send(account(1))
        assert "locked" in (world.alerts["signer"] or "")
        await world.send(account(1), account(2))
        assert sorted(await world.pool()) == [0, 1]
        assert world.alerts["signer"] is None


async def test_2_an_account_in_flight_is_refused(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await world.send(account(1))
        assert world.last(account(1)).reason == "already in flight"
        await world.mine()
        assert await world.chain_nonce() == 1


async def test_2_an_account_is_only_ever_in_one_lane(chain: Anvil, tmp_path: Path) -> None:
    claims: Claims = {}
    async with (
        lane_world(chain, tmp_path / "one", claims=claims) as one,
        lane_world(chain, tmp_path / "two", claims=claims, signer=RIVAL) as two,
    ):
        await asyncio.gather(one.send(account(1), account(2)), two.send(account(2), account(1)))
        sent = [world.states(account(number)) for world in (one, two) for number in (1, 2)]
        assert sorted(sent, key=str) == sorted([[SENT], [SENT], [SKIPPED], [SKIPPED]], key=str)
        first = one if one.states(account(1)) == [SENT] else two
        await first.mine()
        assert first.states(account(1)) == [SENT, MINED]


async def test_2_overlapping_rounds_send_an_account_once(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await asyncio.gather(*(world.send(account(1), account(2)) for _ in range(5)))
        assert sorted(await world.pool()) == [0, 1]


async def test_3_a_batch_is_pipelined_and_mined_in_one_block(chain: Anvil, tmp_path: Path) -> None:
    names = [account(number) for number in range(40)]
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(*names)
        assert world.lane.accounts_in_flight(MARKET) == tuple(names)
        await world.mine()
        assert all(world.states(name) == [SENT, MINED] for name in names)
        assert all(world.last(name).reward_b0 == REWARD_B0 for name in names)
        assert len({world.last(name).block_number for name in names}) == 1
        assert not world.lane.accounts_in_flight(MARKET)


async def test_3_submitting_asks_the_node_nothing(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        head = await world.head()
        before = world.rpc.calls.copy()
        await world.lane.submit([liquidation(account(number), head=head) for number in range(5)], head)
        await world.lane.answered()
        assert world.rpc.calls - before == {"eth_sendRawTransaction": 5}


async def test_4_a_restart_adopts_what_is_pending_and_settles_what_was_mined(chain: Anvil, tmp_path: Path) -> None:
    names = [account(number) for number in range(4)]
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(*names[:2])
        await chain.rpc("evm_mine")
        await world.send(*names[2:])
    async with lane_world(chain, tmp_path / "journal") as world:
        assert [world.states(name) for name in names] == [[MINED], [MINED], [], []]
        assert world.lane.accounts_in_flight(MARKET) == tuple(names[2:])
        await world.send(names[3])
        assert world.states(names[3]) == [SKIPPED]
        await world.mine()
        assert all(world.last(name).state is MINED for name in names)
        assert await world.chain_nonce() == 4


async def test_4_what_no_node_has_seen_is_not_sent_again_and_its_nonce_is_used(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), account(2))
    await chain.rpc("anvil_dropAllTransactions")
    async with lane_world(chain, tmp_path / "journal") as world:
        assert world.states(account(1)) == world.states(account(2)) == [ABANDONED]
        await world.send(account(3))
        assert list(await world.pool()) == [0]
        await world.mine()
        assert world.states(account(3)) == [SENT, MINED]


async def test_5_a_transaction_that_nodes_lose_is_handed_over_again(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), account(2))
        before = {nonce: body["hash"] for nonce, body in (await world.pool()).items()}
        await chain.rpc("anvil_dropAllTransactions")
        await world.mine()
        await world.mine()
        assert {nonce: body["hash"] for nonce, body in (await world.pool()).items()} == before
        await world.mine()
        assert world.states(account(1)) == [SENT, MINED]


async def test_6_ten_in_flight_land_after_the_base_fee_rose_fivefold(chain: Anvil, tmp_path: Path) -> None:
    names = [account(number) for number in range(10)]
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(*names)
        head = await world.head()
        await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(5 * (head.base_fee_per_gas_wei or 0)))
        first = (await world.mine()).number
        assert all(world.states(name) == [SENT, REPLACED] for name in names)
        while world.lane.accounts_in_flight(MARKET):
            assert (await world.mine()).number <= first + 5
        assert all(world.last(name).state is MINED for name in names)


async def test_6_a_replacement_is_dearer_by_an_eighth_in_both_fees(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(4 * GWEI))
        await world.mine()
        [standing] = await world.standings()
        old, new = standing.transactions
        assert new.nonce == old.nonce
        assert new.max_wei * 8 >= old.max_wei * 9
        assert (new.tip_wei or 0) * 8 >= (old.tip_wei or 0) * 9
        assert [body["hash"] for body in (await world.pool()).values()] == [new.hash]


async def test_6_over_the_ceiling_it_waits_and_lands_when_the_price_falls(chain: Anvil, tmp_path: Path) -> None:
    settings = replace(SETTINGS, fees=FeeSettings(tip_wei=GWEI, max_fee_wei=6 * GWEI))
    async with lane_world(chain, tmp_path / "journal", settings=settings) as world:
        await world.send(account(1))
        await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(9 * GWEI))
        head, allowed_at = await world.mine(), 0
        while world.last(account(1)).state is not MINED:
            if not allowed_at and (next_base_fee_wei(head) or 0) <= 6 * GWEI:
                allowed_at = head.number
            assert not allowed_at or head.number <= allowed_at + 5
            head = await world.mine()
        assert allowed_at
        [standing] = await world.standings()
        assert all(row.max_wei <= 6 * GWEI for row in standing.transactions)


async def test_7_a_useless_transaction_gives_its_nonce_to_the_next_liquidation(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        world.lane.withdraw(MARKET, account(1), "somebody else was first")
        await world.send(account(2))
        assert list(await world.pool()) == [0]
        await world.mine()
        assert world.states(account(2)) == [SENT, MINED]
        assert world.states(account(1)) == [SENT, REPLACED, ABANDONED]
        assert await world.chain_nonce() == 1


async def test_7_what_has_to_come_behind_takes_no_nonce_before_what_is_in_flight(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), account(2), account(3))
        world.lane.withdraw(MARKET, account(1), "somebody else was first")
        world.lane.withdraw(MARKET, account(3), "somebody else was first")
        head = await world.head()
        items = [replace(liquidation(account(number), head=head), behind=True) for number in (4, 5)]
        await world.lane.submit(items, head)
        await world.lane.answered()
        assert world.lane.accounts_in_flight(MARKET) == (account(2), account(4), account(5))
        await world.mine()
        assert world.states(account(4)) == world.states(account(5)) == [SENT, MINED]
        assert world.last(account(3)).state is ABANDONED, "its nonce was the first behind"


async def test_7_a_useless_transaction_is_cancelled_when_nobody_takes_its_nonce(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))  # so that it is still there
        world.lane.withdraw(MARKET, account(1), "somebody else was first")
        await world.mine()
        for _ in range(20):
            if world.last(account(1)).state is CANCELLED:
                break
            await world.mine()
        outcome = world.last(account(1))
        assert outcome.state is CANCELLED
        assert outcome.gas_used == 21_000
        assert not world.lane.in_flight(MARKET, account(1))


async def test_7_what_a_rival_will_be_first_at_is_cancelled_at_once_and_not_sent_anew(
    chain: Anvil, tmp_path: Path
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), account(2))
        dearer, cheaper = Fees(90 * GWEI, 20 * GWEI), Fees(90 * GWEI, 1)
        world.lane.rival_seen(MARKET, account(1), dearer)
        world.lane.rival_seen(MARKET, account(2), cheaper)
        world.lane.rival_seen(MARKET, account(3), dearer)
        await world.lane.answered()
        await world.send(account(3))
        assert world.last(account(3)).reason == "somebody else's liquidation will be mined before"
        await world.mine()
        assert world.states(account(1)) == [SENT, REPLACED, CANCELLED]
        assert world.last(account(1)).gas_used == 21_000
        assert world.states(account(2)) == [SENT, MINED]
        assert await world.chain_nonce() == 2
        for _ in range(2):
            await world.mine()
        await world.send(account(3))
        await world.mine()
        assert world.last(account(3)).state is MINED, "the rival had its time"


async def test_8_what_can_no_longer_pay_its_way_does_not_block_the_others(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1), reward_wei=5 * GWEI * 120_000)
        await world.send(account(2), account(3))
        await chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
        first = (await world.mine()).number
        while world.lane.accounts_in_flight(MARKET):
            assert (await world.mine()).number <= first + 6
        assert world.last(account(1)).state is CANCELLED
        assert world.states(account(2))[-1] is world.states(account(3))[-1] is MINED


async def test_8_a_gap_between_nonces_is_filled(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        world.lane._nonces.next = 2  # as if a node had told a count two too high
        await world.send(account(1))
        for _ in range(5):
            await world.mine()
        assert world.last(account(1)).state is MINED
        assert await world.chain_nonce() == 3


async def test_8_a_count_that_was_far_too_high_is_not_believed_for_long(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        world.lane._nonces.next = 1_000
        await world.send(account(1))
        for _ in range(3):
            await world.mine()
        assert world.last(account(1)).state is ABANDONED
        await world.send(account(1))
        await world.mine()
        assert world.last(account(1)).state is MINED
        assert await world.chain_nonce() == 1


async def test_9_a_nonce_used_by_a_stranger_ends_its_intent_and_the_next_is_the_chain_s(
    chain: Anvil, tmp_path: Path
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        for nonce in range(3):  # somebody uses our key
            signed = await SIGNER.sign(replace(TRANSFER, nonce=nonce))
            await world.rpc.request("eth_sendRawTransaction", ["0x" + signed.raw.hex()])
        await chain.rpc("evm_mine")
        await world.send(account(1))
        await world.mine()
        assert world.states(account(1)) == [ABANDONED]
        await world.send(account(1))
        await world.mine()
        assert world.last(account(1)).state is MINED
        assert await world.chain_nonce() == 4


async def test_10_the_breaker_stops_a_loop_that_would_spend_more(chain: Anvil, tmp_path: Path) -> None:
    settings = replace(SETTINGS, limits=Limits(hour_wei=10**15, day_wei=COIN))
    async with lane_world(chain, tmp_path / "journal", settings=settings) as world:
        paid = 0
        for number in range(20):
            await world.send(account(number))
            await world.mine()
            paid += world.last(account(number)).fee_wei
        mined = [outcome for outcome in world.told if outcome.state is MINED]
        assert 0 < len(mined) < 20
        assert paid == sum(outcome.fee_wei for outcome in mined) <= 10**15
        assert world.last(account(19)).reason == "the gas budget of the hour is used up"
        assert "hour" in (world.alerts["budget-spent"] or "")


async def test_10_the_budget_survives_a_restart_and_comes_back_with_time(chain: Anvil, tmp_path: Path) -> None:
    now = [1_000_000.0]
    settings = replace(SETTINGS, limits=Limits(hour_wei=4 * 10**14, day_wei=COIN))
    async with lane_world(chain, tmp_path / "journal", settings=settings, clock=lambda: now[0]) as world:
        await world.send(account(1))
        await world.mine()
        assert world.last(account(1)).state is MINED
    async with lane_world(chain, tmp_path / "journal", settings=settings, clock=lambda: now[0]) as world:
        await world.send(account(2))
        assert world.states(account(2)) == [SKIPPED]
        now[0] += 3_601
        await world.send(account(2))
        assert world.states(account(2)) == [SKIPPED, SENT]
        assert world.alerts["budget-spent"] is None


async def test_10_a_wallet_that_can_t_pay_is_known_before_the_node_says_so(chain: Anvil, tmp_path: Path) -> None:
    settings = replace(SETTINGS, low_balance_wei=COIN)
    async with lane_world(chain, tmp_path / "journal", settings=settings) as world:
        await chain.rpc("anvil_setBalance", SIGNER.address, hex(10**15))
        await world.send(account(1))
        await world.mine()
        assert "low-balance" in world.alerts
        await world.send(*(account(number) for number in range(2, 8)))
        states = [world.states(account(number))[-1] for number in range(2, 8)]
        assert SENT in states
        assert SKIPPED in states
        assert world.rpc.calls["eth_sendRawTransaction"] == 1 + states.count(SENT)
        assert world.alerts["insufficient-funds"]


async def test_11_a_revert_is_understood_and_pauses_the_account(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await world.rival_takes(account(1))
        await world.mine()
        outcome = world.last(account(1))
        assert (outcome.state, outcome.reason) == (REVERTED, "no position")
        assert outcome.fee_wei > 0
        assert world.lane.held_back(MARKET, account(1), 3) == "paused after a revert"


async def test_11_running_out_of_gas_is_told_from_an_empty_revert(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1, first_byte=0xFE))
        await world.mine()
        assert world.last(account(1, first_byte=0xFE)).reason == "out of gas"


async def test_11_two_reverts_that_nobody_understands_stop_the_account_across_a_restart(
    chain: Anvil, tmp_path: Path
) -> None:
    odd = account(1, first_byte=0xFF)
    async with lane_world(chain, tmp_path / "journal") as world:
        for _ in range(2):
            await world.send(odd)
            head = await world.mine()
            assert world.last(odd).reason == "custom error 0xdeadbeef"
            await chain.rpc("anvil_mine", hex(25))
            await world.turn()
        assert any(name.startswith("account-stopped") for name in world.alerts)
        assert world.lane.held_back(MARKET, odd, head.number + 1_000).startswith("stopped")
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(odd)
        assert world.last(odd).reason.startswith("stopped")
        world.lane.resume(MARKET, odd)
        await world.send(odd)
        assert world.last(odd).state is SENT


async def test_12_a_reorg_takes_reward_and_cost_back_and_the_transaction_is_mined_again(
    chain: Anvil, tmp_path: Path
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await world.mine()
        assert world.states(account(1)) == [SENT, MINED]
        await chain.rpc("anvil_reorg", 1, [])
        await world.turn()
        assert world.states(account(1)) == [SENT, MINED, SENT]
        assert await world.spent() == []
        for _ in range(3):
            await world.mine()
        assert world.states(account(1)) == [SENT, MINED, SENT, MINED]
        assert len(await world.spent()) == 1
        assert await world.taker(account(1)) == SIGNER.address.lower()


async def test_2_an_account_wanted_again_before_the_lane_has_looked_for_a_reorg_is_refused(
    chain: Anvil, tmp_path: Path
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        await world.mine()
        await chain.rpc("anvil_reorg", 1, [])
        head = await world.head()  # the market has seen the new head, the lane has not
        await world.lane.submit([liquidation(account(1), head=head)], head)
        assert world.last(account(1)).reason == "whether a reorg undid its last liquidation is not known yet"
        await world.turn()
        assert world.last(account(1)).state is SENT
        await world.lane.submit([liquidation(account(1), head=head)], head)
        assert world.last(account(1)).reason == "already in flight"


async def test_13_closing_sends_nothing_new_and_completes_the_journal(chain: Anvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        head = await world.head()
        await world.lane.submit([liquidation(account(1), head=head)], head)
        await world.lane.close()
        await world.lane.submit([liquidation(account(2), head=head)], head)
        assert world.states(account(2)) == [SKIPPED]
        [standing] = await world.standings()
        assert standing.state.state is SENT
        assert standing.state.elapsed_us is not None
