"""A restart goes on from the store, whatever the chain did meanwhile, and never from a store that is not its own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from keeper.chain.endpoint import Endpoint
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.model import Header, Reader
from keeper.store.mirror import MirrorStore
from tests.chain.mirroring import exact, identity, mirroring
from tests.chain.tally import TallyDevnet, TallyMirror, deploy_tally
from tests.conftest import StartAnvil


async def lived_in(anvil: Anvil, draw: Random) -> TallyDevnet:
    """A market with some history, on a chain that mines when told."""
    tally = await deploy_tally(anvil)
    await anvil.set_automine(False)
    for _ in range(10):
        await tally.act(draw, [tally.address], 5)
        await anvil.mine()
    return tally


async def test_a_restart_reads_only_what_changed(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(1)
    tally = await lived_in(anvil, draw)
    endpoints = [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)]
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    await tally.act(draw, [tally.address], 5)
    await anvil.mine(300)
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert mirror.rpc.calls["eth_getLogs"] <= 3
        assert mirror.rpc.calls.total() < 15
    assert mirror.rebuilt == 0


async def test_a_restart_undoes_a_reorg_that_took_its_head_away(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(2)
    tally = await lived_in(anvil, draw)
    endpoints = [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)]
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        for _ in range(8):
            await tally.act(draw, [tally.address], 5)
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    await tally.reorg(draw, [tally.address], 6)
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert mirror.rpc.calls["eth_getCode"] <= 1
    assert mirror.rebuilt == 0


async def test_a_sample_that_differs_from_the_chain_has_everything_read_anew(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(3)
    tally = await lived_in(anvil, draw)
    endpoints = [Endpoint(anvil.http_url)]
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    store = await MirrorStore.open(tmp_path / "mirror", identity(mirror.market, 31337))
    stored = await store.load()
    assert stored is not None
    wrong = min((row for row in stored.rows if row.kind == "value"), key=lambda row: row.key)
    await store.save([replace(wrong, payload=b"123456")], stored.blocks)
    await store.close()
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)


async def test_a_market_that_grows_is_followed_where_it_grew(anvil: Anvil, tmp_path: Path) -> None:
    """Logs of a contract that was met a moment ago are not missed, nor undone by halves."""
    draw = Random(4)
    tally = await lived_in(anvil, draw)
    market = TallyMirror(tally.address)
    async with mirroring(market, [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)], tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        for _ in range(5):
            await tally.open()
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
            await tally.act(draw, [market.branches[-1]], 6)
            await anvil.mine(draw.randrange(1, 30))
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
            await tally.reorg(draw, market.branches, 2)
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)


async def test_every_block_is_seen_in_order_and_linked(anvil: Anvil, tmp_path: Path) -> None:
    tally = await deploy_tally(anvil)
    async with mirroring(TallyMirror(tally.address), [Endpoint(anvil.ws_url)], tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        for _ in range(10):
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        moves = [advance.head for advance in mirror.advances]
        for before, after in itertools.pairwise(moves):
            assert after.hash == before.hash or after.parent_hash == before.hash


async def test_idle_blocks_cost_nothing_once_a_bloom_has_proved_true(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(5)
    tally = await lived_in(anvil, draw)
    market = TallyMirror(tally.address)
    async with mirroring(market, [Endpoint(anvil.ws_url)], tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        before = mirror.rpc.calls["eth_getLogs"]
        for _ in range(5):
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert before + 5 <= mirror.rpc.calls["eth_getLogs"] <= before + 6
        await tally.act(draw, [tally.address], 3)
        await anvil.mine()
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        before = mirror.rpc.calls["eth_getLogs"]
        for _ in range(20):
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert mirror.rpc.calls["eth_getLogs"] == before


class TakenAway(TallyMirror):
    """Its head is reorganised away between the look at the chain and the first read."""

    tally: TallyDevnet
    bootstraps = 0

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        self.bootstraps += 1
        if self.bootstraps == 1:
            await self.tally.reorg(Random(11), [self.tally.address], 3)
        await super().bootstrap(reader, head)


async def test_a_reorg_while_everything_is_read_has_it_read_at_the_next_head(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(10)
    tally = await lived_in(anvil, draw)
    market = TakenAway(tally.address)
    market.tally = tally
    async with mirroring(market, [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)], tmp_path / "mirror") as mirror:
        async with asyncio.timeout(20):
            while mirror.head is None and mirror.task is not None and not mirror.task.done():  # noqa: ASYNC110 - no event says that it was read
                await asyncio.sleep(0.01)
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    assert market.bootstraps == 2


async def test_a_polled_chain_is_followed_too(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(6)
    tally = await lived_in(anvil, draw)
    market = TallyMirror(tally.address)
    async with mirroring(market, [Endpoint(anvil.http_url)], tmp_path / "mirror") as mirror:
        for _ in range(5):
            await tally.act(draw, market.branches, 4)
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)


async def test_a_reorg_deeper_than_what_is_remembered_has_everything_read_anew(anvil: Anvil, tmp_path: Path) -> None:
    draw = Random(7)
    tally = await lived_in(anvil, draw)
    await anvil.mine(80)
    async with mirroring(TallyMirror(tally.address), [Endpoint(anvil.ws_url)], tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        await tally.reorg(draw, [tally.address], 75)
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        assert mirror.rebuilt == 1


async def test_a_chain_of_quarter_second_blocks_is_followed_block_by_block(
    start_anvil: StartAnvil, tmp_path: Path
) -> None:
    anvil = await start_anvil(AnvilOptions(block_time=0.25))
    draw = Random(8)
    tally = await deploy_tally(anvil)
    market = TallyMirror(tally.address)
    async with mirroring(market, [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)], tmp_path / "mirror") as mirror:
        first = await anvil.block_number()
        while await anvil.block_number() < first + 12:
            await tally.act(draw, [tally.address], 2)
            await asyncio.sleep(0.1)
        await anvil.set_interval_mining(0)
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        moves = {advance.head.number for advance in mirror.advances}
        assert len(moves) >= 9, "nearly every block by itself"
        assert 0.1 < mirror.heads.block_time_s < 0.5
        assert mirror.heads.live


class TakenAwayAgain(TallyMirror):
    """Its head is reorganised away between catching up and the comparison with the chain."""

    tally: TallyDevnet
    audits = 0

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        self.audits += 1
        if self.audits == 1:
            await self.tally.reorg(Random(12), [self.tally.address], 3)
        return await super().audit(reader, accounts)


async def test_a_reorg_while_a_restart_is_compared_with_the_chain_has_it_compared_again(
    anvil: Anvil, tmp_path: Path
) -> None:
    draw = Random(13)
    tally = await lived_in(anvil, draw)
    endpoints = [Endpoint(anvil.ws_url), Endpoint(anvil.http_url)]
    async with mirroring(TallyMirror(tally.address), endpoints, tmp_path / "mirror") as mirror:
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
        for _ in range(4):
            await tally.act(draw, [tally.address], 5)
            await anvil.mine()
            await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    market = TakenAwayAgain(tally.address)
    market.tally = tally
    async with mirroring(market, endpoints, tmp_path / "mirror") as mirror:
        async with asyncio.timeout(20):
            while mirror.head is None and mirror.task is not None and not mirror.task.done():  # noqa: ASYNC110 - no event says that it was read
                await asyncio.sleep(0.01)
        await exact(mirror, lambda: TallyMirror(tally.address), anvil)
    assert market.audits == 2
