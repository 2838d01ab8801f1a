"""What can't be read, or does not add up, costs the mirror nothing but another reading."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.errors import ChainError
from keeper.model import Log, Row
from keeper.protocols.deri import abi
from keeper.protocols.deri.mirror import Mirror
from keeper.protocols.deri.vault import liquidity
from tests.unit.deri_contracts import (
    MANAGER,
    ORACLE_MANAGER,
    P_TOKEN,
    POOL,
    PRICE_ORACLE,
    Contracts,
    advance,
    header,
    log,
    recorded,
    trade,
)
from tests.unit.deri_mirrored import assert_same, liquidators, margin, mirrored, traded, with_account

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
