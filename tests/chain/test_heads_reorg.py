"""After any reorg the mirror equals one that was read from nothing."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from keeper.chain.endpoint import Endpoint
from keeper.devnet.anvil import Anvil
from tests.chain.mirroring import exact, mirroring
from tests.chain.tally import TallyMirror, deploy_tally

CHAINS = 8
REORGS = 25
"""On each chain: Anvil forgets old states after some two thousand blocks, and then reorgs into nonsense."""
DEEPEST = 32


@pytest.mark.parametrize("seed", range(CHAINS))
async def test_random_reorgs_over_random_activity_leave_no_trace(anvil: Anvil, tmp_path: Path, seed: int) -> None:
    draw = Random(seed)
    tally = await deploy_tally(anvil)
    await anvil.set_automine(False)
    await anvil.mine(DEEPEST)
    market = TallyMirror(tally.address)
    async with mirroring(market, [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)], tmp_path / "mirror") as mirror:
        for _ in range(REORGS):
            for _ in range(draw.randrange(1, 4)):
                await tally.act(draw, market.branches, draw.randrange(6))
                await anvil.mine(draw.choice((1, 1, 1, 20)))
            if draw.random() < 0.5:
                await exact(mirror, lambda: TallyMirror(tally.address), anvil)
            await tally.reorg(draw, market.branches, draw.randrange(1, DEEPEST + 1))
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert any(advance.undone for advance in mirror.advances)
        assert market.accounts_watched() > 20
        assert len(market.branches) > 1
