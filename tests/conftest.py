"""Fixtures for every test that needs a chain: one way to start Anvil, and every one of them is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
import structlog

import keeper.chain.eth_accounts  # noqa: F401 - before any test imports web3: it keeps the recursion limit as it is
from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil

StartAnvil = Callable[[AnvilOptions], Awaitable[Anvil]]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command under test sets the process's logging up; the next test starts with the usual one."""
    yield
    structlog.reset_defaults()


@pytest.fixture
async def anvil() -> AsyncIterator[Anvil]:
    """An Anvil that mines a block for every transaction."""
    async with run_anvil() as node:
        yield node


@pytest.fixture
async def start_anvil() -> AsyncIterator[StartAnvil]:
    """Start as many Anvils as a test wants, with the options it wants: ``await start_anvil(AnvilOptions(...))``."""
    async with AsyncExitStack() as stack:

        async def start(options: AnvilOptions) -> Anvil:
            return await stack.enter_async_context(run_anvil(options))

        yield start
