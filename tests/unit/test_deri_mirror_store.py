"""The rows of the mirror bring it back, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.errors import StoreError
from keeper.model import Row
from keeper.protocols.deri import abi
from keeper.protocols.deri.mirror import Mirror
from keeper.protocols.deri.state import (
    Stake,
)
from tests.unit.deri_contracts import (
    POOL,
    Contracts,
    advance,
    header,
    log,
    made_up,
    trade,
)
from tests.unit.deri_mirrored import assert_same, liquidators, mirrored, traded, with_account


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
