"""Fixtures for tests that need a market on a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from keeper.devnet.anvil import Anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import three_futures


@pytest.fixture
async def deri(anvil: Anvil) -> AsyncIterator[DeriDevnet]:
    """A Deri Lite market with 30 traders on three futures, on an Anvil that mines a block for every transaction."""
    async with deri_market(anvil, three_futures(30)) as market:
        yield market
