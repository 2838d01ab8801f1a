"""The mirror learns from events, and from what is read each block, what is dirty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.model import Row
from keeper.protocols.deri import abi
from keeper.protocols.deri.mirror import YOUNG_BLOCKS
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
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
    PRIVILEGER,
    Contracts,
    advance,
    log,
    made_up,
    recorded,
    trade,
)
from tests.unit.deri_mirrored import assert_same, liquidators, margin, mirrored, with_account

# --- what makes what dirty


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
