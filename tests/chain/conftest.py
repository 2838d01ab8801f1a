"""Fixtures for tests that need a market, or what a lane sends to, on a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import three_futures
from tests.chain.lane_world import prepare
from tests.conftest import StartAnvil


@pytest.fixture
async def deri(anvil: Anvil) -> AsyncIterator[DeriDevnet]:
    """A Deri Lite market with 30 traders on three futures, on an Anvil that mines a block for every transaction."""
    async with deri_market(anvil, three_futures(30)) as market:
        yield market


@pytest.fixture
async def chain(start_anvil: StartAnvil) -> Anvil:
    """An Anvil that mines when told to, with the target in its place."""
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    await prepare(anvil)
    return anvil
