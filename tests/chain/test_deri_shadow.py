"""The running check against the chain: silent while all is well, and what it does when something is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
from structlog.testing import capture_logs

from keeper.chain.simulate import Simulator
from keeper.devnet.anvil import Anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import full_pool, three_futures
from keeper.errors import ChainError
from keeper.model import ReadCall, ReadResult
from keeper.protocols.deri import abi, settle
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.shadow import ANYBODY
from keeper.protocols.deri.state import AccountState
from keeper.protocols.deri.symbols import Prepared
from tests.chain.following import Follower, following
from tests.chain.test_deri_market import move, random_step, take_prices


@pytest.fixture
async def lite(anvil: Anvil) -> AsyncIterator[DeriDevnet]:
    async with deri_market(anvil, three_futures(20)) as market:
        yield market


@asynccontextmanager
async def shadowed(
    deri: DeriDevnet, accounts: int = 6, *, stops: bool = True
) -> AsyncIterator[tuple[DeriMarket, Follower]]:
    """A market with its check, driven by the test."""
    config = DeriMarketConfig(
        "local",
        deri.pool.address,
        liquidators=(deri.stakers[0],),
        shadow_accounts=accounts,
        shadow_stops_sending=stops,
    )
    # The simulator needs the connection that following opens, so it is lent afterwards.
    market = DeriMarket(config)
    async with following(deri.node, market) as follower:
        market.shadow.ask(Simulator(follower.rpc))
        yield market, follower


@pytest.mark.parametrize("world", [three_futures, full_pool], ids=["lite", "full"])
async def test_a_sound_market_is_never_contradicted(anvil: Anvil, world: object) -> None:
    draw = random.Random(5)
    async with (
        deri_market(anvil, three_futures(25) if world is three_futures else full_pool(25)) as deri,
        shadowed(deri, 8) as (market, follower),
    ):
        await deri.node.mine(2, interval_seconds=deri.world.lock_seconds)
        for change in ("0", "-0.05", "-0.1", "0.15"):
            await move(deri, change)
            for _ in range(4):
                await random_step(deri, draw)
                await follower.follow()
                await take_prices(deri, market)
                with capture_logs() as logs:
                    assert await market.shadow.check(follower.reader) == 0, logs
        assert market.shadow.mismatches == 0
        assert market.shadow.checked >= 16 * 4
        assert not market.shadow.stopped


async def test_a_wrong_mirror_stops_sending_and_is_read_again(lite: DeriDevnet) -> None:
    async with shadowed(lite, 40) as (market, follower):
        await lite.node.mine(2, interval_seconds=lite.world.lock_seconds)
        await follower.follow()
        at = market.mirror.head.timestamp
        assert market.eligibility(lite.stakers[0], at).allowed

        # Something moved and no event said so: storage is written behind the mirror's back.
        slot = market.mirror.state.pool.lps_pnl
        [place] = [n for n in range(40) if await storage(lite, n) == market.mirror.state.pool.liquidity]
        await lite.node.set_storage(lite.pool.address, place + 1, 10**18 + slot)
        await lite.node.mine(1)
        await follower.follow()
        with capture_logs() as logs:
            assert await market.shadow.check(follower.reader) >= 1
        assert logs[0]["event"] == "shadow check: the mirror of pool is wrong"
        assert "lps_pnl" in str(logs[0]["ours"])
        assert "lps_pnl" in str(logs[0]["chain"])
        refused = market.eligibility(lite.stakers[0], at)
        assert (refused.allowed, refused.reason) == (False, "shadow-mismatch")

        await lite.node.mine(1)
        await follower.follow()
        assert market.mirror.state.pool.lps_pnl == 10**18 + slot
        assert market.eligibility(lite.stakers[0], at).allowed
        assert await market.shadow.check(follower.reader) == 0


async def test_a_vault_that_counts_for_something_else_has_everything_read_again(anvil: Anvil) -> None:
    async with deri_market(anvil, full_pool(6)) as deri, shadowed(deri, 6) as (market, follower):
        assert await market.shadow.check(follower.reader) == 0
        markets = market.mirror._records.vault_markets if market.mirror._records else {}
        for v_token, known in list(markets.items()):
            markets[v_token] = replace(known, collateral_factor=known.collateral_factor + 10**15)
        with capture_logs() as logs:
            assert await market.shadow.check(follower.reader) > 0
        assert logs[0]["event"].startswith("shadow check: the mirror of the vault 0x")
        assert market.shadow.stopped
        await deri.node.mine(1)
        await follower.follow()
        assert not market.shadow.stopped
        assert await market.shadow.check(follower.reader) == 0


async def storage(deri: DeriDevnet, slot: int) -> int:
    return int(str(await deri.node.rpc("eth_getStorageAt", deri.pool.address, hex(slot), "latest")), 16)


def one_wei_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that thinks every account has a margin of nothing."""
    right = settle.decide

    def wrong(prepared: Prepared, account: AccountState) -> settle.Decision:
        return right(prepared, replace(account, amount_b0=-(10**24)))

    monkeypatch.setattr("keeper.protocols.deri.outlook.decide", wrong)


async def test_a_wrong_verdict_stops_sending_until_somebody_has_it_all_read_anew(
    lite: DeriDevnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shadowed(lite) as (market, follower):
        await lite.node.mine(2, interval_seconds=lite.world.lock_seconds)
        await follower.follow()
        assert not market.read_anew()  # nothing is stopped
        one_wei_off(monkeypatch)
        with capture_logs() as logs:
            assert await market.shadow.check(follower.reader) > 0
        told = logs[0]
        assert "the verdict on account" in told["event"]
        assert (told["ours"], told["chain"]) == ("liquidatable", "PoolImplementationLite.liquidate: cannot liquidate")
        assert "AccountState" in told["account"]
        assert not market.eligibility(lite.stakers[0], market.mirror.head.timestamp).allowed
        await lite.node.mine(1)
        await follower.follow()
        assert market.shadow.stopped
        monkeypatch.undo()
        assert [market.read_anew() for _ in range(3)] == [True, False, False]
        assert market.shadow.stopped  # until it has been read
        await lite.node.mine(1)
        await follower.follow()
        assert await market.shadow.check(follower.reader) == 0
        assert market.eligibility(lite.stakers[0], market.mirror.head.timestamp).allowed


async def test_the_policy_may_be_to_send_all_the_same(lite: DeriDevnet, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shadowed(lite, stops=False) as (market, follower):
        one_wei_off(monkeypatch)
        with capture_logs():
            assert await market.shadow.check(follower.reader) > 0
        assert market.shadow.mismatches > 0
        assert not market.shadow.stopped


class Mute:
    """A node that can't simulate until it is told to."""

    def __init__(self, simulator: Simulator) -> None:
        self.broken = True
        self.asked = 0
        self._simulator = simulator

    def was_asked(self, times: int) -> bool:
        return self.asked == times

    async def simulate(
        self,
        calls: Sequence[ReadCall],
        *,
        sender: str,
        block_hash: str,
        number: int,
        timestamp: int,
        code: Mapping[str, bytes],
    ) -> list[ReadResult]:
        self.asked += 1
        if self.broken:
            raise ChainError("a simulation", "the node has no overrides", "use another node")
        return await self._simulator.simulate(
            calls, sender=sender, block_hash=block_hash, number=number, timestamp=timestamp, code=code
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


async def test_each_head_has_a_check_and_a_node_that_cannot_is_told_once(lite: DeriDevnet) -> None:
    async with shadowed(lite) as (market, follower):
        node = Mute(Simulator(follower.rpc))
        market.shadow.ask(node)
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(market.shadow.run())
                for asked in (1, 2, 3):
                    await lite.node.mine(1)
                    await follower.follow()
                    await until(partial(node.was_asked, asked))
                node.broken = False
                await lite.node.mine(1)
                await follower.follow()
                await until(lambda: market.shadow.checked > 0)
                running.cancel()
        assert [entry["event"] for entry in logs] == ["the chain can't be asked for its verdicts"]
        assert not market.shadow.stopped


async def test_a_node_that_reverts_is_told_from_one_that_cannot(lite: DeriDevnet) -> None:
    async with shadowed(lite) as (market, follower):
        head = market.mirror.head
        ask = Simulator(follower.rpc).simulate
        manager, pool = lite.symbol_manager.address, lite.pool.address
        calls = [ReadCall(manager, abi.SYMBOLS_LENGTH.selector), ReadCall(pool, abi.LIQUIDATE + bytes(96))]
        results = await ask(
            calls, sender=pool, block_hash=head.hash, number=head.number + 1, timestamp=head.timestamp + 1, code={}
        )
        assert results[0] == ReadResult(True, abi.uint_word(3))
        assert not results[1].ok
        # With a privileger that lets everybody pass, the next check is the one that fails.
        privileger = market.mirror.wiring.privileger
        [passed] = await ask(
            calls[1:],
            sender=pool,
            block_hash=head.hash,
            number=head.number + 1,
            timestamp=head.timestamp + 1,
            code={privileger: ANYBODY},
        )
        assert abi.revert_reason(results[1].data) != abi.revert_reason(passed.data)
        with pytest.raises(ChainError):
            await ask(calls, sender=pool, block_hash="0x" + "ab" * 32, number=1, timestamp=1, code={})


async def test_every_account_has_its_turn(lite: DeriDevnet) -> None:
    async with shadowed(lite, 5) as (market, _):
        seen = {account.p_token_id for _ in range(10) for account in market.shadow.sample().accounts}
        assert seen == set(market.mirror.state.accounts)
