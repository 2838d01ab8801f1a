"""The lane's contract, clause by clause, on a real Anvil."""

from __future__ import annotations

from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.model import OutcomeState
from tests.chain.lane_world import (
    GWEI,
    REWARD_B0,
    SIGNER,
    account,
    lane_world,
    liquidation,
    prepare,
)
from tests.conftest import StartAnvil

MINED, REVERTED, SENT, REPLACED = (
    OutcomeState.MINED,
    OutcomeState.REVERTED,
    OutcomeState.SENT,
    OutcomeState.REPLACED,
)
CANCELLED, ABANDONED, SKIPPED = OutcomeState.CANCELLED, OutcomeState.ABANDONED, OutcomeState.SKIPPED

MANUAL = AnvilOptions(no_mining=True)


async def test_1_an_intent_and_its_bytes_are_on_disk_before_the_node_sees_them(
    start_anvil: StartAnvil, tmp_path: Path
) -> None:
    anvil = await start_anvil(MANUAL)
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal") as world:
        await world.send(account(1), account(2))
        await world.journal.drain()
        standings = await world.journal.unsettled(SIGNER.address, 0, 0)
        pool = await world.pool()
        assert [standing.intent.account for standing in standings] == [account(1), account(2)]
        assert {row.nonce: row.hash for s in standings for row in s.transactions} == {
            nonce: body["hash"] for nonce, body in pool.items()
        }


async def test_3_a_batch_is_pipelined_and_mined_in_one_block(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(MANUAL)
    await prepare(anvil)
    names = [account(number) for number in range(40)]
    async with lane_world(anvil, tmp_path / "journal") as world:
        await world.send(*names)
        assert world.lane.accounts_in_flight("target") == tuple(names)
        await world.mine()
        assert all(world.states(name) == [SENT, MINED] for name in names)
        assert all(world.last(name).reward_b0 == REWARD_B0 for name in names)
        assert {await world.taker(name) for name in names} == {SIGNER.address.lower()}
        assert len({world.last(name).block_number for name in names}) == 1
        assert not world.lane.accounts_in_flight("target")


async def test_2_an_account_in_flight_is_refused(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(MANUAL)
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal") as world:
        await world.send(account(1))
        head = await world.head()
        await world.lane.submit([liquidation(account(1), head=head)], head)
        assert world.last(account(1)).reason == "already in flight"
        await world.mine()
        assert await world.chain_nonce() == 1


async def test_6_a_transaction_under_the_base_fee_is_replaced(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(MANUAL)
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal") as world:
        await world.send(account(1))
        await anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(5 * GWEI))
        await world.mine()
        assert world.states(account(1)) == [SENT, REPLACED]
        await world.mine()
        assert world.states(account(1)) == [SENT, REPLACED, MINED]
