"""A mirror's file: one transaction a block, and never another's rows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.errors import StoreError
from keeper.model import Block, Header, Log, Row
from keeper.store.mirror import Identity, MirrorStore

MINE = Identity(56, "deri-bnb", "0xPool")
LOG = Log("0x" + "11" * 20, (b"\x01" * 32, b"\x02" * 32), b"\x03\x04", 2, "0xb2", "0xf00d", 7)


def block(number: int, fork: str = "b", logs: tuple[Log, ...] = ()) -> Block:
    return Block(Header(number, f"0x{fork}{number}", f"0x{fork}{number - 1}", 1000, 30_000_000, 21_000, None), logs)


CHAIN = [block(1), block(2, logs=(LOG,)), block(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "mirror.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[MirrorStore]:
    store = await MirrorStore.open(path, MINE)
    yield store
    await store.close()


async def reopened(path: Path, store: MirrorStore, identity: Identity = MINE) -> MirrorStore:
    await store.close()
    return await MirrorStore.open(path, identity)


def overwrite(path: Path, at: int, content: bytes) -> None:
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(before[:at] + content + before[at + len(content) :])


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("mirror.sqlite.aside-*"))


async def test_a_new_store_holds_nothing(store: MirrorStore) -> None:
    assert await store.load() is None


async def test_what_was_saved_is_there_after_a_restart(path: Path, store: MirrorStore) -> None:
    await store.save([Row("account", "1", b"one"), Row("account", "2", b"two"), Row("symbol", "1", b"s")], CHAIN)
    again = await reopened(path, store)
    stored = await again.load()
    await again.close()
    assert stored is not None
    assert stored.head == CHAIN[-1].header
    assert list(stored.blocks) == CHAIN
    assert {(row.kind, row.key): row.payload for row in stored.rows} == {
        ("account", "1"): b"one",
        ("account", "2"): b"two",
        ("symbol", "1"): b"s",
    }


async def test_a_save_changes_deletes_and_moves_on(store: MirrorStore) -> None:
    await store.save([Row("account", "1", b"one"), Row("account", "2", b"two")], CHAIN)
    fork = [CHAIN[0], CHAIN[1], block(3, "c"), block(4, "c")]
    await store.save([Row("account", "1", b"new"), Row("account", "2", None)], fork)
    stored = await store.load()
    assert stored is not None
    assert list(stored.blocks) == fork
    assert stored.rows == (Row("account", "1", b"new"),)


async def test_logs_that_a_block_is_found_to_have_later_are_kept_too(store: MirrorStore) -> None:
    await store.save([], CHAIN)
    fuller = [*CHAIN[:2], replace(CHAIN[2], logs=(replace(LOG, block_number=3),))]
    await store.save([], fuller)
    stored = await store.load()
    assert stored is not None
    assert list(stored.blocks) == fuller


async def test_rows_of_an_unknown_block_are_not_restored_until_the_block_is_known(store: MirrorStore) -> None:
    await store.save([Row("account", "1", b"one")], CHAIN)
    await store.save([Row("account", "1", b"two")], [])
    assert await store.load() is None
    await store.save([], CHAIN)
    stored = await store.load()
    assert stored is not None
    assert stored.rows == (Row("account", "1", b"two"),)


async def test_a_save_that_fails_changes_nothing(path: Path, store: MirrorStore) -> None:
    await store.save([Row("account", "1", b"one")], CHAIN)
    other = sqlite3.connect(path)
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON mirror_blocks BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    )
    other.commit()
    with pytest.raises(StoreError, match="the disk is full"):
        await store.save([Row("account", "1", b"two")], [*CHAIN, block(4)])
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    stored = await store.load()
    assert stored is not None
    assert (stored.head.number, stored.rows) == (3, (Row("account", "1", b"one"),))
    await store.save([Row("account", "1", b"two")], [*CHAIN, block(4)])
    stored = await store.load()
    assert stored is not None
    assert stored.head.number == 4


async def test_a_save_that_is_cancelled_half_way_leaves_the_file_free(path: Path, store: MirrorStore) -> None:
    rows = [Row("account", str(number), bytes(200)) for number in range(5_000)]
    for moment in range(12):
        saving = asyncio.create_task(store.save(rows, CHAIN))
        await asyncio.sleep(moment * 0.004)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        store = await reopened(path, store)
        await store.save([Row("account", "last", b"one")], CHAIN)
    await store.close()


@pytest.mark.parametrize(
    "other",
    [replace(MINE, chain_id=97), replace(MINE, market="deri-arbitrum"), replace(MINE, contract="0xOther")],
    ids=["chain", "market", "contract"],
)
async def test_a_store_of_another_is_moved_aside_whole(path: Path, store: MirrorStore, other: Identity) -> None:
    await store.save([Row("account", "1", b"one")], CHAIN)
    again = await reopened(path, store, other)
    assert await again.load() is None
    await again.close()
    [kept] = aside(path)
    kept.rename(path)
    back = await MirrorStore.open(path, MINE)
    assert await back.load() is not None
    await back.close()


async def test_a_damaged_store_is_moved_aside(path: Path, store: MirrorStore) -> None:
    await store.save([Row("account", str(number), bytes(500)) for number in range(200)], CHAIN)
    await store.close()
    overwrite(path, 5_000, bytes(25_000))
    again = await MirrorStore.open(path, MINE)
    assert await again.load() is None
    await again.close()
    assert len(aside(path)) == 1


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 20, b"\0" * 4096])
async def test_a_file_that_is_no_database_is_moved_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    overwrite(path, 0, content)
    store = await MirrorStore.open(path, MINE)
    assert await store.load() is None
    await store.close()
    assert [kept.read_bytes() for kept in aside(path)] == [content]


async def test_a_database_of_something_else_is_moved_aside(path: Path) -> None:
    path.parent.mkdir(parents=True)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE journal (id INTEGER)")
    other.commit()
    other.close()
    store = await MirrorStore.open(path, MINE)
    await store.close()
    assert len(aside(path)) == 1


async def test_a_store_that_the_market_refuses_is_begun_anew(path: Path, store: MirrorStore) -> None:
    await store.save([Row("account", "1", b"one")], CHAIN)
    await store.renew("its rows are of an older keeper")
    assert await store.load() is None
    await store.save([Row("account", "1", b"new")], CHAIN)
    assert await store.load() is not None
    assert len(aside(path)) == 1


async def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="to be opened"):
        await MirrorStore.open(tmp_path / "var" / "mirror.sqlite", MINE)


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No block can be written meanwhile."""
    with closing(sqlite3.connect(path)) as other:
        other.execute(
            "CREATE TRIGGER full BEFORE INSERT ON mirror_blocks BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        other.commit()
        yield
        other.execute("DROP TRIGGER full")
        other.commit()


async def test_what_could_not_be_written_is_written_with_the_next_save_as_it_is_by_then(
    path: Path, store: MirrorStore
) -> None:
    await store.save([Row("account", "1", b"one")], CHAIN[:2])
    with full_disk(path), pytest.raises(StoreError, match="full"):
        await store.save([Row("account", "1", None), Row("account", "2", b"two")], CHAIN)
    await store.save([Row("account", "1", b"again")], CHAIN)
    stored = await store.load()
    assert stored is not None
    assert {row.key: row.payload for row in stored.rows} == {"1": b"again", "2": b"two"}


async def test_what_could_not_be_written_is_of_no_use_once_everything_is_read_anew(
    path: Path, store: MirrorStore
) -> None:
    with full_disk(path), pytest.raises(StoreError, match="full"):
        await store.save([Row("account", "1", b"stale")], CHAIN)
    await store.clear()
    await store.save([Row("account", "2", b"two")], CHAIN)
    stored = await store.load()
    assert stored is not None
    assert [row.key for row in stored.rows] == ["2"]
