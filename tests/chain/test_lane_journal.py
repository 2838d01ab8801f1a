"""What the lane owes to its journal: nothing is lost that could not be written, read or paired with its chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.errors import StoreError
from keeper.model import Outcome, OutcomeState
from keeper.store.ledger import entries
from tests.chain.lane_world import (
    REWARD_B0,
    account,
    lane_world,
)
from tests.conftest import StartAnvil

MINED, SENT = OutcomeState.MINED, OutcomeState.SENT


async def test_the_journal_keeps_states_that_it_could_not_write_at_once(
    chain: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
        commit = world.journal._commit

        async def full(*_: object) -> None:
            raise StoreError("room", "the disk is full", "free some")

        monkeypatch.setattr(world.journal, "_commit", full)
        await world.mine()
        assert world.states(account(1)) == [SENT, MINED]
        monkeypatch.setattr(world.journal, "_commit", commit)
        [standing] = await world.standings()
        assert standing.state.state is MINED


async def test_a_reward_that_can_t_be_read_yet_is_read_later_also_after_a_restart(chain: Anvil, tmp_path: Path) -> None:
    async def rewards() -> list[tuple[OutcomeState, int]]:
        await world.journal.drain()
        return [(entry.state, entry.reward_b0) for entry in await entries(world.journal.engine)]

    def not_ready(outcome: Outcome) -> int | None:
        return None

    async with lane_world(chain, tmp_path / "journal", realised=not_ready) as world:
        await world.send(account(1))
        await world.mine()
        assert await rewards() == [(MINED, 0)]
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.mine()
        assert await rewards() == [(MINED, REWARD_B0)]
        assert len(await world.spent()) == 1


async def test_another_chain_with_the_same_id_is_refused(chain: Anvil, start_anvil: StartAnvil, tmp_path: Path) -> None:
    async with lane_world(chain, tmp_path / "journal") as world:
        await world.send(account(1))
    other = await start_anvil(AnvilOptions(no_mining=True, timestamp=1_700_000_000))
    with pytest.raises(StoreError, match="genesis"):
        async with lane_world(other, tmp_path / "journal"):
            pass
