"""A Deri market kept up by the real ingestion equals a fresh one after random reorgs over random activity."""

from __future__ import annotations

from pathlib import Path
from random import Random

from keeper.chain.endpoint import Endpoint
from keeper.devnet.deri import DeriDevnet
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from tests.chain.mirroring import exact, mirroring
from tests.chain.test_deri_market import random_step

REORGS = 20


async def test_random_reorgs_over_random_activity_leave_no_trace(deri: DeriDevnet, tmp_path: Path) -> None:
    draw, node = Random(11), deri.node

    def market() -> DeriMarket:
        return DeriMarket(DeriMarketConfig("local", deri.pool.address, liquidators=(deri.liquidator,)))

    await node.mine(32)
    endpoints = [Endpoint(node.ws_url), Endpoint(node.http_url)]
    async with mirroring(market(), endpoints, tmp_path / "mirror") as mirror:
        for _ in range(3):
            # A reorg before the first look back has everything read anew, which is not what this is about.
            await exact(mirror, market, node)
            await node.mine()
        for _ in range(REORGS):
            for _ in range(draw.randrange(1, 4)):
                await random_step(deri, draw)
            if draw.random() < 0.5:
                await exact(mirror, market, node)
            await node.reorg(draw.randrange(1, 33))
            await exact(mirror, market, node)
        assert mirror.rebuilt == 0
        assert any(advance.undone for advance in mirror.advances)
