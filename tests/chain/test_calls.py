"""Pinned reads: all of one block, in as few calls as the node takes, and exact whatever runs out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from eth_abi.abi import encode

from keeper.chain.answers import Json, RpcError, items
from keeper.chain.blocks import header_of
from keeper.chain.calls import FIRST_SIZE, SMALL, PinnedReader
from keeper.chain.endpoint import Endpoint
from keeper.chain.multicall import AGGREGATE3_CODE, MULTICALL3
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import Anvil
from keeper.errors import ChainError
from keeper.model import ReadCall, ReadResult
from tests.chain.fake_node import CHAIN_ID, Error, chain, serving

ECHO = "0x00000000000000000000000000000000000000e0"
THIRSTY = "0x00000000000000000000000000000000000000e1"
SILENT = "0x00000000000000000000000000000000000000e2"
SAYS_WHY = "0x00000000000000000000000000000000000000e5"
NUMBER = "0x00000000000000000000000000000000000000e3"


@pytest.fixture
async def rpc(anvil: Anvil) -> AsyncIterator[Rpc]:
    # calldatacopy everything and return it
    await anvil.set_code(ECHO, bytes.fromhex("365f5f37365ff3"))
    # hash a megabyte (some 200 thousand gas), then return a word
    await anvil.set_code(THIRSTY, bytes.fromhex("620fffff5f205f5260205ff3"))
    # the block's number
    await anvil.set_code(NUMBER, bytes.fromhex("435f5260205ff3"))
    # revert with a word
    await anvil.set_code(SAYS_WHY, bytes.fromhex("602a5f5260205ffd"))
    # revert without a word
    await anvil.set_code(SILENT, bytes.fromhex("5f5ffd"))
    async with Rpc([Endpoint(anvil.http_url)], 31337) as rpc:
        yield rpc


async def head_hash(anvil: Anvil) -> str:
    return header_of(await anvil.block()).hash


async def test_calls_are_answered_in_order_also_in_many_batches(anvil: Anvil, rpc: Rpc) -> None:
    calls = [ReadCall(ECHO, index.to_bytes(4, "big")) for index in range(5_000)]
    results = await PinnedReader(rpc).read(calls, await head_hash(anvil))
    assert results == [ReadResult(ok=True, data=call.data) for call in calls]
    assert rpc.calls["eth_call"] <= 5_000 // FIRST_SIZE


async def test_a_slow_node_is_not_asked_for_ever_less(anvil: Anvil, rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeper.chain.calls.AIM_S", 0.0)
    calls = [ReadCall(ECHO, index.to_bytes(4, "big")) for index in range(5_000)]
    results = await PinnedReader(rpc).read(calls, await head_hash(anvil))
    assert results == [ReadResult(ok=True, data=call.data) for call in calls]
    assert rpc.calls["eth_call"] <= 5_000 // (SMALL // 2)


async def test_nothing_to_read_costs_nothing(anvil: Anvil, rpc: Rpc) -> None:
    assert await PinnedReader(rpc).read([], "0x00") == []
    assert rpc.calls["eth_call"] == rpc.calls["eth_getCode"] == 0


async def test_reads_see_the_block_that_was_named(anvil: Anvil, rpc: Rpc) -> None:
    await anvil.mine(3)
    named = await head_hash(anvil)
    await anvil.mine(2)
    [result] = await PinnedReader(rpc).read([ReadCall(NUMBER, b"")], named)
    assert int.from_bytes(result.data, "big") == 3


async def test_a_multicall_that_is_deployed_is_used_and_nothing_injected(anvil: Anvil, rpc: Rpc) -> None:
    deployed = "0x00000000000000000000000000000000000000e4"
    await anvil.set_code(deployed, bytes.fromhex(AGGREGATE3_CODE))
    head = await head_hash(anvil)
    assert (await PinnedReader(rpc, deployed).read([ReadCall(ECHO, b"1")], head))[0].data == b"1"
    with pytest.raises(ChainError, match="aggregate3"):
        # There is code at this address, so it is asked as it is; but it is no Multicall.
        await PinnedReader(rpc, NUMBER).read([ReadCall(ECHO, b"1")], head)


async def test_a_revert_is_an_answer(anvil: Anvil, rpc: Rpc) -> None:
    results = await PinnedReader(rpc).read(
        [ReadCall(SILENT, b""), ReadCall(ECHO, b"a"), ReadCall(SAYS_WHY, b""), ReadCall("0x" + "99" * 20, b"b")],
        await head_hash(anvil),
    )
    assert results == [
        ReadResult(ok=False, data=b""),
        ReadResult(ok=True, data=b"a"),
        ReadResult(ok=False, data=(42).to_bytes(32, "big")),
        ReadResult(ok=True, data=b""),  # an address without code answers with nothing, as in Solidity
    ]


async def test_a_call_starved_by_its_batch_is_asked_again(anvil: Anvil, rpc: Rpc) -> None:
    """200 of these need more gas than a call gets; none may pass for one that reverts."""
    calls = [ReadCall(THIRSTY, b""), ReadCall(SILENT, b"")] * 200
    results = await PinnedReader(rpc).read(calls, await head_hash(anvil))
    assert [result.ok for result in results] == [True, False] * 200


async def test_a_block_that_is_gone_is_an_error_soon(anvil: Anvil, rpc: Rpc) -> None:
    with pytest.raises(RpcError):
        await PinnedReader(rpc).read([ReadCall(ECHO, b"1")] * 500, "0x" + "ab" * 32)
    assert rpc.calls["eth_call"] + rpc.calls["eth_getCode"] < 20


async def test_a_block_that_a_reorg_took_away_is_an_error(anvil: Anvil, rpc: Rpc) -> None:
    await anvil.mine(3)
    gone = await head_hash(anvil)
    reader = PinnedReader(rpc)
    assert (await reader.read([ReadCall(ECHO, b"1")], gone))[0].ok
    await anvil.reorg(2)
    with pytest.raises(ChainError):
        await reader.read([ReadCall(ECHO, b"1")], gone)


async def test_a_batch_shrinks_to_what_the_node_takes() -> None:
    """A node that takes few calls at a time, and words it as none of those that are known."""
    most = 30
    refused = 0

    def answer(method: str, params: Json) -> object:
        nonlocal refused
        if method == "eth_getCode":
            return "0x01"
        call, *_ = items(params)
        assert isinstance(call, dict)
        count = int(str(call["data"])[2 + 8 + 64 : 2 + 8 + 128], 16)
        if count > most:
            refused += 1
            raise Error(-32000, "your plan is too small for that")
        return "0x" + encode(["(bool,bytes)[]"], [[(True, b"ok")] * count]).hex()

    async with serving(chain(answer)) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        reader = PinnedReader(rpc, MULTICALL3)
        results = await reader.read([ReadCall(ECHO, b"1")] * 1_000, "0x00")
        assert results == [ReadResult(ok=True, data=b"ok")] * 1_000
        first = refused
        await reader.read([ReadCall(ECHO, b"1")] * 200, "0x00")
        assert refused - first <= first / 2, "what was learnt is not forgotten"
