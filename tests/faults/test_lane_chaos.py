"""Random trouble in random order: whatever happens, the books agree with the chain in the end.

``KEEPER_CHAOS`` sets how many sequences are played.
"""

from __future__ import annotations

import os
import random
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.chain.gas import FeeSettings
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.model import OutcomeState
from keeper.store.ledger import entries
from tests.chain.lane_world import (
    COIN,
    GWEI,
    MARKET,
    REWARD_B0,
    SETTINGS,
    SIGNER,
    World,
    account,
    lane_world,
    prepare,
)
from tests.conftest import StartAnvil

STEPS = 50
SEQUENCES = int(os.environ.get("KEEPER_CHAOS", "5"))
CALM = replace(SETTINGS, fees=FeeSettings(tip_wei=GWEI, max_fee_wei=80 * GWEI), finality_blocks=6)


class Chaos:
    """One sequence: a lane that is opened and closed, and a chain that is not kind to it."""

    def __init__(self, anvil: Anvil, path: Path, stack: AsyncExitStack, chance: random.Random) -> None:
        self.anvil, self.path, self.stack, self.chance = anvil, path, stack, chance
        self.accounts: list[str] = []
        self.done: list[str] = []

    async def restart(self) -> None:
        await self.stack.aclose()
        self.world: World = await self.stack.enter_async_context(lane_world(self.anvil, self.path, settings=CALM))

    async def submit(self) -> None:
        names = [account(len(self.accounts) + number) for number in range(self.chance.randint(1, 5))]
        self.accounts += names
        await self.world.send(*names, reward_wei=self.chance.choice([4, 20, 1_000]) * GWEI * 120_000)

    async def mine(self) -> None:
        await self.world.mine()

    async def base_fee(self) -> None:
        fee_wei = self.chance.choice([GWEI, 5 * GWEI, 30 * GWEI, 90 * GWEI])
        await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(fee_wei))
        await self.world.mine()

    async def lose(self) -> None:
        await self.anvil.rpc("anvil_dropAllTransactions")

    async def reorg(self) -> None:
        height = await self.anvil.quantity("eth_blockNumber")
        if height > 3:
            await self.anvil.rpc("anvil_reorg", self.chance.randint(1, 2), [])
            await self.world.turn()

    async def withdraw(self) -> None:
        if under_way := self.world.lane.accounts_in_flight(MARKET):
            self.world.lane.withdraw(MARKET, self.chance.choice(under_way), "a whim")

    async def rival(self) -> None:
        if under_way := self.world.lane.accounts_in_flight(MARKET):
            await self.world.rival_takes(self.chance.choice(under_way))

    async def play(self) -> None:
        await self.restart()
        kinds = [self.submit] * 5 + [self.mine] * 6 + [self.base_fee] * 2
        kinds += [self.lose, self.reorg, self.withdraw, self.rival, self.restart]
        for _ in range(STEPS):
            await self.chance.choice(kinds)()

    async def calm_down(self) -> None:
        """A cheap base fee and blocks until nothing is under way and nothing can be undone."""
        for _ in range(60):
            await self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
            await self.world.mine()
            if not self.world.lane.accounts_in_flight(MARKET):
                break
        for _ in range(8):
            await self.world.mine()


@pytest.mark.parametrize("seed", range(SEQUENCES))
async def test_the_books_agree_with_the_chain_whatever_happens(
    start_anvil: StartAnvil, tmp_path: Path, seed: int
) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True, gas_limit=600_000))
    await prepare(anvil)
    async with AsyncExitStack() as stack:
        chaos = Chaos(anvil, tmp_path / "journal", stack, random.Random(seed))
        await chaos.play()
        await chaos.calm_down()
        world = chaos.world
        assert not world.lane.accounts_in_flight(MARKET)
        await world.journal.drain()
        found = await entries(world.journal.engine)
        takers = [await world.taker(name) for name in chaos.accounts]
        ours = sum(taker == SIGNER.address.lower() for taker in takers)
        mined = [entry for entry in found if entry.state is OutcomeState.MINED]
        assert len(mined) == len({entry.account for entry in mined}) == ours > 0
        assert sum(entry.reward_b0 for entry in mined) == REWARD_B0 * ours
        balance_wei = await anvil.quantity("eth_getBalance", SIGNER.address, "latest")
        assert sum(entry.fee_wei for entry in found) == 1000 * COIN - balance_wei
        on_chain = [entry for entry in found if entry.block_number is not None and entry.gas_used]
        assert len(on_chain) == await world.chain_nonce()
