"""Where commands that look and don't act meet the chain: a market read at the present head, with its prices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from keeper.chain.answers import fields
from keeper.chain.blocks import header_of
from keeper.chain.calls import PinnedReader
from keeper.chain.configured import endpoints_of, liquidators_of
from keeper.chain.logs import PastLogs
from keeper.chain.rpc import Rpc
from keeper.errors import ConfigError
from keeper.model import Assessment, Eligibility, Header, Window
from keeper.protocols.market import Market, Trigger
from keeper.protocols.registry import make_market, nearest_of, prices_heard, triggers_of
from keeper.settings import ChainSettings, MarketSettings, Settings

LISTEN_S = 2.0
"""How long prices from off the chain are waited for; what says nothing new by then is taken as unchanged."""
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """One account as it stands now."""

    percent: float
    """By how much the price that hurts most has to move; infinite if none does it."""
    assessment: Assessment
    triggers: Sequence[Trigger]
    """Nearest first."""


@dataclass(frozen=True, slots=True)
class MarketDesk:
    """A market whose mirror stands at ``head``. ``open_market`` makes one."""

    name: str
    settings: MarketSettings
    chain: ChainSettings
    rpc: Rpc
    reader: PinnedReader
    head: Header
    market: Market
    liquidators: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The second after the head, in the block after it."""
        return Window(self.head.number + 1, self.head.timestamp + 1, self.head.timestamp + 1)

    def rights(self) -> dict[str, Eligibility]:
        """By liquidator."""
        return {address: self.market.eligibility(address, self.window.latest) for address in self.liquidators}

    def standings(self, count: int) -> list[Standing]:
        """The accounts nearest to liquidation."""
        opened = self.market.round(self.window)
        return [
            Standing(percent, opened.assess(account), triggers_of(self.market, account, self.window))
            for percent, account in nearest_of(self.market, self.window, count)
        ]


def chosen(settings: Settings, market: str | None) -> list[str]:
    """The market asked for, or all of them. Raises ``ConfigError`` for one that is not configured."""
    if market is None:
        return list(settings.markets)
    if market not in settings.markets:
        raise ConfigError(f"a market {market!r}", "there is none", f"use one of: {', '.join(settings.markets)}")
    return [market]


@asynccontextmanager
async def open_market(settings: Settings, name: str, listen_s: float = LISTEN_S) -> AsyncIterator[MarketDesk]:
    """Connect, read the market at the head, and hear its prices once. Raises ``KeeperError``."""
    wanted = settings.markets[name]
    chain = settings.chains[wanted.chain]
    liquidators = liquidators_of(wanted.chain, chain)
    async with Rpc(endpoints_of(chain), chain.chain_id) as rpc:
        head = await head_of(rpc)
        reader = PinnedReader(rpc)
        market = make_market(name, wanted, liquidators, None, PastLogs(rpc))
        await market.bootstrap(reader, head)
        if listen_s:
            await hear_prices(market, listen_s)
        yield MarketDesk(name, wanted, chain, rpc, reader, head, market, liquidators)


async def head_of(rpc: Rpc) -> Header:
    """The present head."""
    return header_of(fields(await rpc.request("eth_getBlockByNumber", ["latest", False])))


async def hear_prices(market: Market, listen_s: float) -> bool:
    """Listen to the market's price sources until all were heard. False if some were not."""
    heard = asyncio.Event()
    # A price that is signed anew and has not moved is no news, so news are not all that is looked for.
    watching = asyncio.create_task(market.watch(lambda _tick: heard.set()))
    try:
        async with asyncio.timeout(listen_s):
            while not prices_heard(market):
                heard.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), POLL_S)
    except TimeoutError:
        return False
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return True
