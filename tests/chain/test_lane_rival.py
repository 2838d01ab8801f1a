"""A rival who takes half of the accounts while ours are in flight for them."""

from __future__ import annotations

from pathlib import Path

from keeper.devnet.anvil import AnvilOptions
from keeper.model import OutcomeState
from tests.chain.lane_world import MARKET, RIVAL, World, account, lane_world, prepare
from tests.conftest import StartAnvil

ACCOUNTS = 60
PER_BLOCK = 10
TAKES = 45_000
"""Gas that taking an account really uses. A block has room for twice ``PER_BLOCK``: half for us, half for the rival."""


async def test_what_a_rival_took_is_cancelled_before_it_can_revert(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True, gas_limit=2 * PER_BLOCK * TAKES))
    await prepare(anvil)
    names = [account(number) for number in range(ACCOUNTS)]
    async with lane_world(anvil, tmp_path / "journal") as world:
        await world.send(*names)
        rivals = names[::-1][: ACCOUNTS // 2]
        for at in range(0, len(rivals), PER_BLOCK):
            await world.rival_takes(*rivals[at : at + PER_BLOCK])
            await anvil.rpc("evm_mine")
            await _notice(world, rivals)
            await world.turn()
        for _ in range(12):
            if not world.lane._nonces.slots:
                break
            await world.mine()
        assert not world.lane._nonces.slots
        last = [world.last(name) for name in names]
        ours = [outcome for outcome in last if outcome.state is OutcomeState.MINED]
        cancelled = [outcome for outcome in last if outcome.state is OutcomeState.CANCELLED]
        reverted = [outcome for outcome in last if outcome.state is OutcomeState.REVERTED]
        assert len(ours) == ACCOUNTS // 2
        assert len(reverted) * 50 <= ACCOUNTS
        assert len(cancelled) + len(reverted) == ACCOUNTS // 2
        assert all(outcome.gas_used == 21_000 for outcome in cancelled)
        assert {await world.taker(name) for name in rivals} == {RIVAL.address.lower()}
        lost_wei = sum(outcome.fee_wei for outcome in cancelled + reverted)
        spent_wei = sum(wei for _, wei in await world.spent())
        assert 0 < lost_wei < spent_wei


async def _notice(world: World, rivals: list[str]) -> None:
    """What the mirror does: see in the block who was closed by somebody else, and tell the lane."""
    for name in rivals:
        if world.lane.in_flight(MARKET, name) and await world.taker(name) == RIVAL.address.lower():
            world.lane.withdraw(MARKET, name, "somebody else was first")
