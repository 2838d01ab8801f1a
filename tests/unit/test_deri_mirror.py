"""The mirror holds what the contracts hold, learns from events what is dirty, and reads no more than that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.chain.multicall import MULTICALL3
from keeper.errors import ChainError, ProtocolError, StoreError
from keeper.model import Log, Row
from keeper.protocols.deri import abi
from keeper.protocols.deri.mirror import YOUNG_BLOCKS, Mirror
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    Position,
    Stake,
    Symbol,
    SymbolKind,
    VaultState,
)
from keeper.protocols.deri.vault import liquidity, units
from tests.unit.deri_contracts import (
    COMPTROLLER,
    MANAGER,
    ORACLE_MANAGER,
    P_TOKEN,
    POOL,
    PRICE_ORACLE,
    PRIVILEGER,
    Contracts,
    advance,
    header,
    log,
    made_up,
    recorded,
    trade,
)


def liquidators(state: MarketState) -> tuple[str, ...]:
    return tuple(state.privileger.stakes) if state.privileger else ()


async def mirrored(contracts: Contracts) -> Mirror:
    mirror = Mirror("test", POOL, liquidators(contracts.state))
    await mirror.bootstrap(contracts, header())
    contracts.batches = contracts.calls = 0
    return mirror


def assert_same(mirror: Mirror, state: MarketState) -> None:
    assert mirror.state.pool == state.pool
    assert mirror.state.symbols == state.symbols
    assert mirror.state.oracles == state.oracles
    assert mirror.state.accounts == state.accounts
    assert mirror.state.vault_markets == state.vault_markets
    assert mirror.state.privileger == state.privileger


def with_account(state: MarketState, account: AccountState) -> MarketState:
    return replace(state, accounts={**state.accounts, account.p_token_id: account})


def traded(state: MarketState, p_token_id: int, change: int = 10**18) -> tuple[MarketState, str]:
    """The market after the account's first position grew, with the symbol that it is in."""
    account = state.accounts[p_token_id]
    position = account.positions[0]
    symbol = state.symbols[position.symbol_id]
    after = with_account(
        state,
        replace(
            account,
            amount_b0=account.amount_b0 - 5,
            positions=(
                replace(position, volume=position.volume + change, cost=position.cost + 7),
                *account.positions[1:],
            ),
        ),
    )
    moved = replace(symbol.state, net_volume=symbol.state.net_volume + change, net_cost=symbol.state.net_cost + 7)
    return (
        replace(
            after,
            pool=replace(state.pool, lps_pnl=state.pool.lps_pnl + 3),
            symbols={**state.symbols, position.symbol_id: replace(symbol, state=moved)},
        ),
        position.symbol_id,
    )


@pytest.fixture(params=["lite", "full"])
def contracts(request: pytest.FixtureRequest) -> Contracts:
    return Contracts(recorded(request.param))


@pytest.fixture
def lite() -> Contracts:
    return Contracts(recorded("lite"))


# --- bootstrap


async def test_a_bootstrap_holds_what_the_contracts_hold(contracts: Contracts) -> None:
    mirror = await mirrored(contracts)
    assert_same(mirror, contracts.state)
    assert mirror.wiring.flavour is contracts.state.pool.flavour


async def test_a_bootstrap_takes_as_many_rounds_for_many_accounts_as_for_few(contracts: Contracts) -> None:
    few = Mirror("test", POOL, ())
    account = contracts.state.accounts[1]
    all_accounts = contracts.state
    contracts.state = replace(all_accounts, accounts={1: account})
    with capture_logs():
        await few.bootstrap(contracts, header())
    rounds = contracts.batches
    contracts.state, contracts.batches = all_accounts, 0
    await few.bootstrap(contracts, header())
    # Markets that only the others' vaults have entered may cost further rounds, accounts never do.
    assert contracts.batches <= rounds + 4


async def test_no_privileger_means_anyone(lite: Contracts) -> None:
    lite.state = replace(lite.state, privileger=None)
    mirror = await mirrored(lite)
    assert mirror.state.privileger is None
    assert mirror.wiring.privileger == ZERO_ADDRESS


async def test_an_address_without_a_pool_is_refused(lite: Contracts) -> None:
    with pytest.raises(ProtocolError, match=r"symbolManager\(\).*check that the address is a Deri V3 contract"):
        await Mirror("test", made_up("somebody"), ()).bootstrap(lite, header())


async def test_an_account_without_code_answers_nothing_and_is_refused(lite: Contracts) -> None:
    lite.overrides[POOL, abi.SYMBOL_MANAGER.selector] = b""
    with pytest.raises(ProtocolError, match="0 bytes"):
        await Mirror("test", POOL, ()).bootstrap(lite, header())


async def test_an_oracle_manager_without_code_is_refused(lite: Contracts) -> None:
    lite.overrides[ORACLE_MANAGER, abi.GET_ORACLE.at("", bytes(32)).data] = b""
    with pytest.raises(ProtocolError, match=ORACLE_MANAGER):
        await Mirror("test", POOL, ()).bootstrap(lite, header())


async def test_a_privileger_without_code_is_refused(lite: Contracts) -> None:
    lite.overrides[PRIVILEGER, abi.DERI.selector] = b""
    with pytest.raises(ProtocolError, match=f"{PRIVILEGER} to answer deri"):
        await Mirror("test", POOL, ()).bootstrap(lite, header())


async def test_a_manager_that_serves_another_pool_is_refused(lite: Contracts) -> None:
    other = made_up("another pool")
    lite.overrides[MANAGER, abi.POOL.selector] = abi.address_word(other)
    with pytest.raises(ProtocolError, match=f"to serve the pool {POOL}, but it serves {other}"):
        await Mirror("test", POOL, ()).bootstrap(lite, header())


async def test_a_symbol_of_an_unknown_kind_is_named_and_the_rest_goes_on(lite: Contracts) -> None:
    symbol_id, symbol = next(iter(lite.state.symbols.items()))
    unknown = replace(symbol, params=replace(symbol.params, kind=SymbolKind.UNKNOWN))
    lite.state = replace(lite.state, symbols={**lite.state.symbols, symbol_id: unknown})
    with capture_logs() as logs:
        mirror = await mirrored(lite)
    assert mirror.state.symbols[symbol_id].params.kind is SymbolKind.UNKNOWN
    assert mirror.state.accounts == lite.state.accounts
    assert [entry["symbol"] for entry in logs if "can't price" in entry["event"]] == [symbol.params.name]


async def test_a_symbol_that_lacks_a_parameter_is_of_an_unknown_kind(lite: Contracts) -> None:
    symbol_id, symbol = next(iter(lite.state.symbols.items()))
    lite.overrides[symbol.params.address, abi.STARTING_PRICE_SHIFT_LIMIT.selector] = None
    mirror = await mirrored(lite)
    assert mirror.state.symbols[symbol_id].params.kind is SymbolKind.UNKNOWN


async def test_a_symbol_whose_name_cannot_be_read_goes_by_its_id(lite: Contracts) -> None:
    symbol_id, symbol = next(iter(lite.state.symbols.items()))
    no_text = abi.uint_word(32) + abi.uint_word(2**200)
    lite.overrides[symbol.params.address, abi.SYMBOL_NAME.selector] = no_text
    mirror = await mirrored(lite)
    assert mirror.state.symbols[symbol_id].params.name == symbol_id


async def test_a_missing_oracle_is_named_once(lite: Contracts) -> None:
    gone = next(iter(lite.state.oracles))
    lite.state = replace(lite.state, oracles={key: o for key, o in lite.state.oracles.items() if key != gone})
    with capture_logs() as logs:
        mirror = await mirrored(lite)
        await mirror.apply(advance(2, trade(1, next(iter(lite.state.symbols)))), lite)
    assert gone not in mirror.state.oracles
    assert len([entry for entry in logs if "oracle is missing" in entry["event"]]) == 1


@pytest.mark.parametrize("kind", [OracleKind.CHAINLINK, OracleKind.WOO])
async def test_oracles_of_the_other_kinds_are_told_apart(lite: Contracts, kind: OracleKind) -> None:
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    feed = replace(
        oracle,
        kind=kind,
        delay_allowance_s=0,
        signer=ZERO_ADDRESS,
        timestamp=oracle.timestamp if kind is OracleKind.CHAINLINK else 0,
    )
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: feed})
    assert_same(await mirrored(lite), lite.state)


# --- what a block costs


async def test_a_block_that_does_not_touch_the_market_costs_no_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    stranger = log(made_up("somebody"), abi.TRADE, abi.uint_word(1), abi.uint_word(2))
    await mirror.apply(advance(2, stranger), lite)
    assert (lite.batches, mirror.head.number) == (0, 2)


async def test_a_trade_costs_one_batch(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    lite.state, symbol_id = traded(lite.state, 1)
    await mirror.apply(advance(2, trade(1, symbol_id)), lite)
    assert lite.batches == 1
    assert_same(mirror, lite.state)


async def test_a_new_price_on_chain_costs_no_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    moved = replace(oracle, timestamp=oracle.timestamp + 9, value=oracle.value + 11)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: moved})
    words = abi.uint_word(moved.timestamp), abi.uint_word(moved.value)
    await mirror.apply(advance(2, log(oracle.address, abi.NEW_VALUE, *words)), lite)
    assert lite.batches == 0
    assert_same(mirror, lite.state)


async def test_the_lending_markets_units_are_read_each_block() -> None:
    full = Contracts(recorded("full"))
    mirror = await mirrored(full)
    full.state = replace(
        full.state,
        vault_markets={
            key: replace(m, exchange_rate_stored=m.exchange_rate_stored + 1, oracle_price=m.oracle_price + 2)
            for key, m in full.state.vault_markets.items()
        },
    )
    await mirror.apply(advance(2), full)
    assert full.batches == 1
    assert_same(mirror, full.state)


async def test_where_contracts_count_other_blocks_their_number_is_read_each_block(lite: Contracts) -> None:
    """On Arbitrum ``block.number`` is the parent chain's."""
    number = MULTICALL3, abi.BLOCK_NUMBER.selector
    lite.overrides[number] = abi.uint_word(20_000_000)
    mirror = await mirrored(lite)
    assert mirror.state.block_number == 20_000_000
    lite.overrides[number] = abi.uint_word(20_000_001)
    await mirror.apply(advance(2), lite)
    assert (mirror.state.block_number, lite.batches) == (20_000_001, 1)
    restored = Mirror("test", POOL, liquidators(lite.state))
    restored.restore((await mirrored(lite)).rows(), header(2))
    assert restored.state.block_number is None
    await restored.apply(advance(3), lite)
    assert restored.state.block_number == 20_000_001


async def test_where_contracts_count_the_chains_own_blocks_nothing_is_asked(lite: Contracts) -> None:
    lite.overrides[MULTICALL3, abi.BLOCK_NUMBER.selector] = abi.uint_word(header().number)
    mirror = await mirrored(lite)
    await mirror.apply(advance(2), lite)
    restored = Mirror("test", POOL, liquidators(lite.state))
    restored.restore(mirror.rows(), header(2))
    await restored.apply(advance(3), lite)
    assert (mirror.state.block_number, restored.state.block_number, lite.batches) == (None, None, 0)


# --- what makes what dirty


def margin(state: MarketState) -> MarketState:
    account = state.accounts[2]
    return with_account(state, replace(account, amount_b0=account.amount_b0 + 10**18))


def provided(state: MarketState) -> MarketState:
    symbols = {
        key: replace(s, state=replace(s.state, funding_timestamp=s.state.funding_timestamp + 1))
        for key, s in state.symbols.items()
    }
    return replace(state, pool=replace(state.pool, liquidity=state.pool.liquidity + 5), symbols=symbols)


def minted(state: MarketState) -> MarketState:
    number = max(state.accounts) + 1
    return with_account(state, AccountState(number, made_up("a new trader"), 7))


def staked(state: MarketState) -> MarketState:
    assert state.privileger is not None
    user = next(iter(state.privileger.stakes))
    stakes = {**state.privileger.stakes, user: Stake(1, 2)}
    return replace(state, privileger=replace(state.privileger, stakes=stakes, stakes_total=3))


def id_word(state: MarketState) -> bytes:
    return abi.uint_word(max(state.accounts) + 1)


EVENTS: list[tuple[str, Callable[[MarketState], MarketState], Callable[[MarketState], tuple[bytes, ...]], str]] = [
    (POOL, margin, lambda _: (abi.ADD_MARGIN, abi.uint_word(2), abi.uint_word(0)), "AddMargin"),
    (POOL, margin, lambda _: (abi.REMOVE_MARGIN, abi.uint_word(2), abi.uint_word(0)), "RemoveMargin"),
    (POOL, provided, lambda _: (abi.ADD_LIQUIDITY, abi.uint_word(1), abi.uint_word(0)), "AddLiquidity"),
    (POOL, provided, lambda _: (abi.REMOVE_LIQUIDITY, abi.uint_word(1), abi.uint_word(0)), "RemoveLiquidity"),
    (P_TOKEN, minted, lambda s: (abi.TRANSFER, abi.uint_word(0), abi.uint_word(9), id_word(s)), "Transfer"),
    (PRIVILEGER, staked, lambda _: (abi.DEPOSIT,), "Deposit"),
    (PRIVILEGER, staked, lambda _: (abi.WITHDRAW,), "Withdraw"),
]


@pytest.mark.parametrize(("emitter", "change", "topics", "name"), EVENTS, ids=[entry[3] for entry in EVENTS])
@pytest.mark.parametrize("undone", [False, True], ids=["new", "undone"])
async def test_an_event_and_its_undoing_have_the_truth_read(
    lite: Contracts,
    emitter: str,
    change: Callable[[MarketState], MarketState],
    topics: Callable[[MarketState], tuple[bytes, ...]],
    name: str,
    undone: bool,
) -> None:
    before = lite.state
    if undone:
        lite.state = change(before)
    mirror = await mirrored(lite)
    event = log(emitter, *topics(before))
    assert event.address in mirror.log_filter().addresses
    assert event.topics[0] in mirror.log_filter().topics0
    lite.state = before if undone else change(before)
    await mirror.apply(advance(2, undone=[event]) if undone else advance(2, event), lite)
    assert_same(mirror, lite.state)


async def test_an_undone_price_is_read_not_believed(lite: Contracts) -> None:
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    before = lite.state
    newer = replace(oracle, timestamp=oracle.timestamp + 9, value=5)
    lite.state = replace(before, oracles={**before.oracles, oracle_id: newer})
    mirror = await mirrored(lite)
    lite.state = before
    event = log(oracle.address, abi.NEW_VALUE, abi.uint_word(newer.timestamp), abi.uint_word(5))
    await mirror.apply(advance(2, undone=[event]), lite)
    assert_same(mirror, before)


async def test_another_oracle_for_an_id_is_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    other = replace(oracle, address=made_up("another oracle"), signer=made_up("another signer"), value=1)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: other})
    event = log(ORACLE_MANAGER, abi.NEW_ORACLE, abi.word_of(oracle_id), abi.address_word(other.address))
    await mirror.apply(advance(2, event), lite)
    assert_same(mirror, lite.state)
    assert {other.address} <= mirror.log_filter().addresses
    assert oracle.address not in mirror.log_filter().addresses


async def test_a_moved_chainlink_proxy_is_followed(lite: Contracts) -> None:
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    feed = replace(oracle, kind=OracleKind.CHAINLINK, delay_allowance_s=0, signer=ZERO_ADDRESS)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: feed})
    mirror = await mirrored(lite)
    first = made_up("aggregator of " + oracle.name)
    answered = log(first, abi.ANSWER_UPDATED, abi.uint_word(1), abi.uint_word(2), data=abi.uint_word(3))
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: replace(feed, value=3)})
    await mirror.apply(advance(2, answered), lite)
    assert_same(mirror, lite.state)

    second = made_up("the next aggregator")
    lite.aggregators[made_up("feed of " + oracle.name)] = second
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: replace(feed, value=4)})
    await mirror.apply(advance(3), lite)
    assert_same(mirror, lite.state)
    assert second in mirror.log_filter().addresses
    assert first not in mirror.log_filter().addresses


async def test_an_answer_counts_for_every_oracle_that_its_aggregator_stands_behind(lite: Contracts) -> None:
    feeds = {
        key: replace(oracle, kind=OracleKind.CHAINLINK, delay_allowance_s=0, signer=ZERO_ADDRESS)
        for key, oracle in list(lite.state.oracles.items())[:2]
    }
    lite.state = replace(lite.state, oracles={**lite.state.oracles, **feeds})
    shared = made_up("one aggregator for both")
    lite.aggregators = {made_up("feed of " + feed.name): shared for feed in feeds.values()}
    mirror = await mirrored(lite)
    answered = log(shared, abi.ANSWER_UPDATED, abi.uint_word(3), abi.uint_word(2), data=abi.uint_word(3))
    moved = {key: replace(feed, value=3) for key, feed in feeds.items()}
    lite.state = replace(lite.state, oracles={**lite.state.oracles, **moved})
    await mirror.apply(advance(2, answered), lite)
    assert_same(mirror, lite.state)


async def test_a_feed_without_a_proxy_is_its_own_aggregator(lite: Contracts) -> None:
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    feed = replace(oracle, kind=OracleKind.CHAINLINK, delay_allowance_s=0, signer=ZERO_ADDRESS)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: feed})
    at = made_up("feed of " + oracle.name)
    lite.overrides[at, abi.AGGREGATOR.selector] = None
    mirror = await mirrored(lite)
    assert at in mirror.log_filter().addresses
    await mirror.apply(advance(2), lite)
    assert lite.batches == 0
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: replace(feed, value=3)})
    await mirror.apply(advance(3, log(at, abi.ANSWER_UPDATED, abi.uint_word(3), abi.uint_word(1))), lite)
    assert_same(mirror, lite.state)


async def test_a_woo_price_is_read_each_block(lite: Contracts) -> None:
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    feed = replace(oracle, kind=OracleKind.WOO, delay_allowance_s=0, signer=ZERO_ADDRESS, timestamp=0)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: feed})
    mirror = await mirrored(lite)
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: replace(feed, value=99)})
    await mirror.apply(advance(2), lite)
    assert lite.batches == 1
    assert_same(mirror, lite.state)


async def test_a_transfer_of_vault_tokens_has_the_vault_read() -> None:
    full = Contracts(recorded("full"))
    mirror = await mirrored(full)
    account = next(a for a in full.state.accounts.values() if a.vault and a.vault.balances)
    assert account.vault is not None
    v_token = account.vault.balances[0][0]
    vault = VaultState(account.vault.address, ((v_token, 123), *account.vault.balances[1:]))
    full.state = with_account(full.state, replace(account, vault=vault))
    words = abi.address_word(made_up("somebody")), abi.address_word(vault.address)
    await mirror.apply(advance(2, log(v_token, abi.TRANSFER, *words, data=abi.uint_word(1))), full)
    assert_same(mirror, full.state)


async def test_a_new_symbol_is_read_and_a_removed_one_is_dropped(lite: Contracts) -> None:
    all_symbols = lite.state.symbols
    new_id = next(key for key, symbol in all_symbols.items() if symbol.params.kind is SymbolKind.POWER)
    holders = {
        key: replace(a, positions=tuple(p for p in a.positions if p.symbol_id != new_id))
        for key, a in lite.state.accounts.items()
    }
    empty = replace(all_symbols[new_id].state, net_volume=0, net_cost=0, n_position_holders=0)
    without = {key: symbol for key, symbol in all_symbols.items() if key != new_id}
    lite.state = replace(lite.state, symbols=without, accounts=holders)
    mirror = await mirrored(lite)

    lite.state = replace(lite.state, symbols={**without, new_id: replace(all_symbols[new_id], state=empty)})
    address = all_symbols[new_id].params.address
    words = abi.word_of(new_id), abi.address_word(address)
    await mirror.apply(advance(2, log(MANAGER, abi.ADD_SYMBOL, *words)), lite)
    assert_same(mirror, lite.state)
    assert address in mirror.log_filter().addresses

    mirror.rows()
    lite.state = replace(lite.state, symbols=without)
    await mirror.apply(advance(3, log(MANAGER, abi.REMOVE_SYMBOL, *words)), lite)
    assert_same(mirror, lite.state)
    assert Row("symbol", new_id, None) in mirror.rows()


# --- implementations


async def test_a_symbols_new_implementation_has_its_parameters_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    symbol_id, symbol = next(iter(lite.state.symbols.items()))
    changed = Symbol(replace(symbol.params, maintenance_margin_ratio=1), symbol.state)
    lite.state = replace(lite.state, symbols={**lite.state.symbols, symbol_id: changed})
    event = log(symbol.params.address, abi.NEW_IMPLEMENTATION, data=abi.address_word(made_up("new code")))
    with capture_logs() as logs:
        await mirror.apply(advance(2, event), lite)
    assert_same(mirror, lite.state)
    assert [entry["contract"] for entry in logs if "implementation changed" in entry["event"]] == [symbol.params.name]


async def test_the_pools_new_implementation_has_everything_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    lite.state = replace(margin(lite.state), pool=replace(lite.state.pool, min_liquidation_reward=1))
    with capture_logs() as logs:
        changes = await mirror.apply(advance(2, log(POOL, abi.NEW_IMPLEMENTATION)), lite)
    assert changes.everything
    assert_same(mirror, lite.state)
    assert [entry["contract"] for entry in logs] == ["pool"]


async def test_the_privilegers_new_implementation_may_take_another_token(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    lite.overrides[PRIVILEGER, abi.DERI.selector] = abi.address_word(made_up("another token"))
    for call in (abi.STAKES_TOTAL, abi.STAKES_COUNT):
        lite.overrides[PRIVILEGER, call.at("", abi.address_word(made_up("another token"))).data] = abi.uint_word(7)
    for user in liquidators(lite.state):
        words = abi.address_word(made_up("another token")), abi.address_word(user)
        for getter in (abi.STAKES, abi.STAKE_TIMESTAMPS):
            lite.overrides[PRIVILEGER, getter.at("", *words).data] = abi.uint_word(0)
    with capture_logs():
        await mirror.apply(advance(2, log(PRIVILEGER, abi.NEW_IMPLEMENTATION)), lite)
    assert mirror.wiring.deri == made_up("another token")
    assert mirror.state.privileger is not None
    assert mirror.state.privileger.stakes_total == 7


async def test_another_price_oracle_of_the_lending_protocol_has_everything_read() -> None:
    full = Contracts(recorded("full"))
    mirror = await mirrored(full)
    other = made_up("another price oracle")
    full.overrides[COMPTROLLER, abi.COMPTROLLER_ORACLE.selector] = abi.address_word(other)
    for v_token, market in full.state.vault_markets.items():
        price = abi.UNDERLYING_PRICE.at("", abi.address_word(v_token)).data
        full.overrides[other, price] = abi.uint_word(market.oracle_price * 2)
    doubled = {key: replace(m, oracle_price=m.oracle_price * 2) for key, m in full.state.vault_markets.items()}
    for account in full.state.accounts.values():
        if account.vault:
            worth = liquidity(account.vault, units(doubled), full.state.pool.vault_liquidity_multiplier)
            assert worth is not None
            full.overrides[account.vault.address, abi.VAULT_LIQUIDITY.selector] = abi.uint_word(worth)
    with capture_logs() as logs:
        changes = await mirror.apply(advance(2), full)
    assert changes.everything
    assert mirror.state.vault_markets == doubled
    assert [entry["event"] for entry in logs] == [
        "the lending protocol's price oracle changed: everything is read again"
    ]


# --- trouble


@pytest.mark.parametrize(
    "unreadable",
    [
        log(MANAGER, abi.TRADE),
        log(POOL, abi.ADD_MARGIN),
        log(P_TOKEN, abi.TRANSFER, abi.uint_word(1), abi.uint_word(2)),
        log(ORACLE_MANAGER, abi.NEW_ORACLE),
    ],
    ids=["Trade", "AddMargin", "Transfer", "NewOracle"],
)
async def test_an_event_that_cannot_be_read_has_everything_read(lite: Contracts, unreadable: Log) -> None:
    mirror = await mirrored(lite)
    lite.state = margin(lite.state)
    with capture_logs() as logs:
        changes = await mirror.apply(advance(2, unreadable), lite)
    assert changes.everything
    assert_same(mirror, lite.state)
    assert [entry["event"] for entry in logs] == ["an event can't be read: everything is read again"]


async def test_everything_is_still_read_again_when_the_first_attempt_fails(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    lite.state, symbol_id = traded(lite.state, 1)
    lite.fail_at = 2
    with capture_logs():
        with pytest.raises(ChainError):
            await mirror.apply(advance(2, trade(3, symbol_id)), lite)
        changes = await mirror.apply(advance(2), lite)
    assert changes.everything
    assert_same(mirror, lite.state)


async def test_a_read_that_fails_loses_nothing(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    lite.state, symbol_id = traded(lite.state, 1)
    lite.failure = ChainError("an answer", "none came", "wait")
    with pytest.raises(ChainError):
        await mirror.apply(advance(2, trade(1, symbol_id)), lite)
    assert mirror.head.number == 1
    await mirror.apply(advance(3), lite)
    assert_same(mirror, lite.state)


async def test_positions_that_do_not_add_up_have_everything_read(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    # An account moved and no log said so: the sums notice when the symbol is next read.
    lite.state, symbol_id = traded(lite.state, 1)
    with capture_logs() as logs:
        changes = await mirror.apply(advance(2, trade(3, symbol_id)), lite)
    assert changes.everything
    assert mirror.mismatches == 1
    assert_same(mirror, lite.state)
    assert [entry["event"] for entry in logs] == ["positions do not add up to their symbols: everything is read again"]


async def test_sums_that_stay_wrong_are_told_once(lite: Contracts) -> None:
    symbol_id, symbol = next(iter(lite.state.symbols.items()))
    odd = replace(symbol, state=replace(symbol.state, net_volume=symbol.state.net_volume + 1))
    lite.state = replace(lite.state, symbols={**lite.state.symbols, symbol_id: odd})
    with capture_logs() as logs:
        mirror = await mirrored(lite)
        for number in (2, 3):
            await mirror.apply(advance(number, log(POOL, abi.ADD_LIQUIDITY, abi.uint_word(1))), lite)
            assert lite.batches == number - 1
    assert len(logs) == 1


async def test_a_lending_market_that_cannot_be_read_is_left_out_until_it_can() -> None:
    full = Contracts(recorded("full"))
    mirror = await mirrored(full)
    mirror.rows()
    v_token = next(iter(full.state.vault_markets))
    price = abi.UNDERLYING_PRICE.at("", abi.address_word(v_token)).data
    full.overrides[PRICE_ORACLE, price] = None
    with capture_logs() as logs:
        for number in (2, 3):
            await mirror.apply(advance(number), full)
    assert len(logs) == 1
    assert v_token not in mirror.state.vault_markets
    assert Row("vault-market", v_token, None) in mirror.rows()
    again = Mirror("test", POOL, liquidators(full.state))
    full.overrides.clear()
    with capture_logs():
        await mirror.apply(advance(4), full)
    assert_same(mirror, full.state)
    with capture_logs():
        rows = [row for row in (await mirrored(full)).rows() if row.key != v_token]
        again.restore(rows, header(3))
        await again.apply(advance(4), full)
    assert_same(again, full.state)


# --- vaults that can't be taken apart


async def as_they_are(full: Contracts) -> Mirror:
    """A mirror of a full pool whose vaults say something else than their balances would give."""
    for account in full.state.accounts.values():
        if account.vault:
            at = account.vault.address
            full.overrides[at, abi.VAULT_LIQUIDITY.selector] = abi.uint_word(account.p_token_id * 10**18)
    return await mirrored(full)


async def test_vaults_that_say_something_else_are_taken_as_they_are() -> None:
    mirror = await as_they_are(Contracts(recorded("full")))
    assert not mirror.takes_vaults_apart
    assert mirror.state.vault_markets == {}
    vaults = {key: account.vault for key, account in mirror.state.accounts.items() if account.vault}
    assert vaults
    assert all(vault.liquidity == key * 10**18 and vault.balances == () for key, vault in vaults.items())


async def test_empty_vaults_do_not_prove_that_the_others_can_be_taken_apart() -> None:
    full = Contracts(recorded("full"))
    wealthy = full.state.accounts[28]
    assert wealthy.vault is not None
    for account in full.state.accounts.values():
        if account.vault and account is not wealthy:
            nothing = tuple((v_token, 0) for v_token, _ in account.vault.balances)
            full.state = with_account(full.state, replace(account, vault=replace(account.vault, balances=nothing)))
    full.overrides[wealthy.vault.address, abi.VAULT_LIQUIDITY.selector] = abi.uint_word(10**18)
    assert not (await mirrored(full)).takes_vaults_apart


async def test_only_the_vaults_that_are_polled_are_read_again() -> None:
    full = Contracts(recorded("full"))
    mirror = await as_they_are(full)
    holders = [key for key, account in mirror.state.accounts.items() if account.vault]
    before = mirror.digest()
    full.batches = 0
    await mirror.apply(advance(2), full)
    assert full.batches == 0
    for key in holders[:2]:
        account = full.state.accounts[key]
        assert account.vault is not None
        full.overrides[account.vault.address, abi.VAULT_LIQUIDITY.selector] = abi.uint_word(5)
    mirror.vaults_polled = holders[:1]
    changes = await mirror.apply(advance(3), full)
    assert full.batches == 1
    assert changes.accounts == frozenset(holders[:1])
    first, second = (mirror.state.accounts[key].vault for key in holders[:2])
    assert first is not None
    assert first.liquidity == 5
    assert second is not None
    assert second.liquidity == holders[1] * 10**18
    assert mirror.digest() == before, "what differs from block to block by itself does not count"


async def test_a_vault_that_answers_nothing_makes_its_owner_not_assessable() -> None:
    full = Contracts(recorded("full"))
    mirror = await as_they_are(full)
    account = next(account for account in full.state.accounts.values() if account.vault)
    assert account.vault is not None
    full.overrides[account.vault.address, abi.VAULT_LIQUIDITY.selector] = None
    mirror.vaults_polled = [account.p_token_id]
    await mirror.apply(advance(2), full)
    vault = mirror.state.accounts[account.p_token_id].vault
    assert vault is not None
    assert liquidity(vault, {}, 10**18) is None


# --- the store


async def test_rows_bring_the_mirror_back(contracts: Contracts) -> None:
    mirror = await mirrored(contracts)
    again = Mirror("test", POOL, liquidators(contracts.state))
    again.restore(mirror.rows(), header())
    assert_same(again, contracts.state)
    assert again.digest() == mirror.digest()
    assert again.log_filter() == mirror.log_filter()
    assert again.rows() == []


async def test_only_what_changed_is_saved(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    first = mirror.rows()
    assert mirror.rows() == []
    lite.state, symbol_id = traded(lite.state, 1)
    await mirror.apply(advance(2, trade(1, symbol_id)), lite)
    changed = mirror.rows()
    expected = {("pool", ""), ("account", "1")} | {("symbol", key) for key in lite.state.accounts[1].active_symbols}
    assert {(row.kind, row.key) for row in changed} == expected
    stored = {(row.kind, row.key): row for row in first} | {(row.kind, row.key): row for row in changed}
    again = Mirror("test", POOL, liquidators(lite.state))
    again.restore(list(stored.values()), header(2))
    assert again.digest() == mirror.digest()


async def test_the_digest_tells_a_difference_of_one_wei(lite: Contracts) -> None:
    one = (await mirrored(lite)).digest()
    account = lite.state.accounts[5]
    lite.state = with_account(lite.state, replace(account, amount_b0=account.amount_b0 + 1))
    assert (await mirrored(lite)).digest() != one


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: [row for row in rows if row.kind != "pool"],
        lambda rows: [Row("wiring", "", b"[99]" if row.kind == "wiring" else row.payload) for row in rows[:1]],
        lambda rows: [*rows, Row("account", "3", b"{")],
        lambda rows: [*rows, Row("nonsense", "", b"[]")],
        lambda rows: [row for row in rows if (row.kind, row.key) != ("account", "1")],
    ],
    ids=["no pool", "another schema", "damaged", "unknown kind", "an account lost"],
)
async def test_rows_that_are_not_a_mirror_are_refused(lite: Contracts, spoil: Callable[[list[Row]], list[Row]]) -> None:
    rows = (await mirrored(lite)).rows()
    with pytest.raises(StoreError, match="set aside"), capture_logs():
        Mirror("test", POOL, ()).restore(spoil(rows), header())


async def test_rows_of_another_pool_are_refused(lite: Contracts) -> None:
    rows = (await mirrored(lite)).rows()
    with pytest.raises(StoreError, match=made_up("another pool")):
        Mirror("test", made_up("another pool"), ()).restore(rows, header())


async def test_a_liquidator_that_is_new_since_the_last_run_is_read(lite: Contracts) -> None:
    rows = (await mirrored(lite)).rows()
    assert lite.state.privileger is not None
    newcomer = made_up("newcomer")
    stakes = {**lite.state.privileger.stakes, newcomer: Stake(5, 6)}
    lite.state = replace(lite.state, privileger=replace(lite.state.privileger, stakes=stakes))
    mirror = Mirror("test", POOL, tuple(stakes))
    mirror.restore(rows, header())
    await mirror.apply(advance(2), lite)
    assert mirror.state.privileger == lite.state.privileger


async def test_what_is_gone_after_a_full_reading_is_gone_from_the_store(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    mirror.rows()
    last = max(lite.state.accounts)
    assert not lite.state.accounts[last].positions
    lite.state = replace(lite.state, accounts={k: a for k, a in lite.state.accounts.items() if k != last})
    with capture_logs():
        await mirror.apply(advance(2, log(POOL, abi.NEW_IMPLEMENTATION)), lite)
    assert Row("account", str(last), None) in mirror.rows()


async def test_what_has_just_become_part_of_the_market_is_read_for_a_few_blocks(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    oracle_id, oracle = next(iter(lite.state.oracles.items()))
    other = replace(oracle, address=made_up("another oracle"))
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: other})
    event = log(ORACLE_MANAGER, abi.NEW_ORACLE, abi.word_of(oracle_id), abi.address_word(other.address))
    await mirror.apply(advance(2, event), lite)
    # Whoever fetches logs may not have asked for the new address's events yet: this one is missed.
    lite.state = replace(lite.state, oracles={**lite.state.oracles, oracle_id: replace(other, value=7)})
    for number in range(3, 3 + YOUNG_BLOCKS):
        await mirror.apply(advance(number), lite)
        assert mirror.state.oracles[oracle_id].value == 7
    lite.batches = 0
    await mirror.apply(advance(3 + YOUNG_BLOCKS), lite)
    assert lite.batches == 0


async def test_an_opened_position_is_held_in_the_order_of_the_contract(lite: Contracts) -> None:
    mirror = await mirrored(lite)
    account = next(a for a in lite.state.accounts.values() if 0 < len(a.positions) < len(lite.state.symbols))
    fresh = next(key for key in lite.state.symbols if key not in account.active_symbols)
    position = Position(fresh, 10**18, 2 * 10**18, 0)
    symbol = lite.state.symbols[fresh]
    grown = replace(
        symbol.state,
        net_volume=symbol.state.net_volume + position.volume,
        net_cost=symbol.state.net_cost + position.cost,
        n_position_holders=symbol.state.n_position_holders + 1,
    )
    lite.state = replace(
        with_account(lite.state, replace(account, positions=(*account.positions, position))),
        symbols={**lite.state.symbols, fresh: replace(symbol, state=grown)},
    )
    await mirror.apply(advance(2, trade(account.p_token_id, fresh)), lite)
    assert lite.batches == 1
    assert_same(mirror, lite.state)


def test_the_vectors_hold_both_pools() -> None:
    assert recorded("lite").pool.flavour is Flavour.LITE
    assert recorded("full").pool.flavour is Flavour.FULL
