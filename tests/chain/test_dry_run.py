"""The dry end of a plan against its live end, on two Anvils: one plays the network, the keeper forks it by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from keeper.chain.budget import Limits
from keeper.chain.data_fee import NoDataFee
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.fork import Call, Executed, GasPrice
from keeper.chain.gas import FeeSettings
from keeper.chain.lane import Lane, LaneSettings
from keeper.chain.proving import FirstThatWorks, ForkGround, ProvingGround, SimulatedGround
from keeper.chain.relay import PublicRelay
from keeper.chain.rpc import Rpc
from keeper.chain.signer import LocalSigner
from keeper.devnet.anvil import Anvil, anvil_binary
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import moved, three_futures
from keeper.devnet.meridian import Cohort, MeridianWorld, deploy_meridian
from keeper.devnet.rpc import DevNode
from keeper.devnet.transactions import mined_by_hand
from keeper.engine.dry_run import DONE, DryRunExecutor, DryRunRecord
from keeper.engine.executors import Executor
from keeper.engine.live import LiveExecutor
from keeper.engine.loop import MarketLoop
from keeper.errors import ChainError, ConfigError
from keeper.model import Header, Liquidation, Outcome, OutcomeState, Row, Window
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.price_server import Record
from keeper.protocols.market import Market, Worth
from keeper.store.journal import Journal
from tests.chain.following import Follower, following
from tests.chain.meridian_market import market_of

WORLD = three_futures(24)
STAKE_DERI = 60_000 * 10**18
GWEI = 10**9
FEES = FeeSettings(tip_wei=GWEI, max_fee_wei=100 * GWEI)
PRICE = GasPrice(GWEI, 2 * GWEI)
WORTH = Worth(300 * 10**18, 0)


@dataclass(slots=True)
class NextSecond:
    """A clock that knows: the next block comes two seconds after the head."""

    head: Header

    def window(self) -> Window:
        return Window(self.head.number + 1, self.head.timestamp + 2, self.head.timestamp + 2)


@dataclass(slots=True)
class Planned:
    """An executor that passes everything on and remembers what was decided."""

    inner: Executor
    items: list[Liquidation] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        self.items += batch
        await self.inner.submit(batch, sender, head)


class NoDecisions:
    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool:
        return False


def ground(node: DevNode, rpc: Rpc) -> FirstThatWorks:
    return FirstThatWorks(ForkGround(anvil_binary(), [node.http_url], rpc.chain_id), SimulatedGround(rpc))


def dry_end(market: Market, liquidator: str, where: ProvingGround, clock: NextSecond, rpc: Rpc) -> DryRunExecutor:
    return DryRunExecutor(
        liquidator,
        where,
        rpc,
        clock.window,
        FeeWatch(rpc, FEES, NoDataFee()),
        lambda outcome: market.realised_reward_b0(outcome, outcome.logs),
        lambda outcome: None,
        DryRunRecord(),
    )


async def decide_once(market: Market, follower: Follower, clock: NextSecond, executor: Executor) -> list[Liquidation]:
    """One round of the real loop at the follower's head; what it handed to the executor."""
    planned = Planned(executor)
    round_done = asyncio.Event()
    rows = market.rows

    def ask_for_rows() -> Sequence[Row]:
        round_done.set()  # The loop asks for what has changed at the end of each turn.
        return rows()

    async def save(_head: Header, _rows: Sequence[Row]) -> None:
        """Nothing is kept."""

    loop = MarketLoop(
        market,
        follower.reader,
        clock,
        planned,  # type: ignore[arg-type]
        NoDecisions(),
        lambda: WORTH,
        save,
    )
    advance = await follower.follow()
    running = asyncio.create_task(loop.run(advance.head))
    ended = asyncio.create_task(round_done.wait())
    await asyncio.sleep(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(market, "rows", ask_for_rows)
        loop.offer(replace(advance, logs=()))
        await asyncio.wait({running, ended}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, ended):
        task.cancel()
    assert round_done.is_set(), running
    await asyncio.gather(running, ended, return_exceptions=True)
    return planned.items


async def live_outcomes(
    node: Anvil, market: Market, follower: Follower, clock: NextSecond, key: bytes, folder: Path
) -> tuple[list[Liquidation], dict[str, Outcome]]:
    """The same round with a lane at its end; the block after it is mined at the clock's second."""
    told: list[Outcome] = []
    journal = await Journal.open(folder / "live.sqlite")
    settings = LaneSettings(
        chain_id=follower.rpc.chain_id,
        fees=FEES,
        limits=Limits(hour_wei=10**19, day_wei=10**19),
    )
    lane = Lane(
        LocalSigner(key),
        follower.rpc,
        PublicRelay(follower.rpc),
        journal,
        settings,
        realised=lambda outcome: market.realised_reward_b0(outcome, outcome.logs),
        outcomes=told.append,
    )
    try:
        await lane.start(clock.head)
        planned = await decide_once(market, follower, clock, LiveExecutor([lane]))
        await lane.answered()
        await node.set_next_block_timestamp(clock.window().latest)
        await node.mine()
        await lane.on_head((await follower.follow()).head)
    finally:
        await lane.close()
        await journal.close()
    return planned, {outcome.account: outcome for outcome in told if outcome.state is OutcomeState.MINED}


async def same_at_both_ends(node: Anvil, market: Market, liquidator: str, key: bytes, folder: Path) -> DryRunRecord:
    """Decide and act dry, then live, from the same head: same decisions, same bytes, same rewards, same gas."""
    async with mined_by_hand(node), following(node, market) as follower:
        clock = NextSecond((await follower.follow()).head)
        executor = dry_end(market, liquidator, ground(node, follower.rpc), clock, follower.rpc)
        dry = await decide_once(market, follower, clock, executor)
        await executor.close()
        record = executor._record
        assert await node.block_number() == clock.head.number, "a dry run left a block on the live chain"
        assert await node.quantity("eth_getTransactionCount", liquidator, "pending") == await node.quantity(
            "eth_getTransactionCount", liquidator, "latest"
        )
        live, outcomes = await live_outcomes(node, market, follower, clock, key, folder)
    assert [(item.account, item.to, item.data, item.gas_limit, item.reward_b0) for item in dry] == [
        (item.account, item.to, item.data, item.gas_limit, item.reward_b0) for item in live
    ]
    assert len(record.trials) == len(dry) == len(outcomes) > 1
    for trial in record.trials:
        mined = outcomes[trial.account]
        assert trial.ok, trial
        assert (trial.block_number, trial.reward_b0) == (mined.block_number, mined.reward_b0), trial
        assert trial.gas_used == mined.gas_used
    return record


def deri_of(deri: DeriDevnet) -> DeriMarket:
    return DeriMarket(DeriMarketConfig("lite", deri.pool.address, liquidators=(deri.liquidator,)))


async def qualified(deri: DeriDevnet) -> None:
    await deri.confirm(await deri.stake(deri.liquidator, STAKE_DERI))
    await deri.node.set_next_block_timestamp(await deri.node.block_timestamp() + WORLD.lock_seconds)
    await deri.node.mine()


async def hear(deri: DeriDevnet, market: DeriMarket) -> None:
    """Hand the market the present prices, signed, as a price server would."""
    oracles = {oracle.name: oracle for oracle in market.mirror.state.oracles.values()}
    for it in await deri.readings():
        record = Record(it.symbol, it.timestamp, it.value_e18, it.v, it.r, it.s)
        assert market.prices.offer(record, oracles[it.symbol], await deri.node.block_timestamp()) == ""


class DeriThatHears(DeriMarket):
    """A market that is told the prices of a crash as soon as it stands."""

    def __init__(self, deri: DeriDevnet) -> None:
        super().__init__(DeriMarketConfig("lite", deri.pool.address, liquidators=(deri.liquidator,)))
        self._deri = deri

    async def bootstrap(self, reader: object, head: Header) -> None:
        await super().bootstrap(reader, head)  # type: ignore[arg-type]
        await hear(self._deri, self)


async def test_deri_dry_and_live_decide_and_earn_the_same(anvil: Anvil, tmp_path: Path) -> None:
    async with deri_market(anvil, WORLD) as deri:
        await qualified(deri)
        deri.oracle.move(moved(WORLD.symbols, "-0.09"))
        record = await same_at_both_ends(anvil, DeriThatHears(deri), deri.liquidator, deri.liquidator_key, tmp_path)
    assert all(trial.profit_wei > 0 for trial in record.trials)


async def test_meridian_dry_and_live_decide_and_earn_the_same(anvil: Anvil, tmp_path: Path) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld((Cohort("BTC", True, 5, Decimal("0.05")),)))
    await devnet.confirm(await devnet.set_price("BTC", 56_500))
    await same_at_both_ends(anvil, market_of(devnet), devnet.liquidator, devnet.liquidator_key, tmp_path)


async def test_what_was_tried_is_left_alone_until_somebody_else_closes_it(anvil: Anvil) -> None:
    async with deri_market(anvil, WORLD) as deri:
        await qualified(deri)
        deri.oracle.move(moved(WORLD.symbols, "-0.09"))
        market = DeriThatHears(deri)
        async with following(anvil, market) as follower:
            clock = NextSecond((await follower.follow()).head)
            executor = dry_end(market, deri.liquidator, ground(anvil, follower.rpc), clock, follower.rpc)
            first = await decide_once(market, follower, clock, executor)
            assert first
            await anvil.mine()
            again = await decide_once(market, follower, clock, executor)
            assert {item.account for item in again}.isdisjoint({item.account for item in first})
            account = first[0].account
            assert executor.held_back(deri.liquidator, "lite", account, 0) == DONE
            rival = deri.stakers[0]
            hashed = await deri.liquidate(rival, int(account))
            await deri.confirm(hashed)
            executor.closed("lite", account, hashed)
            assert executor.held_back(deri.liquidator, "lite", account, 0) == ""
            await executor.close()
            taken = executor._record.taken["lite", account]
            assert (taken.by, taken.block_number) == (rival, await anvil.block_number())


async def test_an_anvil_that_dies_is_replaced_and_without_one_the_node_simulates(
    anvil: Anvil, deri: DeriDevnet
) -> None:
    await qualified(deri)
    deri.oracle.move(moved(deri.world.symbols, "-0.09"))
    market = DeriThatHears(deri)
    async with following(anvil, market) as follower:
        head = (await follower.follow()).head
        clock = NextSecond(head)
        weak = sorted(await deri.liquidatable(at=clock.window().latest))
        opened = market.round(clock.window())
        calls = [Call(call.to, call.data, call.gas_limit) for call in (opened.call(str(account)) for account in weak)]
        calls.append(replace(calls[0]))  # the second time it has no position any more

        async def tried(where: ProvingGround) -> list[Executed]:
            return await where.try_out(calls, deri.liquidator, head, clock.window().latest, PRICE)

        both = ground(anvil, follower.rpc)
        forked = await tried(both)
        assert [each.ok for each in forked] == [True] * len(weak) + [False]
        assert "no position" in forked[-1].reason
        assert both.fork.fork is not None
        os.kill(both.fork.fork.pid, signal.SIGKILL)
        again = await tried(both)
        assert [(each.ok, each.gas_used, each.logs[0].data) for each in again[:-1]] == [
            (each.ok, each.gas_used, each.logs[0].data) for each in forked[:-1]
        ]
        await both.close()

        nowhere = ForkGround(Path("/nonexistent/anvil"), [anvil.http_url], 31337)
        with pytest.raises(ConfigError, match=r"fork\.anvil"):
            await nowhere.start()
        simulated = await tried(FirstThatWorks(nowhere, SimulatedGround(follower.rpc)))
        assert [(each.ok, each.reason, each.gas_used) for each in simulated] == [
            (each.ok, each.reason, each.gas_used) for each in forked
        ]
        one_by_one = SimulatedGround(follower.rpc)
        one_by_one._one_by_one = True
        each_alone = await tried(one_by_one)
        assert [each.ok for each in each_alone] == [True] * len(calls)
        assert not any(each.executed for each in each_alone)


async def test_a_fork_that_cannot_stand_at_the_head_names_no_credential(anvil: Anvil) -> None:
    await anvil.mine(3)
    secret = f"{anvil.http_url}/a-secret-token-in-the-path"
    head = Header(99, "0x" + "ab" * 32, "0x" + "00" * 32, 1, 1, 0, 1)
    where = ForkGround(anvil_binary(), [secret], 31337)
    with pytest.raises(ChainError) as raised:
        await where.try_out([], "0x" + "11" * 20, head, 1, PRICE)
    await where.close()
    assert "a-secret-token" not in str(raised.value)
    assert "block 99" in str(raised.value)
