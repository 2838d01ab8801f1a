"""The Deri market against a real chain: the mirror stays exact, and every verdict is the contract's own."""

from __future__ import annotations

import random

from keeper.chain.blocks import logs_of
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_world import ONE, moved
from keeper.devnet.rpc import RpcError
from keeper.errors import ChainError
from keeper.model import Outcome, OutcomeState, Verdict, Window
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.price_server import Record
from tests.chain.following import Follower, following


def market_of(deri: DeriDevnet) -> DeriMarket:
    liquidators = (deri.liquidator, deri.stakers[0])
    return DeriMarket(DeriMarketConfig("local", deri.pool.address, (deri.oracle.url,), 0.05, liquidators))


async def fresh_digest(deri: DeriDevnet) -> str:
    market = market_of(deri)
    async with following(deri.node, market):
        return market.digest()


async def take_prices(deri: DeriDevnet, market: DeriMarket) -> None:
    """Hand the server's present readings over as a poll would."""
    now = market.mirror.head.timestamp
    oracles = {oracle.name: oracle for oracle in market.mirror.state.oracles.values()}
    for reading in await deri.readings():
        record = Record(reading.symbol, reading.timestamp, reading.value_e18, reading.v, reading.r, reading.s)
        assert market.prices.offer(record, oracles[reading.symbol], now) in ("", None)


async def random_step(deri: DeriDevnet, draw: random.Random) -> None:
    """Something that somebody does, whether the contracts allow it or not."""
    trader = draw.choice(deri.traders)
    symbol = draw.choice(deri.world.symbols)
    kind = draw.randrange(9)
    try:
        if kind == 0:
            await deri.confirm(await deri.add_margin(trader.owner, draw.randint(1, 10**21)))
        elif kind == 1:
            await deri.confirm(await deri.remove_margin(trader.owner, draw.randint(1, 10**20)))
        elif kind in (2, 3, 4):
            volume = draw.choice((-1, 1)) * draw.randint(1, 30) * symbol.terms.min_trade_volume_e18
            await deri.confirm(await deri.trade(trader.owner, symbol.name, volume))
        elif kind == 5:
            await deri.confirm(await deri.add_liquidity(draw.randint(1, 10**22)))
        elif kind == 6:
            deri.oracle.move({symbol.name: symbol.price_e18 * draw.randint(900, 1100) // 1000})
            await deri.confirm(*await deri.push_prices())
        elif kind == 7:
            await deri.confirm(await deri.add_margin(f"0x{draw.getrandbits(160):040x}", 10**20))
        else:
            await deri.confirm(await deri.liquidate(deri.stakers[0], trader.p_token_id))
    except (ChainError, RpcError):
        return  # refused: reverts leave nothing behind, and the mirror must not mind


async def test_a_bootstrap_reads_what_is_there(deri: DeriDevnet) -> None:
    market = market_of(deri)
    async with following(deri.node, market) as follower:
        state = market.mirror.state
        assert {symbol.params.name for symbol in state.symbols.values()} == {"BTCUSD", "ETHUSD", "BNBUSD"}
        assert market.accounts_watched() == len(deri.traders)
        for trader in deri.traders:
            account = state.accounts[trader.p_token_id]
            assert (account.owner, account.amount_b0) == (trader.owner, trader.margin_b0)
            held = [(state.symbols[p.symbol_id].params.name, p.volume, p.cost) for p in account.positions]
            assert held == [(p.symbol, p.volume_e18, p.cost_e18) for p in trader.positions]
        assert sum(follower.rpc.calls.values()) < 20


async def test_the_mirror_equals_a_fresh_one_after_anything(deri: DeriDevnet) -> None:
    draw = random.Random(7)
    market = market_of(deri)
    async with following(deri.node, market) as follower:
        await deri.node.mine(1, interval_seconds=deri.world.lock_seconds + 1)
        for step in range(60):
            await random_step(deri, draw)
            await follower.follow()
            if step % 15 == 14:
                assert market.digest() == await fresh_digest(deri)


async def check_verdicts(deri: DeriDevnet, market: DeriMarket, follower: Follower) -> set[Verdict]:
    head = market.mirror.head
    at = head.timestamp + 1
    round_ = market.round(Window(head.number + 1, at, at))
    said = await deri.verdicts(tag=head.number, at=at)
    candidates = set(round_.candidates())
    verdicts = set()
    for p_token_id, reason in said.items():
        assessment = round_.assess(str(p_token_id))
        assert (assessment.reason or None) == reason, assessment
        assert (assessment.verdict is Verdict.LIQUIDATABLE) == (reason is None)
        if reason is None:
            assert str(p_token_id) in candidates
        verdicts.add(assessment.verdict)
    return verdicts


async def test_every_verdict_is_the_chains_own(deri: DeriDevnet) -> None:
    draw = random.Random(11)
    market = market_of(deri)
    seen: set[Verdict] = set()
    async with following(deri.node, market) as follower:
        for change in ("-0.03", "-0.08", "0.12", "-0.2"):
            for _ in range(5):
                await random_step(deri, draw)
            await follower.follow()
            deri.oracle.move(moved(deri.world.symbols, change))
            await take_prices(deri, market)
            seen |= await check_verdicts(deri, market, follower)
    assert seen >= {Verdict.LIQUIDATABLE, Verdict.HEALTHY}


async def test_a_mined_liquidation_pays_what_was_predicted(deri: DeriDevnet) -> None:
    market = market_of(deri)
    caller = deri.stakers[0]
    async with following(deri.node, market) as follower:
        await deri.node.mine(2, interval_seconds=deri.world.lock_seconds)
        await follower.follow()
        deri.oracle.move(moved(deri.world.symbols, "-0.08"))
        await take_prices(deri, market)
        head = market.mirror.head
        round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
        account = round_.candidates()[0]
        predicted, call = round_.assess(account), round_.call(account)
        assert predicted.verdict is Verdict.LIQUIDATABLE
        await deri.node.set_next_block_timestamp(head.timestamp + 1)
        async with deri.node.impersonate(caller):
            request = {"from": caller, "to": call.to, "data": "0x" + call.data.hex(), "gas": hex(call.gas_limit)}
            sent = str(await deri.node.rpc("eth_sendTransaction", dict(request)))
        [receipt] = await deri.confirm(sent)
        await follower.follow()
        logs = logs_of(receipt["logs"])
        outcome = Outcome("local", account, OutcomeState.MINED)
        assert market.realised_reward_b0(outcome, logs) == predicted.reward_b0 >= 10 * ONE
        assert market.mirror.state.accounts[int(account)].positions == ()
        assert int(str(receipt["gasUsed"]), 16) * 6 // 5 < call.gas_limit
