"""The Meridian market against a real chain: the mirror stays exact, and every verdict is the contract's own."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from keeper.chain.blocks import logs_of
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import Anvil
from keeper.devnet.meridian import Holder, MeridianDevnet, MeridianWorld, deploy_meridian
from keeper.devnet.rpc import RpcError
from keeper.errors import ChainError, ProtocolError
from keeper.model import Advance, Log, Outcome, OutcomeState, Verdict, Window
from keeper.protocols.meridian import events
from keeper.protocols.meridian.liquidation import State, effective_test
from keeper.protocols.meridian.market import MeridianMarket, MeridianMarketConfig
from keeper.protocols.meridian.state import position_key
from keeper.protocols.meridian.triggers import funding_deadline
from keeper.protocols.meridian.unpaid import Policy, UnpaidTerms
from tests.chain.following import Follower
from tests.chain.meridian_market import COHORTS, NodeHistory, check_verdicts, digest_of_a_fresh_one, market_of, watching

ALICE = "0xA11ce000000000000000000000000000000A11cE"


@pytest.fixture
async def meridian(anvil: Anvil) -> MeridianDevnet:
    """Fourteen positions behind a timelock, on an Anvil that mines a block for every transaction."""
    return await deploy_meridian(anvil, MeridianWorld(COHORTS))


@pytest.fixture
async def direct(anvil: Anvil) -> MeridianDevnet:
    """The same positions in a vault that an ordinary account governs."""
    return await deploy_meridian(anvil, MeridianWorld(COHORTS, timelock=False))


def alice(devnet: MeridianDevnet, index: str, collateral: str, *, long: bool) -> Holder:
    tokens = devnet.tokens[collateral].address, devnet.tokens[index].address
    account = "0x" + bytes.fromhex(ALICE[2:]).hex()
    key = position_key(account, *tokens, long)
    return Holder(key, account, *tokens, long, -1)


def state_of(market: MeridianMarket, key: str) -> State:
    position, head = market.mirror.positions[key], market.mirror.head
    mark = market.mirror.feeds.quotes[position.index_token].at(head.timestamp + 1).mark(position.is_long)
    fee = market.mirror.access.margin_fee(market.route, market.mirror.vault.params.margin_fee_basis_points)
    return effective_test(market.mirror.vault, position, mark, head.timestamp + 1, fee).state


async def test_a_bootstrap_finds_every_open_position(meridian: MeridianDevnet) -> None:
    market = market_of(meridian)
    async with watching(meridian, market):
        assert market.mirror.positions.keys() == {holder.key for holder in meridian.holders}
        assert market.eligibility(meridian.liquidator, 0).reason == "listed"
        assert market.eligibility(ALICE, 0).reason == "not-listed"
        assert set((await check_verdicts(meridian, market)).values()) == {Verdict.HEALTHY}


@pytest.mark.parametrize("route", ["manager", "vault"])
async def test_verdicts_are_the_chains_on_both_routes(anvil: Anvil, route: str) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, timelock=route == "manager"))
    market = market_of(devnet)
    seen: set[Verdict] = set()
    async with watching(devnet, market) as follower:
        for btc, eth in ((59_000, 3_000), (57_300, 2_800), (56_000, 2_690), (66_500, 3_300), (60_000, 3_149)):
            await devnet.confirm(await devnet.set_price("BTC", btc), await devnet.set_price("ETH", eth))
            await follower.follow()
            seen |= set((await check_verdicts(devnet, market)).values())
    assert seen == {Verdict.LIQUIDATABLE, Verdict.HEALTHY}


async def test_partial_closes_at_a_loss_and_at_a_profit_are_mirrored(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    holder = alice(direct, "BTC", "BTC", long=True)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.increase(holder.account, "BTC", "BTC", 10_000, 2_000_000, True))
        await follower.follow()
        for price, pnl_sign in ((59_000, -1), (63_000, 1)):
            before = market.mirror.positions[holder.key]
            await direct.confirm(await direct.set_price("BTC", price))
            await direct.confirm(await direct.decrease(holder.account, "BTC", "BTC", 2_000, True))
            await follower.follow()
            after = market.mirror.positions[holder.key]
            assert after.size_e30 == before.size_e30 - 2_000 * 10**30
            assert after.average_price_e30 == before.average_price_e30
            assert (after.realised_pnl_e30 - before.realised_pnl_e30) * pnl_sign > 0
            assert after.last_increased_time == before.last_increased_time
            assert market.digest() == await digest_of_a_fresh_one(direct)
            await check_verdicts(direct, market, holders=[holder])


async def test_a_deposit_without_size_moves_the_trigger_and_the_time(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    holder = alice(direct, "BTC", "BTC", long=True)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.increase(holder.account, "BTC", "BTC", 10_000, 400_000, True))
        await direct.confirm(await direct.set_price("BTC", 58_750))
        await follower.follow()
        assert (await check_verdicts(direct, market, holders=[holder]))[holder.key] is Verdict.LIQUIDATABLE
        opened = market.mirror.positions[holder.key]
        await direct.node.mine(1, interval_seconds=100)
        await direct.confirm(await direct.increase(holder.account, "BTC", "BTC", 0, 400_000, True))
        await follower.follow()
        topped_up = market.mirror.positions[holder.key]
        assert topped_up.size_e30 == opened.size_e30
        assert topped_up.last_increased_time > opened.last_increased_time
        assert market.digest() == await digest_of_a_fresh_one(direct)
        assert (await check_verdicts(direct, market, holders=[holder]))[holder.key] is Verdict.HEALTHY


async def test_a_key_is_used_again_after_a_close(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    holder = alice(direct, "ETH", "USDC", long=False)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.increase(holder.account, "ETH", "USDC", 5_000, 500 * 10**6, False))
        await follower.follow()
        await direct.confirm(await direct.decrease(holder.account, "ETH", "USDC", 5_000, False))
        await follower.follow()
        assert holder.key not in market.mirror.positions
        await direct.confirm(await direct.increase(holder.account, "ETH", "USDC", 7_000, 200 * 10**6, False))
        await follower.follow()
        assert market.mirror.positions[holder.key].size_e30 == 7_000 * 10**30
        await direct.confirm(await direct.set_price("ETH", 3_085))
        await follower.follow()
        assert (await check_verdicts(direct, market, holders=[holder]))[holder.key] is Verdict.LIQUIDATABLE
        assert market.digest() == await digest_of_a_fresh_one(direct)


async def test_close_and_reopen_within_one_block_leaves_the_last_word(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    holder = alice(direct, "ETH", "USDC", long=False)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.increase(holder.account, "ETH", "USDC", 5_000, 500 * 10**6, False))
        await follower.follow()
        await direct.node.set_automine(False)
        await direct.decrease(holder.account, "ETH", "USDC", 5_000, False)
        reopened = await direct.increase(holder.account, "ETH", "USDC", 6_000, 400 * 10**6, False)
        await direct.node.mine()
        await direct.confirm(reopened)
        await follower.follow()
        assert market.mirror.positions[holder.key].size_e30 == 6_000 * 10**30
        assert market.digest() == await digest_of_a_fresh_one(direct)


async def test_state_2_closes_for_the_trader_and_pays_nobody(meridian: MeridianDevnet) -> None:
    always = UnpaidTerms(Policy.ALWAYS, most_wei=10**16, native_price_e18=600 * 10**18)
    market, never = market_of(meridian, unpaid=always), market_of(meridian)
    holder = meridian.holders[0]
    async with watching(meridian, market) as follower, watching(meridian, never) as follower_2:
        # Liquidated for its collateral 5 % below 60,000; above the leverage limit somewhat before.
        await meridian.confirm(await meridian.set_price("BTC", 57_300))
        await follower.follow()
        await follower_2.follow()
        await check_verdicts(meridian, market)
        assert state_of(market, holder.key) is State.CLOSE
        head = market.mirror.head
        window = Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)
        assessment = market.round(window).assess(holder.key)
        assert (assessment.reward_b0, assessment.value_e18) == (0, 6 * 10**18)
        assert never.round(window).assess(holder.key).value_e18 == 0
        receipt = (await meridian.confirm(await meridian.liquidate(meridian.liquidator, holder)))[0]
        advance = await follower.follow()
        assert market.closures(advance.logs) == [(holder.key, receipt["transactionHash"])]
        logs = logs_of(receipt["logs"])
        outcome = Outcome("local", holder.key, OutcomeState.MINED, fee_wei=10**15, logs=logs)
        assert market.realised_reward_b0(outcome, logs) == 0
        assert market.unpaid.spent_wei(market.mirror.head.timestamp) == 10**15
        assert holder.key not in market.mirror.positions


async def test_a_liquidation_pays_what_was_expected(meridian: MeridianDevnet) -> None:
    market = market_of(meridian)
    async with watching(meridian, market) as follower:
        await meridian.confirm(await meridian.set_price("BTC", 56_700))
        await follower.follow()
        head = market.mirror.head
        round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 3))
        account = round_.candidates()[0]
        expected = round_.assess(account).reward_b0
        holder = next(h for h in meridian.holders if h.key == account)
        receipt = (await meridian.confirm(await meridian.liquidate(meridian.liquidator, holder)))[0]
        await follower.follow()
        logs = logs_of(receipt["logs"])
        outcome = Outcome("local", account, OutcomeState.MINED, logs=logs)
        assert market.realised_reward_b0(outcome, logs) == expected > 4.9 * 10**18


async def test_what_a_round_assumes_closed_is_what_the_chain_has_afterwards(meridian: MeridianDevnet) -> None:
    market = market_of(meridian)
    async with watching(meridian, market) as follower:
        await meridian.confirm(await meridian.set_price("BTC", 56_700), await meridian.set_price("ETH", 3_200))
        await follower.follow()
        await meridian.node.set_automine(False)
        head = market.mirror.head
        second = head.timestamp + 2
        round_ = market.round(Window(head.number + 1, second, second))
        keys = [key for key in round_.candidates() if round_.assess(key).verdict is Verdict.LIQUIDATABLE]
        assert len(keys) == 8
        holders = {holder.key: holder for holder in meridian.holders}
        sent = []
        for key in keys:
            round_.close(key)
            sent.append(await meridian.liquidate(meridian.liquidator, holders[key]))
        await meridian.node.set_next_block_timestamp(second)
        await meridian.node.mine()
        await meridian.confirm(*sent)
        await follower.follow()
        assert round_.vault == market.mirror.vault


async def test_funding_that_crosses_an_interval_in_the_same_block_is_foreseen(direct: MeridianDevnet) -> None:
    market = market_of(direct, settings_every_s=0)
    holder = alice(direct, "BTC", "BTC", long=True)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.govern("setFundingRate", 3600, 100_000, 100_000))
        await direct.confirm(await direct.increase(holder.account, "BTC", "BTC", 500_000_000, 85_000_000_000, True))
        await follower.follow()
        position, head = market.mirror.positions[holder.key], market.mirror.head
        token, params = market.mirror.vault.token(position.collateral_token), market.mirror.vault.params
        mark = market.mirror.feeds.quotes[position.index_token].at(head.timestamp).min_e30
        due = funding_deadline(
            position,
            mark,
            head.timestamp,
            token,
            params,
            margin_fee_basis_points=params.margin_fee_basis_points,
            min_profit_basis_points=0,
        )
        assert due is not None
        assert due % 3600 == 0
        await direct.node.set_next_block_timestamp(due - 3)
        await direct.node.mine()
        await follower.follow()
        number = market.mirror.head.number + 1
        for earliest, latest, verdict in (
            (due - 2, due - 1, Verdict.HEALTHY),
            (due - 2, due, Verdict.MARGINAL),
            (due, due + 1, Verdict.LIQUIDATABLE),
        ):
            round_ = market.round(Window(number, earliest, latest))
            assert round_.assess(holder.key).verdict is verdict
            assert (holder.key in round_.candidates()) or verdict is Verdict.HEALTHY
        await check_verdicts(direct, market, at=due - 1, holders=[holder])
        await check_verdicts(direct, market, at=due, holders=[holder])
        # Somebody else's transaction updates the funding first, in the same block: the verdict is the same.
        await direct.node.set_automine(False)
        await direct.node.set_next_block_timestamp(due)
        updated = await direct.set_price("ETH", 3_000)
        closed = await direct.liquidate(direct.liquidator, holder)
        await direct.node.mine()
        await direct.confirm(updated, closed)


async def test_private_mode_switched_on_closes_the_vaults_own_route(anvil: Anvil) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(COHORTS, timelock=False, private=False))
    market = market_of(devnet, settings_every_s=0)
    async with watching(devnet, market) as follower:
        assert market.eligibility(ALICE, 0).reason == "open"
        await devnet.confirm(await devnet.govern("setInPrivateLiquidationMode", True))
        await follower.follow()
        assert market.eligibility(ALICE, 0).reason == "not-listed"
        assert market.eligibility(devnet.liquidator, 0).reason == "listed"


async def test_our_address_removed_from_the_list_is_seen_in_that_block(meridian: MeridianDevnet) -> None:
    market = market_of(meridian, settings_every_s=3600)
    async with watching(meridian, market) as follower:
        await meridian.confirm(await meridian.set_price("BTC", 56_700))
        await follower.follow()
        assert market.eligibility(meridian.liquidator, 0).allowed
        await meridian.confirm(await meridian.list_liquidator(meridian.liquidator, active=False))
        await follower.follow()
        refused = market.eligibility(meridian.liquidator, 0)
        assert (refused.allowed, refused.reason) == (False, "not-listed")
        said = await meridian.verdicts(meridian.holders[:1], at=market.mirror.head.timestamp + 1)
        assert set(said.values()) == {"PositionManager: forbidden"}


async def test_an_idle_block_costs_one_call_and_an_understood_price_none(meridian: MeridianDevnet) -> None:
    market = market_of(meridian, settings_every_s=3600)
    async with watching(meridian, market) as follower:
        await follower.follow()
        before = sum(follower.rpc.calls.values())
        await meridian.node.mine()
        await follower.follow()
        assert sum(follower.rpc.calls.values()) == before + 1
        await meridian.confirm(await meridian.set_price("BTC", 56_700))
        await follower.follow()
        assert sum(follower.rpc.calls.values()) == before + 1
        assert Verdict.LIQUIDATABLE in (await check_verdicts(meridian, market)).values()


async def test_a_reorg_is_undone(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    holder = alice(direct, "BTC", "BTC", long=True)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.increase(holder.account, "BTC", "BTC", 10_000, 1_000_000, True))
        await direct.confirm(await direct.set_price("BTC", 50_000))
        await follower.follow()
        assert holder.key in market.mirror.positions
        await direct.node.reorg(4)
        await follower.follow()
        assert holder.key not in market.mirror.positions
        assert market.mirror.feeds.quotes[holder.index_token].at(0).min_e30 == 60_000 * 10**30
        assert market.digest() == await digest_of_a_fresh_one(direct)


async def test_an_audit_finds_what_the_store_has_wrong(meridian: MeridianDevnet) -> None:
    market, restored = market_of(meridian), market_of(meridian)
    async with watching(meridian, market) as follower:
        rows, count = market.rows(), len(market.mirror.positions)
        assert await market.audit(follower.reader, count) == []
        wrong = next(row for row in rows if row.kind == "position")
        fields = json.loads(wrong.payload or b"")
        fields["collateral_e30"] += 1
        tampered = replace(wrong, payload=json.dumps(fields).encode())
        await restored.restore([tampered if row is wrong else row for row in rows], market.mirror.head)
        assert await restored.audit(follower.reader, count) == [wrong.key]


async def test_a_restored_mirror_goes_on_where_the_stored_one_ended(meridian: MeridianDevnet) -> None:
    market, restored = market_of(meridian), market_of(meridian)
    async with watching(meridian, market) as follower:
        rows = market.rows()
        await restored.restore(rows, market.mirror.head)
        assert restored.digest() == market.digest()
        await meridian.confirm(await meridian.set_price("BTC", 56_700))
        await meridian.confirm(await meridian.liquidate(meridian.liquidator, meridian.holders[0]))
        advance = await follower.follow()
        await restored.apply(advance, follower.reader)
        assert restored.digest() == market.digest()
        assert set((await check_verdicts(meridian, restored)).values()) == {Verdict.LIQUIDATABLE, Verdict.HEALTHY}


async def test_bad_input_is_named_and_the_rest_goes_on(direct: MeridianDevnet) -> None:
    market = market_of(direct, settings_every_s=0)
    async with watching(direct, market) as follower:
        await direct.confirm(await direct.set_price("BTC", 0), await direct.set_price("ETH", 2_690))
        await follower.follow()
        verdicts = await check_verdicts(direct, market, holders=[h for h in direct.holders if h.cohort == 1])
        assert set(verdicts.values()) == {Verdict.LIQUIDATABLE}
        head = market.mirror.head
        round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
        assessment = round_.assess(direct.holders[0].key)
        assert assessment.verdict is Verdict.UNASSESSABLE
        assert assessment.reason == "VaultPriceFeed: invalid price"
        assert market.unassessable() == {"VaultPriceFeed: invalid price": 6}
        await direct.confirm(await direct.govern("setError", 36, ""), await direct.set_price("BTC", 60_000))
        await follower.follow()
        assert (await direct.verdicts(direct.holders[:1], at=head.timestamp + 9))[direct.holders[0].key] == ""
        round_ = market.round(Window(head.number + 5, head.timestamp + 9, head.timestamp + 9))
        assert round_.assess(direct.holders[0].key).verdict is Verdict.HEALTHY


async def test_a_close_that_would_revert_is_named_and_the_rest_goes_on(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    async with watching(direct, market) as follower:
        # A stable far below its peg: what is left of a short's collateral counts for more tokens than the vault holds.
        await direct.confirm(await direct.set_price("DAI", Decimal("0.05")), await direct.set_price("BTC", 67_000))
        await direct.confirm(await direct.set_price("ETH", 3_160))
        await follower.follow()
        verdicts = await check_verdicts(direct, market)
        by_cohort = {cohort: {verdicts[h.key] for h in direct.holders if h.cohort == cohort} for cohort in range(4)}
        assert by_cohort[2] == {Verdict.LIQUIDATABLE}
        assert by_cohort[3] == {Verdict.UNASSESSABLE}
        head = market.mirror.head
        round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
        key = next(h.key for h in direct.holders if h.cohort == 3)
        assert round_.assess(key).reason == "Vault: invalid increase"


async def test_a_vault_that_is_another_contract_is_refused(direct: MeridianDevnet) -> None:
    config = MeridianMarketConfig("wrong", direct.tokens["BTC"].address)
    async with Rpc([Endpoint(direct.node.http_url)], await direct.node.chain_id()) as rpc:
        market = MeridianMarket(config, NodeHistory(direct.node))
        with pytest.raises(ProtocolError, match="to answer"):
            await Follower(direct.node, market, rpc).start()


async def random_step(devnet: MeridianDevnet, draw: random.Random) -> None:
    """Something that somebody does, whether the contracts allow it or not; sometimes the chain forgets it."""
    account = "0x" + f"{draw.randrange(1, 4):040x}"
    index, long = draw.choice(("BTC", "ETH")), draw.random() < 0.5
    collateral = index if long else draw.choice(("USDC", "DAI"))
    unit = {"BTC": 10**6, "ETH": 10**17, "USDC": 10**8, "DAI": 10**20}[collateral]
    kind = draw.randrange(9)
    try:
        if kind < 3:
            size = draw.choice((0, 500, 2_000, 4_000))
            await devnet.confirm(
                await devnet.increase(account, index, collateral, size, draw.randint(1, 300) * unit // 100, long)
            )
        elif kind < 5:
            await devnet.confirm(await devnet.decrease(account, index, collateral, draw.choice((500, 2_000)), long))
        elif kind == 5:
            price = {"BTC": 60_000, "ETH": 3_000}[index] * draw.randint(93, 107) // 100
            await devnet.confirm(await devnet.set_price(index, price))
        elif kind == 6:
            await devnet.confirm(await devnet.liquidate(devnet.liquidator, draw.choice(devnet.holders)))
        elif kind == 7:
            await devnet.node.mine(1, interval_seconds=draw.choice((1, 4_000)))
        else:
            await devnet.node.reorg(draw.randint(1, 3))
    except (ChainError, RpcError):
        return  # refused: reverts leave nothing behind, and the mirror must not mind


async def test_the_mirror_equals_a_fresh_one_after_anything(direct: MeridianDevnet) -> None:
    draw = random.Random(5)
    market = market_of(direct)
    kinds: set[int] = set()
    async with watching(direct, market) as follower:
        await direct.node.mine(8)
        for step in range(90):
            await random_step(direct, draw)
            if draw.random() < 0.7:
                await follower.follow()
            if step % 10 == 9:
                await follower.follow()
                assert market.digest() == await digest_of_a_fresh_one(direct), step
                kinds.add(len(market.mirror.positions))
                known = [
                    Holder(k, p.account, p.collateral_token, p.index_token, p.is_long, -1)
                    for k, p in market.mirror.positions.items()
                ]
                await check_verdicts(direct, market, holders=known)
    assert len(kinds) > 2


async def test_other_rules_of_the_vault_are_told(direct: MeridianDevnet) -> None:
    market = market_of(direct, settings_every_s=0)
    async with watching(direct, market) as follower:
        rules = await direct.node.rpc("eth_getCode", direct.vault_utils.address, "latest")
        await direct.node.set_code(ALICE, bytes.fromhex(str(rules)[2:]))
        await direct.confirm(await direct.govern("setVaultUtils", ALICE))
        with capture_logs() as lines:
            await follower.follow()
            await direct.node.mine()
            await follower.follow()
        assert [line["event"] for line in lines if line["log_level"] == "error"] == [
            "the vault's rules were exchanged: the keeper's may not be theirs any more"
        ]
        await check_verdicts(direct, market)


async def test_an_event_that_cannot_be_read_has_every_position_read(direct: MeridianDevnet) -> None:
    market = market_of(direct)
    async with watching(direct, market) as follower:
        await follower.follow()
        key, before = next(iter(market.mirror.positions.items()))
        market.mirror.positions[key] = replace(before, size_e30=before.size_e30 + 1)
        head = market.mirror.head
        vault, nothing = direct.vault.address, "0x" + "00" * 32
        for topic in (events.UPDATE_POSITION, events.INCREASE_POSITION, events.UPDATE_FUNDING_RATE):
            broken = Log(vault, (topic,), b"\1" * 31, head.number, head.hash, nothing, 0)
            with capture_logs() as lines:
                await market.apply(Advance(head, (broken,)), follower.reader)
            assert "an event can't be read: every position is read again" in [line["event"] for line in lines]
        assert market.mirror.positions[key] == before
        assert market.closures([broken]) == []


async def test_a_setting_that_a_reorg_undid_is_read_again(direct: MeridianDevnet) -> None:
    market = market_of(direct, settings_every_s=0)
    async with watching(direct, market) as follower:
        await direct.node.mine(2)
        await follower.follow()
        await direct.node.mine(1, interval_seconds=500)
        await direct.confirm(await direct.govern("setMaxLeverage", 300_000))
        await direct.node.mine(1, interval_seconds=500)
        await follower.follow()
        assert market.mirror.vault.params.max_leverage == 300_000
        await direct.node.reorg(3)
        await follower.follow()
        assert market.mirror.vault.params.max_leverage == 1_000_000
