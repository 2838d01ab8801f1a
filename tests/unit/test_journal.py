"""The journal's file: what it keeps, what it refuses, and what it adds up to."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from keeper.errors import StoreError
from keeper.model import OutcomeState
from keeper.store.journal import Intent, Journal, StateRow, TransactionRow
from keeper.store.ledger import Totals, entries, gas_used, totals

CHAIN = 31337
US = "0x1111111111111111111111111111111111111111"
BIG = 10**30
"""More wei than 64 bits hold."""


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = await Journal.open(tmp_path / "journal")
    yield opened
    await opened.close()


def intent(journal: Journal, account: str = "7", *, lane: str = US, chain_id: int = CHAIN) -> Intent:
    return Intent(journal.allot(), chain_id, lane, "pool", account, "0xto", b"\x01", 100, BIG, BIG, 9, "", 1_000.0)


def signed(of: Intent, nonce: int = 0, name: str = "0xaa") -> TransactionRow:
    return TransactionRow(name, of.id, of.chain_id, of.lane, nonce, "liquidation", b"\x02", BIG, 1, 8, 1_000.0)


def mined(of: Intent, fee_wei: int = BIG, block: int = 10, at: float = 1_001.0) -> StateRow:
    return StateRow(of.id, OutcomeState.MINED, at, "", "", "0xaa", block, "0xb1", 90, fee_wei, BIG)


async def test_what_was_written_comes_back_whole(journal: Journal) -> None:
    made = intent(journal)
    await journal.intend([made], [signed(made)])
    [standing] = await journal.unsettled(CHAIN, US, 0, 0)
    assert standing.intent == made
    assert standing.transactions == (signed(made),)
    assert standing.state == StateRow(made.id, OutcomeState.INTENDED, 1_000.0)


async def test_an_ended_intent_is_settled_once_a_reorg_can_t_undo_it_and_its_nonce_is_used(journal: Journal) -> None:
    made = intent(journal)
    await journal.intend([made], [signed(made, nonce=3)], [mined(made, block=10)])
    assert [s.state.state for s in await journal.unsettled(CHAIN, US, 10, 4)] == [OutcomeState.MINED]
    assert await journal.unsettled(CHAIN, US, 11, 4) == []
    assert len(await journal.unsettled(CHAIN, US, 11, 3)) == 1


async def test_lanes_and_chains_don_t_mix(journal: Journal) -> None:
    here, there, other = intent(journal), intent(journal, chain_id=1), intent(journal, lane="0x22")
    await journal.intend([here, there, other], [signed(here), signed(there), signed(other)], [mined(there)])
    assert [s.intent for s in await journal.unsettled(CHAIN, US, 0, 0)] == [here]
    assert await journal.spent(CHAIN, US, 0) == []
    assert await journal.spent(1, US, 0) == [(1_001.0, BIG)]


async def test_what_a_reorg_undid_was_not_spent(journal: Journal) -> None:
    made = intent(journal)
    await journal.intend([made], [signed(made)], [mined(made)])
    assert await journal.spent(CHAIN, US, 0) == [(1_001.0, BIG)]
    journal.record(StateRow(made.id, OutcomeState.SENT, 1_002.0))
    await journal.drain()
    assert await journal.spent(CHAIN, US, 0) == []


async def test_ids_go_on_after_a_restart(tmp_path: Path) -> None:
    first = await Journal.open(tmp_path / "journal")
    made = intent(first)
    await first.intend([made], [signed(made)])
    await first.close()
    second = await Journal.open(tmp_path / "journal")
    assert second.allot() == made.id + 1
    await second.close()


async def test_a_skip_is_written_once_per_reason_in_a_row(journal: Journal) -> None:
    written = [
        await journal.skip(US, "pool", "7", reason, for_block=block)
        for block, reason in enumerate(["too dear", "too dear", "paused", "paused", "too dear"])
    ]
    assert written == [True, False, True, False, True]
    assert [entry.reason for entry in await entries(journal.engine)] == ["too dear", "paused", "too dear"]


async def test_states_are_written_in_order_and_together(journal: Journal) -> None:
    made = intent(journal)
    await journal.intend([made], [signed(made)])
    for number in range(100):
        journal.record(StateRow(made.id, OutcomeState.REPLACED, 1_000.0 + number, str(number)))
    await journal.drain()
    [standing] = await journal.unsettled(CHAIN, US, 0, 0)
    assert standing.state.reason == "99"


async def test_a_commit_is_all_or_nothing(journal: Journal) -> None:
    made, same_id = intent(journal), intent(journal)
    same_id = Intent(made.id, *[getattr(same_id, name) for name in Intent.__slots__[1:]])
    with pytest.raises(StoreError, match="UNIQUE"):
        await journal.intend([made, same_id], [signed(made)])
    assert await journal.unsettled(CHAIN, US, 0, 0) == []
    await journal.intend([made], [signed(made)])
    assert len(await journal.unsettled(CHAIN, US, 0, 0)) == 1


async def test_a_chain_that_was_started_anew_is_refused(journal: Journal) -> None:
    await journal.bind(CHAIN, "0x01")
    await journal.bind(CHAIN, "0x01")
    await journal.bind(1, "0x02")
    with pytest.raises(StoreError, match="genesis block 0x01"):
        await journal.bind(CHAIN, "0x02")


async def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = await asyncio.to_thread(
        _write, tmp_path / "journal", b"not a database, and long enough to look like one" * 9
    )
    with pytest.raises(StoreError, match="not a database"):
        await Journal.open(path)


async def test_a_journal_of_another_schema_is_refused(tmp_path: Path) -> None:
    (await _sqlite(tmp_path / "journal", "CREATE TABLE odd (id)", "PRAGMA user_version=77"))
    with pytest.raises(StoreError, match="schema 77"):
        await Journal.open(tmp_path / "journal")


async def test_a_folder_that_can_t_be_made_is_refused(tmp_path: Path) -> None:
    path = await asyncio.to_thread(_write, tmp_path / "file", b"")
    with pytest.raises(StoreError, match="journal"):
        await Journal.open(path / "journal")


async def test_the_ledger_knows_what_was_used_of_gas_limits(journal: Journal) -> None:
    mined = [intent(journal, str(number)) for number in range(3)]
    await journal.intend(mined, [signed(each, nonce) for nonce, each in enumerate(mined)])
    for number, each in enumerate(mined):
        journal.record(StateRow(each.id, OutcomeState.MINED, 1_000.0 + number, gas_used=100_000 + number))
    await journal.drain()
    limit = mined[0].gas_limit
    assert await gas_used(journal.engine, mined[0].market, latest=2) == [(limit, 100_001), (limit, 100_002)]
    assert await gas_used(journal.engine, "another") == []


async def test_the_ledger_counts_each_decision_once(journal: Journal) -> None:
    won, lost, cancelled, open_ = (intent(journal, str(number)) for number in range(4))
    await journal.intend(
        [won, lost, cancelled, open_], [signed(each, nonce) for nonce, each in enumerate((won, lost, cancelled, open_))]
    )
    journal.record(
        StateRow(won.id, OutcomeState.SENT, 1_000.5, elapsed_us=800),
        StateRow(won.id, OutcomeState.REPLACED, 1_000.6),
        mined(won, fee_wei=5),
        StateRow(lost.id, OutcomeState.REVERTED, 1_002.0, "no position", "gone", fee_wei=3, block_number=10),
        StateRow(cancelled.id, OutcomeState.CANCELLED, 1_003.0, fee_wei=1, block_number=10),
    )
    await journal.drain()
    await journal.skip(US, "pool", "9", "too dear")
    found = await entries(journal.engine)
    assert totals(found) == [Totals("pool", 1, 1, 1, 0, 1, 1, BIG, 9, 4)]
    assert next(entry for entry in found if entry.account == "0").to_sent_us == 800
    assert [entry.account for entry in await entries(journal.engine, limit=1)] == ["9"]
    assert [entry.account for entry in await entries(journal.engine, since=1_002.5)] == ["9", "2"]


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def _sqlite(path: Path, *statements: str) -> None:
    def run() -> None:
        with closing(sqlite3.connect(path)) as connection:
            for statement in statements:
                connection.execute(statement)

    await asyncio.to_thread(run)


async def test_a_checkpoint_moves_the_log_into_the_file(journal: Journal, tmp_path: Path) -> None:
    for number in range(200):
        made = intent(journal)
        await journal.intend([made], [signed(made, number, f"0x{number}")])
    before = await asyncio.to_thread(_size, tmp_path / "journal")
    await journal.checkpoint()
    assert await asyncio.to_thread(_size, tmp_path / "journal") > before


def _size(path: Path) -> int:
    return path.stat().st_size


async def test_what_sqlite_can_t_hold_is_a_sentence(journal: Journal) -> None:
    for odd in (StateRow(1, OutcomeState.MINED, 1.0, gas_used=2**64), StateRow(1, OutcomeState.MINED, 1.0, "\ud800")):
        with pytest.raises(StoreError):
            await journal.intend([], [], [odd])


async def test_the_same_bytes_for_the_same_intent_are_one_transaction(journal: Journal) -> None:
    made = intent(journal)
    await journal.intend([made], [signed(made)])
    await journal.intend([], [signed(made)])
    [standing] = await journal.unsettled(CHAIN, US, 0, 0)
    assert standing.transactions == (signed(made),)


async def test_an_account_that_was_acted_upon_is_left_again_for_the_same_reason(journal: Journal) -> None:
    assert await journal.skip(US, "pool", "7", "too dear")
    assert not await journal.skip(US, "pool", "7", "too dear")
    made = intent(journal, "7")
    await journal.intend([made], [signed(made)])
    assert await journal.skip(US, "pool", "7", "too dear")
