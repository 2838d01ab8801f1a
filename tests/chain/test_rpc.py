"""Many endpoints, one chain: who is asked, who is left out, what is counted, and what is never said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from keeper.chain.answers import Json, RpcError, UnreachableError
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Broadcast, Rpc, TransactionRefusedError
from keeper.devnet.anvil import Anvil
from keeper.errors import ChainError, ConfigError
from tests.chain.fake_node import CHAIN_ID, Answer, Error, chain, serving

NOWHERE = "http://127.0.0.1:9"


def number_of(height: int) -> Answer:
    return chain(lambda method, params: hex(height))


async def endpoints(stack: AsyncExitStack, *answers: Answer) -> list[Endpoint]:
    """One endpoint for each node, the first of the first priority."""
    urls = [await stack.enter_async_context(serving(answer)) for answer in answers]
    return [Endpoint(url, priority) for priority, url in enumerate(urls)]


async def test_an_endpoint_of_another_chain_is_refused_by_name() -> None:
    async with serving(number_of(1)) as url:
        with pytest.raises(ConfigError, match=f"chain 56 at {url}.*it serves chain {CHAIN_ID}"):
            async with Rpc([Endpoint(url)], 56):
                pass


async def test_no_endpoint_that_answers_is_an_error_with_every_cause() -> None:
    with pytest.raises(ChainError, match=r"http://127\.0\.0\.1:9: connect call failed"):
        async with Rpc([Endpoint(NOWHERE)], CHAIN_ID):
            pass


async def test_an_endpoint_that_is_down_at_the_start_is_checked_when_it_answers() -> None:
    wrong = chain(lambda method, params: "0x1")
    down = True

    def late(method: str, params: Sequence[Json]) -> object:
        if down:
            raise web.HTTPBadGateway
        return "0x1" if method == "eth_chainId" else wrong(method, params)

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, late, number_of(5))
        rpc = await stack.enter_async_context(Rpc(nodes, CHAIN_ID))
        assert await rpc.request("eth_blockNumber") == "0x5"
        down = False
        await asyncio.sleep(max(0.0, rpc.links[0].health.cooling_until - time.monotonic()))
        for _ in range(3):
            assert await rpc.request("eth_blockNumber") == "0x5"
        await asyncio.sleep(max(0.0, rpc.links[0].health.cooling_until - time.monotonic()))
        # Like any other trouble with an endpoint: who can do with another one goes on.
        with pytest.raises(UnreachableError, match="it serves chain 1"):
            await rpc.request("eth_blockNumber", link=rpc.links[0])
        assert rpc.links[0] not in rpc.order()


@pytest.mark.parametrize(
    "trouble",
    [
        web.HTTPTooManyRequests(),
        web.HTTPBadGateway(text="<html>"),
        Error(-32005, "rate limit exceeded"),
        Error(-32000, "header not found"),
    ],
    ids=["429", "502", "throttled", "unknown block"],
)
async def test_trouble_with_one_endpoint_is_the_next_ones_call(trouble: Exception) -> None:
    def troubled(method: str, params: Sequence[Json]) -> object:
        raise trouble

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, chain(troubled), number_of(5))
        rpc = await stack.enter_async_context(Rpc(nodes, CHAIN_ID))
        assert await rpc.request("eth_blockNumber") == "0x5"


async def test_a_revert_is_an_answer_and_nobody_else_is_asked() -> None:
    def reverts(method: str, params: Sequence[Json]) -> object:
        raise Error(3, "execution reverted: healthy", "0x08c379a0")

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, chain(reverts), number_of(5))
        rpc = await stack.enter_async_context(Rpc(nodes, CHAIN_ID))
        with pytest.raises(RpcError) as caught:
            await rpc.request("eth_call", [{}, "latest"])
        assert caught.value.revert_data == bytes.fromhex("08c379a0")
        assert rpc.calls["eth_call"] == 1


async def test_an_endpoint_that_failed_is_asked_after_the_others_for_a_while() -> None:
    fails = 1

    def once(method: str, params: Sequence[Json]) -> object:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise web.HTTPBadGateway
        return "0x1"

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, chain(once), number_of(5))
        rpc = await stack.enter_async_context(Rpc(nodes, CHAIN_ID))
        assert [link.endpoint.priority for link in rpc.order()] == [0, 1]
        await rpc.request("eth_blockNumber")
        assert [link.endpoint.priority for link in rpc.order()] == [1, 0]


async def test_a_batch_is_answered_in_order_with_errors_in_their_place() -> None:
    def some(method: str, params: Sequence[Json]) -> object:
        if params[0] == 1:
            raise Error(-32000, "no such thing")
        return params[0]

    async with AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(Rpc(await endpoints(stack, chain(some)), CHAIN_ID))
        answers = await rpc.batch([("get", [index]) for index in range(120)])
        assert isinstance(answers[1], RpcError)
        assert [answer for answer in answers if not isinstance(answer, RpcError)] == [0, *range(2, 120)]
        assert rpc.calls["get"] == 120


async def test_an_endpoint_is_asked_no_more_often_than_it_allows() -> None:
    async with AsyncExitStack() as stack:
        [node] = await endpoints(stack, number_of(1))
        rpc = await stack.enter_async_context(Rpc([Endpoint(node.url, requests_per_second=20)], CHAIN_ID))
        began = time.monotonic()
        await asyncio.gather(*(rpc.request("eth_blockNumber") for _ in range(45)))
        assert time.monotonic() - began > 2.0


async def test_a_transaction_goes_to_all_endpoints_and_the_first_acceptance_counts() -> None:
    def accepts(method: str, params: Sequence[Json]) -> object:
        return "0x" + "00" * 32

    def knows(method: str, params: Sequence[Json]) -> object:
        raise Error(-32000, "already known")

    def refuses(method: str, params: Sequence[Json]) -> object:
        raise Error(-32000, "nonce too low")

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, chain(refuses), chain(accepts), chain(knows))
        rpc = await stack.enter_async_context(Rpc([*nodes, Endpoint(NOWHERE, 3)], CHAIN_ID))
        broadcast = await rpc.send_raw_transaction(b"\x02raw")
        assert broadcast.accepted
        replies = {reply.endpoint: reply for reply in await broadcast.settled()}
        assert [replies[node.name].accepted for node in nodes] == [False, True, True]
        assert replies[nodes[0].name].refused
        assert not replies[NOWHERE].refused, "what was not reached did not refuse"


@pytest.mark.parametrize(("reachable", "certain"), [(True, True), (False, False)])
async def test_a_refusal_is_certain_only_if_every_endpoint_said_so(reachable: bool, certain: bool) -> None:
    def refuses(method: str, params: Sequence[Json]) -> object:
        raise Error(-32000, "insufficient funds")

    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, chain(refuses), chain(refuses))
        last = nodes[1] if reachable else Endpoint(NOWHERE)
        rpc = await stack.enter_async_context(Rpc([nodes[0], last], CHAIN_ID))
        with pytest.raises(TransactionRefusedError, match="insufficient funds") as caught:
            await rpc.send_raw_transaction(b"\x02raw")
        assert caught.value.certain is certain
        assert caught.value.message == "insufficient funds"


async def test_transactions_that_go_together_arrive_in_their_order_and_each_has_its_own_end() -> None:
    arrived: list[list[Json]] = [[], []]

    def node(number: int, refuses: str) -> Answer:
        def answer(method: str, params: Sequence[Json]) -> object:
            arrived[number].append(params[0])
            if params[0] in (refuses, "0x09"):
                raise Error(-32000, "nonce too low")
            return "0x" + "00" * 32

        return chain(answer)

    raws = [b"\x01", b"\x02", b"\x03", b"\x09"]
    async with AsyncExitStack() as stack:
        nodes = await endpoints(stack, node(0, "0x02"), node(1, "0x03"))
        rpc = await stack.enter_async_context(Rpc(nodes, CHAIN_ID))
        *accepted, refused = await asyncio.gather(*rpc.broadcast(raws), return_exceptions=True)
        assert all(isinstance(each, Broadcast) and each.accepted for each in accepted)
        assert isinstance(refused, TransactionRefusedError)
        assert refused.certain
        assert rpc.calls["eth_sendRawTransaction"] == 8
    assert arrived == [["0x01", "0x02", "0x03", "0x09"]] * 2


async def test_a_node_that_takes_no_batches_is_given_transactions_one_by_one() -> None:
    node = serving(chain(lambda method, params: params[0]), batches=False)
    async with node as url, Rpc([Endpoint(url)], CHAIN_ID) as rpc:
        broadcasts = await asyncio.gather(*rpc.broadcast([b"\x01", b"\x02"]))
        assert all(broadcast.accepted for broadcast in broadcasts)


async def test_an_endpoint_that_hangs_holds_up_only_what_the_others_refused() -> None:
    async def hang(request: web.Request) -> web.StreamResponse:
        answer = await request.json()
        if not isinstance(answer, list):
            return web.json_response({"jsonrpc": "2.0", "id": answer["id"], "result": hex(CHAIN_ID)})
        await asyncio.sleep(60)
        raise web.HTTPBadGateway

    app = web.Application()
    app.router.add_post("/", hang)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()

    def refuses_two(method: str, params: Sequence[Json]) -> object:
        if params[0] == "0x02":
            raise Error(-32000, "insufficient funds")
        return "0x" + "00" * 32

    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with AsyncExitStack() as stack:
            nodes = await endpoints(stack, chain(refuses_two))
            hanging = Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}", 1)
            rpc = await stack.enter_async_context(Rpc([*nodes, hanging], CHAIN_ID))
            one, two = rpc.broadcast([b"\x01", b"\x02"], timeout_s=1.0)
            assert (await one).accepted
            assert not two.done()
            with pytest.raises(TransactionRefusedError) as caught:
                await two
            assert not caught.value.certain
    finally:
        await runner.cleanup()


async def test_a_key_in_a_url_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    secret = "s3cr3tkey"
    caplog.set_level("DEBUG")
    with capture_logs() as logs:
        for url in (f"http://127.0.0.1:9/{secret}", f"ws://127.0.0.1:9/{secret}", f"ws://u:{secret}@nowhere.invalid"):
            with pytest.raises(ChainError) as caught:
                async with Rpc([Endpoint(url)], CHAIN_ID):
                    pass
            assert secret not in str(caught.value)
        async with serving(number_of(1)) as url:
            with pytest.raises(ConfigError) as wrong:
                async with Rpc([Endpoint(f"{url}/{secret}")], 56):
                    pass
            assert secret not in str(wrong.value)
            async with Rpc([Endpoint(f"{url}/{secret}")], CHAIN_ID) as rpc:
                with pytest.raises(UnreachableError) as cut:
                    await rpc.request("x", link=rpc.links[0], timeout_s=1e-9)
                assert secret not in str(cut.value)
    assert logs
    assert secret not in repr(logs)
    assert secret not in caplog.text


async def test_a_websocket_serves_requests_and_comes_back_after_a_clean_close(anvil: Anvil) -> None:
    async with Rpc([Endpoint(anvil.ws_url)], 31337) as rpc:
        [link] = rpc.links
        subscription = await rpc.subscribe(link, ["newHeads"])
        await anvil.mine()
        assert await subscription.next(2.0)
        assert await rpc.request("eth_blockNumber") == "0x1"
        await link.transport.close()
        with pytest.raises(UnreachableError):
            await subscription.next(2.0)
        assert await rpc.request("eth_blockNumber") == "0x1"
        again = await rpc.subscribe(link, ["newHeads"])
        await anvil.mine()
        assert await again.next(2.0)


async def test_a_websocket_that_dies_fails_what_waits_on_it(anvil: Anvil) -> None:
    async with Rpc([Endpoint(anvil.ws_url)], 31337) as rpc:
        [link] = rpc.links
        waiting = asyncio.gather(
            *(rpc.request("anvil_mine", ["0x2000"], link=link) for _ in range(3)), return_exceptions=True
        )
        await asyncio.sleep(0.05)
        await link.transport.close()
        assert any(isinstance(answer, UnreachableError) for answer in await waiting)
