"""Everything that can be wrong before the first block, each looked at by itself and said with what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator

from keeper.doctor.chains import examine_chain, reach
from keeper.doctor.findings import Finding
from keeper.doctor.host import examine_host
from keeper.doctor.markets import examine_market
from keeper.doctor.relays import examine_relay
from keeper.settings import Settings


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at the machine, every chain in use, and every market. Sends nothing.

    What is asked of a chain beyond its endpoints is asked of those that keep up.
    """
    async for finding in examine_host(settings):
        yield finding
    chains = dict(settings.chains)
    for name in sorted({market.chain for market in settings.markets.values()}):
        reached = await reach(name, settings.chains[name])
        for finding in reached.findings:
            yield finding
        if reached.best is None:
            del chains[name]
            continue
        chains[name] = reached.chain
        async for finding in examine_chain(name, reached.chain, reached.best, settings.mode):
            yield finding
    usable = settings.model_copy(update={"chains": chains})
    for name, market in settings.markets.items():
        if market.chain in chains:
            async for finding in examine_market(name, usable):
                yield finding
        if market.relay is not None:
            async for finding in examine_relay(name, market.relay, settings.chains[market.chain].chain_id):
                yield finding
