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
from keeper.chain.configured import endpoints_of
from keeper.chain.logs import PastLogs
from keeper.chain.rpc import Rpc
from keeper.errors import ConfigError
from keeper.model import Assessment, Eligibility, Header, PriceTick, Window
from keeper.protocols.market import Market, Trigger
from keeper.protocols.registry import make_market, nearest_of, triggers_of
from keeper.settings import ChainSettings, MarketSettings, Settings

LISTEN_S = 2.0
"""How long prices from off the chain are waited for; one that says nothing new by then is taken as unchanged."""


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


def liquidators_of(name: str, chain: ChainSettings) -> tuple[str, ...]:
    """Who liquidates on a chain, or would: the signers, else the configured address. Raises ``ConfigError`` for none.

    No key is touched.
    """
    found = tuple(entry.address for entry in chain.signers) or ((chain.liquidator,) if chain.liquidator else ())
    if not found:
        raise ConfigError(
            f"the address that would liquidate on {name}", "there is none", f"set chains.{name}.liquidator"
        )
    return found


def chosen(settings: Settings, market: str | None) -> list[str]:
    """The market asked for, or all of them. Raises ``ConfigError`` for one that is not configured."""
    if market is None:
        return list(settings.markets)
    if market not in settings.markets:
        raise ConfigError(f"a market {market!r}", "there is none", f"use one of: {', '.join(settings.markets)}")
    return [market]


@asynccontextmanager
async def open_market(settings: Settings, name: str) -> AsyncIterator[MarketDesk]:
    """Connect, read the market at the head, and hear its prices once. Raises ``KeeperError``."""
    wanted = settings.markets[name]
    chain = settings.chains[wanted.chain]
    liquidators = liquidators_of(wanted.chain, chain)
    async with Rpc(endpoints_of(chain), chain.chain_id) as rpc:
        head = await head_of(rpc)
        reader = PinnedReader(rpc)
        market = make_market(name, wanted, liquidators, None, PastLogs(rpc))
        await market.bootstrap(reader, head)
        await hear_prices(market)
        yield MarketDesk(name, wanted, chain, rpc, reader, head, market, liquidators)


async def head_of(rpc: Rpc) -> Header:
    """The present head."""
    return header_of(fields(await rpc.request("eth_getBlockByNumber", ["latest", False])))


async def hear_prices(market: Market, listen_s: float = LISTEN_S) -> bool:
    """Listen to the market's price sources until one says something new. False if none did."""
    heard = asyncio.Event()

    def emit(_tick: PriceTick) -> None:
        heard.set()

    watching = asyncio.create_task(market.watch(emit))
    listening = asyncio.create_task(heard.wait())
    try:
        await asyncio.wait({watching, listening}, timeout=listen_s, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not heard.is_set():
            await watching  # A market without sources returns at once; one that failed says so here.
    finally:
        for task in (watching, listening):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(watching, listening, return_exceptions=True)
    return heard.is_set()
