"""The Deri market on a recorded pool: what a transaction brings along, what a tick changes, what is said to people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from eth_abi.abi import decode
from structlog.testing import capture_logs

from keeper.errors import ProtocolError
from keeper.model import Outcome, OutcomeState, PriceTick, ReadCall, ReadResult, Verdict, Window
from keeper.protocols.deri import abi
from keeper.protocols.deri.gas import gas_limit
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.price_server import SignedReading
from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    OracleKind,
    OracleSignature,
    OracleState,
    Position,
    SymbolKind,
    VaultState,
)
from keeper.protocols.registry import make_market
from keeper.settings import DeriSettings
from scripts.vectorcheck.deri_schema import market as market_state
from scripts.vectorcheck.document import Node
from tests.unit.deri_contracts import (
    MANAGER,
    POOL,
    TOKEN_B0,
    Contracts,
    advance,
    header,
    log,
    made_up,
    recorded,
    snapshots,
    trade,
)

LONG_AFTER = 1_000
"""A block after every trade that was recorded."""
OURS = made_up("our liquidator")


def now_of(contracts: Contracts) -> int:
    """A second at which every recorded price is fresh."""
    return max(oracle.timestamp for oracle in contracts.state.oracles.values()) + 1


@pytest.fixture
def lite() -> Contracts:
    return Contracts(recorded("lite"))


class Meanwhile:
    """A node that takes so long to answer that something happens meanwhile."""

    def __init__(self, contracts: Contracts, happens: Callable[[], object]) -> None:
        self._contracts = contracts
        self._happens = happens

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        self._happens()
        return await self._contracts.read(calls, block_hash)


async def opened(contracts: Contracts) -> DeriMarket:
    market = DeriMarket(DeriMarketConfig("test", POOL, liquidators=(OURS,)))
    contracts.state = replace(contracts.state, privileger=None)
    head = replace(header(LONG_AFTER), timestamp=now_of(contracts))
    await market.bootstrap(contracts, head)
    return market


def sign(market: DeriMarket, oracle: OracleState, value: int, timestamp: int) -> None:
    """Put a reading there as if its signature had been checked."""
    signature = OracleSignature(oracle.oracle_id, timestamp, value, 27, b"\1" * 32, b"\2" * 32)
    market.prices._newest[oracle.oracle_id] = SignedReading(signature, oracle.signer, abi.encode_signature(signature))


def crash(market: DeriMarket) -> None:
    """Sign prices, not volatilities, at three fifths of what they were."""
    for oracle in market.mirror.state.oracles.values():
        if not oracle.name.startswith("VOL-"):
            sign(market, oracle, oracle.value * 6 // 10, market.mirror.head.timestamp)


def next_second(contracts: Contracts) -> Window:
    return Window(LONG_AFTER + 1, now_of(contracts) + 1, now_of(contracts) + 1)


def brought_along(market: DeriMarket, p_token_id: int) -> list[tuple[str, int, int]]:
    """The readings in the call data of ``liquidate``: names, timestamps, values."""
    head = market.mirror.head
    call = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 2)).call(str(p_token_id))
    assert call.to == POOL
    assert call.data[:4] == abi.LIQUIDATE
    token, signatures = decode(["uint256", f"{abi.SIGNATURE_TYPE}[]"], call.data[4:])
    assert token == p_token_id
    names = {oracle.oracle_id: oracle.name for oracle in market.mirror.state.oracles.values()}
    return [(names[abi.hex_of(entry[0])], entry[1], entry[2]) for entry in signatures]


# --- what a transaction brings along


async def test_only_what_the_accounts_symbols_read_is_brought_along(lite: Contracts) -> None:
    market = await opened(lite)
    later = now_of(lite) + 5
    for oracle in lite.state.oracles.values():
        sign(market, oracle, oracle.value + 1, later)
    kinds = set()
    for account in lite.state.accounts.values():
        needed = set()
        for symbol_id in account.active_symbols:
            params = lite.state.symbols[symbol_id].params
            kinds.add(params.kind)
            needed |= {params.price_id, params.volatility_id} - {None}
        expected = {(o.name, later, o.value + 1) for key, o in lite.state.oracles.items() if key in needed}
        brought = brought_along(market, account.p_token_id)
        assert set(brought) == expected
        assert len(brought) == len(expected)
    assert kinds == {SymbolKind.FUTURES, SymbolKind.OPTION, SymbolKind.POWER}


async def test_call_data_that_is_cut_off_holds_the_readings_before_the_cut(lite: Contracts) -> None:
    market = await opened(lite)
    crash(market)
    account = next(one for one in lite.state.accounts.values() if len(one.positions) > 1)
    data = market.round(next_second(lite)).call(str(account.p_token_id)).data
    assert abi.signatures_of(data[:-1]) == abi.signatures_of(data)[:-1]
    assert len(abi.signatures_of(data)) == len(brought_along(market, account.p_token_id)) > 0


async def test_what_is_not_newer_than_the_chain_is_left_at_home(lite: Contracts) -> None:
    market = await opened(lite)
    account = next(account for account in lite.state.accounts.values() if account.positions)
    for oracle in lite.state.oracles.values():
        sign(market, oracle, oracle.value, oracle.timestamp)
    assert brought_along(market, account.p_token_id) == []


@pytest.mark.parametrize("kind", [OracleKind.CHAINLINK, OracleKind.WOO])
async def test_a_price_that_takes_no_signatures_never_gets_one(lite: Contracts, kind: OracleKind) -> None:
    account = next(account for account in lite.state.accounts.values() if account.positions)
    price_id = lite.state.symbols[account.positions[0].symbol_id].params.price_id
    oracle = lite.state.oracles[price_id]
    feed = replace(oracle, kind=kind, timestamp=0 if kind is OracleKind.WOO else oracle.timestamp)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, price_id: feed})
    market = await opened(lite)
    for one in lite.state.oracles.values():
        sign(market, one, one.value, now_of(lite) + 5)
    assert oracle.name not in {name for name, _, _ in brought_along(market, account.p_token_id)}


async def test_a_signed_price_is_what_an_account_is_judged_by(lite: Contracts) -> None:
    market = await opened(lite)
    head = market.mirror.head
    window = Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)
    before = {key: market.round(window).assess(str(key)).verdict for key in lite.state.accounts}
    crash(market)
    round_ = market.round(window)
    after = {key: round_.assess(str(key)).verdict for key in lite.state.accounts}
    fallen = {key for key in after if before[key] is not after[key] is Verdict.LIQUIDATABLE}
    assert fallen
    assert fallen <= {int(key) for key in round_.candidates()}


async def test_what_is_on_its_way_is_judged_by_the_prices_it_brings_until_the_chain_has_newer_ones(
    lite: Contracts,
) -> None:
    market = await opened(lite)
    head = market.mirror.head
    window = Window(head.number + 1, head.timestamp + 2, head.timestamp + 2)
    before = {key: market.round(window).assess(str(key)).verdict for key in lite.state.accounts}
    crash(market)
    crashed = market.round(window)
    fallen = [
        str(key)
        for key, verdict in before.items()
        if verdict is Verdict.HEALTHY and crashed.assess(str(key)).verdict is Verdict.LIQUIDATABLE
    ]
    assert fallen
    sent = {account: crashed.call(account).data for account in fallen}
    for oracle in lite.state.oracles.values():
        sign(market, oracle, oracle.value, head.timestamp + 1)
    recovered = market.round(window)
    assert {recovered.assess(account).verdict for account in fallen} == {Verdict.HEALTHY}
    assert {recovered.assess_sent(account, sent[account]).verdict for account in fallen} == {Verdict.LIQUIDATABLE}
    assert {recovered.assess_sent(account, b"").verdict for account in fallen} == {Verdict.HEALTHY}
    newer = {key: replace(oracle, timestamp=head.timestamp + 1) for key, oracle in lite.state.oracles.items()}
    lite.state = replace(lite.state, oracles=newer)
    overtaken = (await opened(lite)).round(window)
    assert {overtaken.assess_sent(account, sent[account]).verdict for account in fallen} == {Verdict.HEALTHY}


async def test_what_is_on_its_way_with_a_reading_that_no_oracle_takes_any_more_is_not_assessable(
    lite: Contracts,
) -> None:
    market = await opened(lite)
    crash(market)
    head = market.mirror.head
    window = Window(head.number + 1, head.timestamp + 2, head.timestamp + 2)
    crashed = market.round(window)
    account = next(key for key in crashed.candidates() if crashed.assess(key).verdict is Verdict.LIQUIDATABLE)
    sent = crashed.call(account).data
    oracle_id = abi.signatures_of(sent)[0].oracle_id
    gone = {key: oracle for key, oracle in lite.state.oracles.items() if key != oracle_id}
    feed = replace(lite.state.oracles[oracle_id], kind=OracleKind.WOO, timestamp=0)
    for oracles in (gone, {**gone, oracle_id: feed}):
        lite.state = replace(lite.state, oracles=oracles)
        with capture_logs():
            judged = (await opened(lite)).round(window).assess_sent(account, sent)
        assert judged.verdict is Verdict.UNASSESSABLE
        assert "takes no signed readings" in judged.reason


async def test_a_swap_is_promised_no_price_that_the_transaction_does_not_bring_along() -> None:
    full = Contracts(recorded("full"))
    swaps = {m.v_token: m.swap_oracle_id for m in full.state.vault_markets.values() if m.swap_oracle_id}
    account, oracle_id = next(
        (account, swaps[v_token])
        for account in full.state.accounts.values()
        for v_token, balance in (account.vault.balances if account.vault else ())
        if balance and v_token in swaps and all(swaps[v_token] != key for key in account.active_symbols)
    )
    key = str(account.p_token_id)
    healthy = (await opened(full)).round(next_second(full)).assess(key)
    poorer = replace(account, amount_b0=account.amount_b0 - (healthy.margin_e18 - healthy.required_e18) - 1)
    unbounded = replace(full.state.pool, max_liquidation_reward=10**30)
    full.state = replace(full.state, pool=unbounded, accounts={**full.state.accounts, account.p_token_id: poorer})
    market = await opened(full)
    promised = market.round(next_second(full)).assess(key)
    assert promised.reward_b0 > full.state.pool.min_liquidation_reward // 10 ** (18 - full.state.pool.decimals_b0)
    sign(market, full.state.oracles[oracle_id], full.state.oracles[oracle_id].value * 2, now_of(full))
    assert market.round(next_second(full)).assess(key).reward_b0 == promised.reward_b0
    sign(market, full.state.oracles[oracle_id], full.state.oracles[oracle_id].value // 2, now_of(full))
    assert market.round(next_second(full)).assess(key).reward_b0 < promised.reward_b0


async def test_an_account_that_was_closed_is_no_candidate_and_has_nothing_left(lite: Contracts) -> None:
    market = await opened(lite)
    crash(market)
    head = market.mirror.head
    round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
    first = next(key for key in round_.candidates() if round_.assess(key).verdict is Verdict.LIQUIDATABLE)
    round_.close(first)
    assert first not in round_.candidates()
    assert round_.assess(first).verdict is Verdict.HEALTHY
    assert round_.assess(first).reason.endswith("no position")
    fresh = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
    assert fresh.assess(first).verdict is Verdict.LIQUIDATABLE


async def test_candidates_come_in_the_order_of_what_they_pay(lite: Contracts) -> None:
    market = await opened(lite)
    crash(market)
    head = market.mirror.head
    round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
    judged = [round_.assess(key) for key in round_.candidates()]
    rewards = [one.reward_b0 for one in judged if one.verdict is Verdict.LIQUIDATABLE]
    # What is left counts the profit at the index price, the reward at what the market maker pays: nearly the same.
    assert len(rewards) > 3
    assert rewards[0] == max(rewards)
    assert rewards[-1] == min(rewards)


async def test_a_position_that_cannot_be_read_leaves_its_account_alone_and_the_rest_goes_on(lite: Contracts) -> None:
    account = next(account for account in lite.state.accounts.values() if account.positions)
    address = lite.state.symbols[account.positions[0].symbol_id].params.address
    lite.overrides[address, abi.POSITIONS.at("", abi.uint_word(account.p_token_id)).data] = None
    with capture_logs():
        market = await opened(lite)
    round_ = market.round(next_second(lite))
    judged = round_.assess(str(account.p_token_id))
    assert (judged.verdict, judged.reason) == (Verdict.UNASSESSABLE, f"symbol {address.lower()} is not known")
    others = [key for key in lite.state.accounts if key != account.p_token_id]
    assert {round_.assess(str(key)).verdict for key in others} == {Verdict.HEALTHY}


async def test_an_account_that_is_not_there(lite: Contracts) -> None:
    market = await opened(lite)
    head = market.mirror.head
    round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
    assessment = round_.assess("4711")
    assert (assessment.verdict, assessment.reason) == (
        Verdict.UNASSESSABLE,
        "PoolImplementationLite.liquidate: nonexistent pTokenId",
    )
    with pytest.raises(ProtocolError, match="4711"):
        round_.call("4711")


# --- ticks


def tick(oracle: OracleState, value: int) -> PriceTick:
    return PriceTick("test", "server", ((oracle.oracle_id, value),), 1, 1)


async def test_a_tick_counts_until_something_newer_has_overtaken_it(lite: Contracts) -> None:
    market = await opened(lite)
    oracle = next(iter(lite.state.oracles.values()))
    sign(market, oracle, 5, now_of(lite))
    assert market.take(tick(oracle, 5))
    assert not market.take(tick(oracle, 4))
    newer = now_of(lite) + 9
    event = log(oracle.address, abi.NEW_VALUE, abi.uint_word(newer), abi.uint_word(6))
    await market.apply(advance(LONG_AFTER + 2, event), lite)
    assert not market.take(tick(oracle, 5))


async def test_a_tick_for_what_is_not_of_this_market_changes_nothing(lite: Contracts) -> None:
    market = await opened(lite)
    stranger = replace(next(iter(lite.state.oracles.values())), oracle_id="0x" + "ab" * 32)
    assert not market.take(tick(stranger, 5))


# --- what is said


async def test_a_price_is_told_to_be_stale_before_it_expires(lite: Contracts) -> None:
    market = await opened(lite)
    name = "BTCUSD"
    oracle = next(o for o in lite.state.oracles.values() if o.name == name)
    told: list[tuple[int, str]] = []
    others = [o for o in lite.state.oracles.values() if o is not oracle]
    for number, age in enumerate((10, 299, 301, 599, 600, 900), start=2):
        now = oracle.timestamp + age
        for other in others:
            sign(market, other, other.value, now)
        with capture_logs() as logs:
            await market.apply(
                replace(advance(LONG_AFTER + number), head=replace(header(LONG_AFTER + number), timestamp=now)), lite
            )
        told += [(age, entry["event"]) for entry in logs if entry.get("price") == name]
    assert told == [(301, "a price goes stale"), (600, "a price has expired")]
    sign(market, oracle, oracle.value, oracle.timestamp + 890)
    with capture_logs() as logs:
        await market.apply(
            replace(advance(LONG_AFTER + 9), head=replace(header(LONG_AFTER + 9), timestamp=oracle.timestamp + 900)),
            lite,
        )
    assert [entry["event"] for entry in logs if entry.get("price") == name] == ["a price is fresh again"]


async def test_accounts_that_hold_what_cannot_be_priced_are_named_once(lite: Contracts) -> None:
    symbol_id = next(key for key, symbol in lite.state.symbols.items() if symbol.params.kind is SymbolKind.POWER)
    symbol = lite.state.symbols[symbol_id]
    unknown = replace(symbol, params=replace(symbol.params, kind=SymbolKind.UNKNOWN))
    lite.state = replace(lite.state, symbols={**lite.state.symbols, symbol_id: unknown})
    with capture_logs() as logs:
        market = await opened(lite)
        for number in (2, 3):
            head = replace(header(LONG_AFTER + number), timestamp=now_of(lite) + number)
            await market.apply(replace(advance(LONG_AFTER + number), head=head), lite)
    holders = {key for key, a in lite.state.accounts.items() if symbol_id in a.active_symbols}
    assert set(market.unassessable()) == holders
    told = [entry for entry in logs if entry["event"] == "accounts are not assessable"]
    assert [(entry["holding"], entry["accounts"]) for entry in told] == [(symbol.params.name, len(holders))]
    head = market.mirror.head
    round_ = market.round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
    verdicts = {key: round_.assess(str(key)).verdict for key in lite.state.accounts}
    assert {key for key, verdict in verdicts.items() if verdict is Verdict.UNASSESSABLE} == holders
    assert Verdict.HEALTHY in verdicts.values()


async def test_the_book_follows_the_mirror(lite: Contracts) -> None:
    market = await opened(lite)
    head = market.mirror.head
    window = Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)
    healthy = next(
        key
        for key, account in lite.state.accounts.items()
        if account.positions and market.round(window).assess(str(key)).verdict is Verdict.HEALTHY
    )
    poor = replace(lite.state.accounts[healthy], amount_b0=-(10**24))
    lite.state = replace(lite.state, accounts={**lite.state.accounts, healthy: poor})
    event = log(POOL, abi.REMOVE_MARGIN, abi.uint_word(healthy), abi.uint_word(0))
    await market.apply(
        replace(advance(LONG_AFTER + 2, event), head=replace(header(LONG_AFTER + 2), timestamp=head.timestamp)), lite
    )
    assert str(healthy) in market.round(window).candidates()
    assert healthy in {distance.p_token_id for distance in market.nearest(12)}


# --- receipts


async def test_the_reward_is_what_the_pool_paid_to_us(lite: Contracts) -> None:
    market = await opened(lite)

    def paid(token: str, sender: str, receiver: str, amount: int) -> object:
        words = abi.address_word(sender), abi.address_word(receiver)
        return log(token, abi.TRANSFER, *words, data=abi.uint_word(amount))

    logs = [
        paid(TOKEN_B0, POOL, OURS, 11),
        paid(TOKEN_B0, POOL, made_up("somebody"), 100),
        paid(TOKEN_B0, made_up("somebody"), OURS, 1_000),
        paid(made_up("another token"), POOL, OURS, 10_000),
        trade(1, next(iter(lite.state.symbols))),
    ]
    outcome = Outcome("test", "1", OutcomeState.MINED)
    assert market.realised_reward_b0(outcome, logs) == 11  # type: ignore[arg-type]


async def test_only_a_fee_of_minus_one_is_a_liquidation(lite: Contracts) -> None:
    market = await opened(lite)
    symbol_id = next(iter(lite.state.symbols))
    closing = replace(trade(7, symbol_id), data=b"".join(x.to_bytes(32, "big", signed=True) for x in (1, 2, 3, -1)))
    assert market.closures([trade(1, symbol_id), closing, replace(closing, address=made_up("elsewhere"))]) == [
        ("7", closing.transaction_hash)
    ]
    assert closing.address == MANAGER
    assert market.closures([replace(closing, data=b""), replace(closing, topics=closing.topics[:2])]) == []


# --- gas

MEASURED = {
    Flavour.LITE: {1: 428_000, 2: 613_000, 3: 768_000, 4: 879_000, 6: 1_148_000, 8: 1_401_000},
    Flavour.FULL: {1: 925_000, 2: 1_205_000, 3: 1_281_000, 7: 1_552_000},
}
"""The most that a successful call with five signatures ever used."""


@pytest.mark.parametrize(
    ("flavour", "symbols", "most"), [(f, n, gas) for f, table in MEASURED.items() for n, gas in table.items()]
)
def test_the_gas_limit_is_a_fifth_above_the_most_ever_used(flavour: Flavour, symbols: int, most: int) -> None:
    vault = VaultState(made_up("vault"), ((made_up("vToken"), 1),)) if flavour is Flavour.FULL else None
    account = AccountState(1, OURS, 0, tuple(Position(str(n), 1, 1, 0) for n in range(symbols)), vault)
    assert most * 6 // 5 <= gas_limit(flavour, account, 5) <= most * 2


@pytest.mark.parametrize("snapshot", snapshots(), ids=lambda node: node["id"].text)
def test_no_recorded_call_would_have_run_out_of_gas(snapshot: Node) -> None:
    state = market_state(snapshot)
    signatures = len(list(snapshot["signatures"]))
    for outcome in (*snapshot["outcomes"], *(snapshot.get("sequence") or ())):
        account = state.accounts.get(outcome["pTokenId"].integer)
        if account is not None and account.positions:
            assert outcome["gasUsed"].integer * 6 // 5 <= gas_limit(state.pool.flavour, account, signatures)


# --- the registry


def test_the_settings_of_a_pool_make_its_market() -> None:
    settings = DeriSettings(
        protocol="deri-v3",
        chain="local",
        pool=POOL,
        price_servers=("http://user:secret@localhost/x",),
        native_price_b0=300,
    )
    market = make_market("lite", settings, [OURS])
    assert isinstance(market, DeriMarket)
    assert market.name == "lite"
    assert "secret" not in repr(DeriMarketConfig("lite", POOL, settings.price_servers))


def test_nothing_is_known_before_it_was_read() -> None:
    market = DeriMarket(DeriMarketConfig("test", POOL))
    with pytest.raises(ProtocolError, match="call bootstrap or restore first"):
        market.log_filter()


async def test_an_order_to_read_anew_is_not_lost_while_a_block_is_read(lite: Contracts) -> None:
    market = await opened(lite)
    market.shadow.stopped = "the verdict on account 1 is wrong"
    symbol_id = next(iter(market.mirror.state.symbols))
    await market.apply(advance(LONG_AFTER + 1, trade(1, symbol_id)), Meanwhile(lite, market.read_anew))
    assert market.shadow.stopped
    await market.apply(advance(LONG_AFTER + 2), lite)
    assert not market.shadow.stopped
