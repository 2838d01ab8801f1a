"""Logs come whole: in ranges as large as a node takes, whatever it says when it does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keeper.chain.answers import Json, RpcError, fields
from keeper.chain.blocks import BloomFilter, bloom_mask
from keeper.chain.endpoint import Endpoint
from keeper.chain.logs import BlockBloom, LogFetcher
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError
from keeper.model import Header, LogFilter
from tests.chain.fake_node import CHAIN_ID, Error, serving
from tests.unit.test_chain_answers import TOO_MUCH

POOL = "0x" + "11" * 20
WANTED = LogFilter(frozenset({POOL}))


def block_hash(number: int) -> str:
    return f"0x{number:064x}"


def header(number: int) -> Header:
    return Header(number, block_hash(number), block_hash(number - 1), 0, 0, 0, None)


def log(number: int) -> dict[str, Json]:
    return {
        "address": POOL,
        "topics": [],
        "data": "0x",
        "blockNumber": hex(number),
        "blockHash": block_hash(number),
        "transactionHash": block_hash(number),
        "logIndex": "0x0",
    }


class Node:
    """One log in every block, and a limit on how many blocks are told at a time."""

    def __init__(self, most: int, says: str) -> None:
        self.most = most
        self.says = says
        self.asked = 0
        self.fork = ""

    def __call__(self, method: str, params: Sequence[Json]) -> object:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_getBlockByNumber":
            number = int(str(params[0]), 16)
            return {
                "number": hex(number),
                "hash": self.fork or block_hash(number),
                "parentHash": block_hash(number - 1),
                "timestamp": "0x0",
                "gasLimit": "0x0",
                "gasUsed": "0x0",
            }
        self.asked += 1
        wanted = fields(params[0])
        if "blockHash" in wanted:
            return [log(int(str(wanted["blockHash"]), 16))]
        first, last = int(str(wanted["fromBlock"]), 16), int(str(wanted["toBlock"]), 16)
        if last - first + 1 > self.most:
            raise Error(-32005, self.says)
        return [log(number) for number in range(last, first - 1, -1)] * 2


@pytest.mark.parametrize("says", [*TOO_MUCH, "some wording that nobody has seen before"])
async def test_a_range_limit_shrinks_the_range_and_goes_on(says: str) -> None:
    node = Node(800, says)
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        fetcher = LogFetcher(rpc)
        found = await fetcher.between(rpc.links[0], WANTED, 1, header(5_000))
        assert [each.block_number for each in found] == list(range(1, 5_001)), "each once and in order"
        assert node.asked < 20
        node.asked = 0
        await fetcher.between(rpc.links[0], WANTED, 1, header(400))
        assert node.asked == 1, "what was learnt is not forgotten"


async def test_a_range_grows_again_where_the_node_takes_more() -> None:
    node = Node(10**9, "")
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        await LogFetcher(rpc).between(rpc.links[0], WANTED, 1, header(30_000))
        assert node.asked <= 5


async def test_a_node_that_takes_no_range_at_all_is_an_error() -> None:
    async with serving(Node(0, "query returned more than 10000 results")) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        with pytest.raises(RpcError, match="10000"):
            await LogFetcher(rpc).between(rpc.links[0], WANTED, 1, header(5_000))


async def test_a_rate_limit_does_not_shrink_the_range() -> None:
    node = Node(0, "too many requests, slow down")
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        with pytest.raises(RpcError, match="slow down"):
            await LogFetcher(rpc).between(rpc.links[0], WANTED, 1, header(5_000))
        assert node.asked == 1


async def test_a_stretch_whose_head_changed_meanwhile_is_refused() -> None:
    node = Node(10**9, "")
    node.fork = "0x" + "ff" * 32
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        with pytest.raises(ChainError, match="changed meanwhile"):
            await LogFetcher(rpc).between(rpc.links[0], WANTED, 1, header(100))


async def test_a_bloom_is_believed_only_after_it_has_proved_true() -> None:
    node = Node(10**9, "")
    wanted = BloomFilter.of(WANTED)
    full = bloom_mask(bytes.fromhex(POOL[2:]))
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        fetcher, link = LogFetcher(rpc), rpc.links[0]
        await fetcher.of_blocks(link, WANTED, [BlockBloom(block_hash(1), None, link)], wanted)
        assert node.asked == 1
        found = await fetcher.of_blocks(link, WANTED, [BlockBloom(block_hash(2), full, link)], wanted)
        assert [each.block_number for each in found[block_hash(2)]] == [2]
        assert await fetcher.of_blocks(link, WANTED, [BlockBloom(block_hash(3), 0, link)], wanted) == {}
        assert node.asked == 2, "from now on a bloom that excludes a block spares the call"
        assert block_hash(4) in await fetcher.of_blocks(link, WANTED, [BlockBloom(block_hash(4), None, link)], wanted)


async def test_a_bloom_that_was_untrue_once_is_never_believed_again() -> None:
    node = Node(10**9, "")
    wanted = BloomFilter.of(WANTED)
    full = bloom_mask(bytes.fromhex(POOL[2:]))
    async with serving(node) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        fetcher, link = LogFetcher(rpc), rpc.links[0]
        for number, bloom in enumerate((0, full, 0, full, 0), start=1):
            found = await fetcher.of_blocks(link, WANTED, [BlockBloom(block_hash(number), bloom, link)], wanted)
            assert len(found[block_hash(number)]) == 1


async def test_a_bloom_is_believed_of_the_endpoint_that_told_it_and_not_of_the_one_that_is_asked() -> None:
    node = Node(10**9, "")
    wanted = BloomFilter.of(WANTED)
    full = bloom_mask(bytes.fromhex(POOL[2:]))
    async with serving(node) as url, Rpc([Endpoint(url), Endpoint(f"{url}/zeros")], CHAIN_ID) as rpc:
        fetcher, (true, zeros) = LogFetcher(rpc), rpc.links
        await fetcher.of_blocks(true, WANTED, [BlockBloom(block_hash(1), full, true)], wanted)
        assert await fetcher.of_blocks(zeros, WANTED, [BlockBloom(block_hash(2), 0, true)], wanted) == {}
        found = await fetcher.of_blocks(true, WANTED, [BlockBloom(block_hash(3), 0, zeros)], wanted)
        assert len(found[block_hash(3)]) == 1
