"""The mirror holds what the contracts hold, and reads no more of a block than it has to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.chain.multicall import MULTICALL3
from keeper.errors import ProtocolError
from keeper.protocols.deri import abi
from keeper.protocols.deri.mirror import Mirror
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    Flavour,
    OracleKind,
    SymbolKind,
)
from tests.unit.deri_contracts import (
    MANAGER,
    ORACLE_MANAGER,
    POOL,
    PRIVILEGER,
    Contracts,
    advance,
    header,
    log,
    made_up,
    recorded,
    trade,
)
from tests.unit.deri_mirrored import assert_same, liquidators, mirrored, traded

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


def test_the_vectors_hold_both_pools() -> None:
    assert recorded("lite").pool.flavour is Flavour.LITE
    assert recorded("full").pool.flavour is Flavour.FULL
