"""The window of recent blocks, and what a bloom filter can tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from keeper.chain.blocks import BloomFilter, RecentBlocks, bloom_mask, in_order, joined_filter, logs_of
from keeper.errors import ChainError
from keeper.model import Block, Header, Log, LogFilter

POOL = "0x" + "11" * 20
OTHER = "0x" + "22" * 20
TRADE = keccak(text="Trade()")


def header(number: int, fork: str = "a") -> Header:
    return Header(number, f"{fork}{number}", f"{fork}{number - 1}", 1000 + number, 30_000_000, 0, 1)


def log(number: int, index: int = 0, fork: str = "a") -> Log:
    return Log(POOL, (TRADE,), b"", number, f"{fork}{number}", "0x01", index)


def chain(first: int, last: int, fork: str = "a") -> list[Block]:
    return [Block(header(number, fork), (log(number, fork=fork),)) for number in range(first, last + 1)]


def test_a_fork_replaces_what_followed_the_ancestor() -> None:
    recent = RecentBlocks(chain(1, 5))
    assert [block.header.number for block in recent.after("a3")] == [4, 5]
    recent.replace_after("a3", chain(4, 6, "b"))
    assert recent.head == header(6, "b")
    assert "a4" not in recent
    assert "b4" in recent


def test_only_the_last_blocks_are_kept() -> None:
    recent = RecentBlocks(chain(1, 5), kept=3)
    assert (recent.oldest.number, len(recent)) == (3, 3)
    recent.replace_after("a5", chain(6, 7))
    assert (recent.oldest.number, recent.head.number, len(recent)) == (5, 7, 3)


def test_the_window_up_to_a_block_is_known_also_after_a_reorg_took_it_away() -> None:
    recent = RecentBlocks(chain(1, 5))
    recent.replace_after("a3", chain(4, 4, "b"))
    assert [block.header.hash for block in recent.up_to("a5")] == ["a1", "a2", "a3", "a4", "a5"]
    assert [block.header.hash for block in recent.up_to("b4")] == ["a1", "a2", "a3", "b4"]
    assert recent.up_to("c9") == []
    recent.replace_after("a2", chain(3, 6, "c"))
    assert [block.header.hash for block in recent.up_to("a5")] == ["a1", "a2", "a3", "a4", "a5"]


def test_a_number_within_a_stretch_was_passed_over() -> None:
    recent = RecentBlocks([*chain(1, 2), Block(header(40))])
    assert recent.passed_over(0)
    assert recent.passed_over(30)
    assert not recent.passed_over(2)
    assert not recent.passed_over(41)


def test_logs_found_later_belong_to_their_block_or_to_the_stretch_it_is_in() -> None:
    recent = RecentBlocks([Block(header(1)), Block(header(2)), Block(header(40))])
    recent.add_logs([log(2, 1), log(2, 0), log(30), log(40)])
    assert [len(block.logs) for block in recent.blocks] == [0, 2, 2]
    assert [each.log_index for each in recent.blocks[1].logs] == [0, 1]
    recent.add_logs([log(2, 1)])
    assert len(recent.blocks[1].logs) == 2


def test_logs_are_told_once_and_in_chain_order() -> None:
    assert in_order([log(2), log(1, 5), log(1, 2), log(2)]) == (log(1, 2), log(1, 5), log(2))
    other = replace(log(1, 2), block_hash="b1")
    assert len(in_order([log(1, 2), other])) == 2, "the same log on another fork is another log"


def test_joined_filters_want_what_any_of_them_wants() -> None:
    all_of_it, trades = LogFilter(frozenset({POOL})), LogFilter(frozenset({OTHER}), frozenset({TRADE}))
    assert joined_filter([trades, trades]) == trades
    assert joined_filter([all_of_it, trades]) == LogFilter(frozenset({POOL, OTHER}))


def test_a_bloom_excludes_only_what_cannot_be_there() -> None:
    wanted = BloomFilter.of(LogFilter(frozenset({POOL}), frozenset({TRADE})))
    pool, trade, other = bloom_mask(bytes.fromhex(POOL[2:])), bloom_mask(TRADE), bloom_mask(bytes.fromhex(OTHER[2:]))
    assert wanted.may_match(pool | trade | other)
    assert not wanted.may_match(pool | other), "the pool logged something else"
    assert not wanted.may_match(trade | other), "somebody else logged that"
    assert not wanted.may_match(0)
    assert BloomFilter.of(LogFilter(frozenset({POOL}))).may_match(pool)


def test_a_bloom_mask_is_that_of_the_yellow_paper() -> None:
    # Three bits, from the low eleven bits of the first three pairs of bytes of the hash.
    digest = keccak(b"keeper")
    bits = {int.from_bytes(digest[at : at + 2], "big") & 2047 for at in (0, 2, 4)}
    assert {bit for bit in range(2048) if bloom_mask(b"keeper") >> bit & 1} == bits


def test_a_log_of_no_address_is_not_believed() -> None:
    told = {
        "address": "0x12",
        "topics": [],
        "data": "0x",
        "blockNumber": "0x1",
        "blockHash": "0xb1",
        "transactionHash": "0xf0",
        "logIndex": "0x0",
    }
    with pytest.raises(ChainError, match="an address"):
        logs_of([told])
