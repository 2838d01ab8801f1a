"""Whatever a node does to the keeper, the mirror is exact within five seconds of its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
import structlog

from keeper.chain.endpoint import Endpoint
from keeper.devnet.anvil import Anvil, AnvilOptions
from tests.chain.mirroring import exact, mirroring
from tests.chain.tally import TallyDevnet, TallyMirror, deploy_tally
from tests.conftest import StartAnvil
from tests.faults.proxy import Fault, faulty_node

log = structlog.get_logger(__name__)

WITHIN_S = 5.0
BLOCKS = 8
SECONDS_BETWEEN = 0.12


async def live(tally: TallyDevnet, draw: Random, market: TallyMirror, blocks: int = BLOCKS) -> None:
    """Random activity for a while."""
    for _ in range(blocks):
        await tally.act(draw, market.branches, draw.randrange(1, 4))
        await tally.node.mine()
        await asyncio.sleep(SECONDS_BETWEEN)


async def fork_of(start_anvil: StartAnvil, anvil: Anvil, tally: TallyDevnet, draw: Random) -> Anvil:
    """Another node that shares the past and goes on by itself for three blocks."""
    number = await anvil.block_number()
    other = await start_anvil(AnvilOptions(fork_url=anvil.http_url, fork_block_number=number, no_mining=True))
    fork = TallyDevnet(other, tally.address, tally.senders)
    await live(fork, draw, TallyMirror(tally.address), 3)
    return other


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_the_mirror_is_exact_after_the_only_node_was_faulty(
    anvil: Anvil, start_anvil: StartAnvil, tmp_path: Path, fault: Fault
) -> None:
    draw = Random(fault.name)
    tally = await deploy_tally(anvil)
    await anvil.set_automine(False)
    market = TallyMirror(tally.address)
    async with faulty_node(anvil.http_url) as node:
        other = await fork_of(start_anvil, anvil, tally, draw) if fault is Fault.FORKED else anvil
        async with mirroring(market, [Endpoint(node.ws_url), Endpoint(node.http_url)], tmp_path / "mirror") as mirror:
            await live(tally, draw, market, 3)
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
            async with node.suffering(fault, other.http_url):
                await live(tally, draw, market)
            took = await exact(mirror, lambda: TallyMirror(tally.address), anvil, WITHIN_S)
            log.info("exact again", fault=fault.name, seconds=round(took, 2))


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
async def test_the_mirror_stays_exact_while_one_node_of_two_is_faulty(
    anvil: Anvil, start_anvil: StartAnvil, tmp_path: Path, fault: Fault
) -> None:
    draw = Random(fault.name)
    tally = await deploy_tally(anvil)
    await anvil.set_automine(False)
    market = TallyMirror(tally.address)
    async with faulty_node(anvil.http_url) as node:
        other = await fork_of(start_anvil, anvil, tally, draw) if fault is Fault.FORKED else anvil
        endpoints = [
            Endpoint(url, priority)
            for priority, url in enumerate((node.ws_url, node.http_url, anvil.ws_url, anvil.http_url))
        ]
        async with mirroring(market, endpoints, tmp_path / "mirror") as mirror:
            await live(tally, draw, market, 3)
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
            async with node.suffering(fault, other.http_url):
                await live(tally, draw, market)
                took = await exact(mirror, lambda: TallyMirror(tally.address), anvil, WITHIN_S)
                log.info("exact again", fault=fault.name, seconds=round(took, 2))
            await live(tally, draw, market, 2)
            await exact(mirror, lambda: TallyMirror(tally.address), anvil, WITHIN_S)
