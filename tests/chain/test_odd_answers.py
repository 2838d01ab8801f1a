"""Nodes that answer what no node should: it is an error of that node's, and of nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
import websockets
from aiohttp import web

from keeper.chain.answers import Json, UnreachableError
from keeper.chain.blocks import BloomFilter, header_of
from keeper.chain.endpoint import Endpoint
from keeper.chain.heads import Heads, HistoryLostError
from keeper.chain.logs import BlockBloom, LogFetcher
from keeper.chain.mempool import Waiting, watch
from keeper.chain.rpc import Rpc, TransactionRefusedError
from keeper.chain.survey import survey
from keeper.chain.transport import WebsocketTransport
from keeper.model import Block, Header, LogFilter
from tests.chain.fake_node import CHAIN_ID, Answer, Error, chain, serving

TARGET = "0x00000000000000000000000000000000000Ace55"


async def test_a_block_without_a_number_is_no_head_to_compare() -> None:
    block = {"number": "0x5", "hash": "0xb5"}
    async with (
        serving(chain(lambda method, params: {})) as empty,
        serving(chain(lambda method, params: block)) as sound,
        Rpc([Endpoint(empty), Endpoint(sound, 1)], CHAIN_ID) as rpc,
    ):
        await survey(rpc, 3, lambda block_hash: True)
        assert [link.health.trusted for link in rpc.links] == [True, True]


async def test_json_too_deep_to_read_is_no_answer() -> None:
    def deep(method: str, params: Sequence[Json]) -> object:
        raise web.HTTPOk(text="[" * 200_000)

    async with serving(chain(deep)) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        with pytest.raises(UnreachableError, match="not JSON"):
            await rpc.request("eth_blockNumber", link=rpc.links[0])


async def test_a_node_that_throttles_has_not_refused_the_transaction() -> None:
    def busy(method: str, params: Sequence[Json]) -> object:
        raise Error(-32005, "daily request count exceeded, request rate limited")

    async with serving(chain(busy)) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        with pytest.raises(TransactionRefusedError) as refused:
            await rpc.send_raw_transaction(b"\x01")
        assert not refused.value.certain
        assert not any(reply.refused for reply in refused.value.replies)


async def test_a_node_that_pushes_hashes_it_does_not_know_is_listened_to_on_one_subscription() -> None:
    asked: list[str] = []

    async def answer(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            call = json.loads(message)
            asked.append(call["method"])
            reply: dict[str, object] = {"jsonrpc": "2.0", "id": call["id"]}
            match call["method"]:
                case "eth_chainId":
                    reply["result"] = hex(CHAIN_ID)
                case "eth_subscribe":
                    reply["result"] = "0x1"
                case "eth_getTransactionByHash" if call["params"] == ["0x02"]:
                    reply["result"] = {"to": TARGET.lower(), "hash": "0x02", "input": "0x07", "gasPrice": "0x5"}
                case _:
                    reply["error"] = {"code": -32000, "message": "internal error"}
            await connection.send(json.dumps(reply))
            if call["method"] == "eth_subscribe":
                for name in ("0x01", "0x02"):
                    push = {"method": "eth_subscription", "params": {"subscription": "0x1", "result": name}}
                    await connection.send(json.dumps(push))

    seen: asyncio.Queue[Waiting] = asyncio.Queue()
    async with websockets.serve(answer, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Rpc([Endpoint(url)], CHAIN_ID) as rpc, asyncio.timeout(5):
            watching = asyncio.create_task(watch(rpc, {TARGET}, seen.put_nowait))
            assert (await seen.get()).hash == "0x02"
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert asked.count("eth_subscribe") == 1


async def test_who_is_cancelled_while_a_websocket_is_closed_is_cancelled() -> None:
    async with websockets.serve(lambda connection: connection.wait_closed(), "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = WebsocketTransport(Endpoint(url))
        with pytest.raises(UnreachableError):
            await transport.exchange([("eth_chainId", [])], 0.2)
        closing = asyncio.create_task(transport.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing


@pytest.mark.parametrize(("number", "block_hash"), [("0x9", "0xb9"), ("0x5", "0xanother")])
async def test_logs_of_other_blocks_than_asked_for_are_not_taken(number: str, block_hash: str) -> None:
    head = Header(5, "0xb5", "0xb4", 1000, 30_000_000, 0, None)
    stray = {
        "address": TARGET.lower(),
        "topics": [],
        "data": "0x",
        "blockNumber": number,
        "blockHash": block_hash,
        "transactionHash": "0xf0",
        "logIndex": "0x0",
    }
    wanted = LogFilter(frozenset({TARGET}))
    async with serving(chain(lambda method, params: [stray])) as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        fetcher, [link] = LogFetcher(rpc), rpc.links
        with pytest.raises(UnreachableError, match="other blocks"):
            await fetcher.of_blocks(link, wanted, [BlockBloom("0xb5", None, link)], BloomFilter.of(wanted))
        if number == "0x9":
            with pytest.raises(UnreachableError, match="other blocks"):
                await fetcher.between(link, wanted, 1, head)


async def test_a_head_far_ahead_that_others_do_not_know_is_no_reason_to_read_everything_anew() -> None:
    def at(height: int, fork: str) -> Answer:
        def answer(method: str, params: Sequence[Json]) -> object:
            number = height if params[0] == "latest" else int(str(params[0]), 16)
            return block(number, fork) if number <= height else None

        return chain(answer)

    wild, sound = at(900_000, "f"), at(5, "a")
    async with serving(wild) as one, serving(sound) as other:
        async with Rpc([Endpoint(one), Endpoint(other, 1)], CHAIN_ID) as rpc:
            heads = Heads(rpc, LogFilter(frozenset()))
            await heads.start([Block(header_of(block(4, "a")))])
            with pytest.raises(UnreachableError, match="does not know"):
                await heads.catch_up()
        async with Rpc([Endpoint(one)], CHAIN_ID) as rpc:
            heads = Heads(rpc, LogFilter(frozenset()))
            await heads.start([Block(header_of(block(4, "a")))])
            with pytest.raises(HistoryLostError):
                await heads.catch_up()


def block(number: int, fork: str) -> dict[str, Json]:
    return {
        "number": hex(number),
        "hash": f"0x{fork}{number}",
        "parentHash": f"0x{fork}{number - 1}",
        "timestamp": hex(1_000 + number),
        "gasLimit": hex(30_000_000),
        "gasUsed": "0x0",
    }
