"""Meridian: a price change mined to the first liquidation mined, and what an idle block costs.

The keeper runs as a process of its own; the chain is an Anvil beside it, behind a proxy that counts calls. The baseline
is a keeper of our own making that looks every second and asks the vault about each position (``validateLiquidation`` by
``eth_call``, batched), as open keepers for this kind of vault do; it has the same chain, positions and price changes,
once the keeper has left.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import cast

import aiohttp
import aiohttp.web
from websockets.asyncio.client import connect as connect_websocket

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalVault, run_daemon, write_config
from keeper.devnet.meridian import Cohort, Holder, MeridianDevnet, MeridianWorld, deploy_meridian
from keeper.devnet.rpc import Call, DevNode, Json, as_bytes, as_int
from keeper.devnet.transactions import Transaction, send
from keeper.protocols.meridian.events import LIQUIDATE_POSITION

SIZES = (100, 1_000, 5_000)
MANY = 100
ROUNDS = {None: 12, 1.0: 4}
"""Price changes with one position liquidatable, by block time."""
FIRST_DISTANCE = 5
MANY_DISTANCE = 30
FAR = Decimal("0.6")
IDLE_BLOCKS = 8
TARGET_MS = 25.0

Figure = dict[str, object]


def run() -> list[Figure]:
    """Every figure, for ``make bench``."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    figures: list[Figure] = []
    for block_time in ROUNDS:
        for size in SIZES:
            figures += await _cell(size, block_time)
    return figures


async def _cell(size: int, block_time: float | None) -> list[Figure]:
    """One size on one kind of chain: the keeper on the longs in BTC, then the baseline on those in ETH."""
    rounds = ROUNDS[block_time]
    singles = [Decimal(FIRST_DISTANCE + 1 + number) / 100 for number in range(rounds)]
    many = min(MANY, size // 2 - rounds)
    cohorts = [
        Cohort(index, is_long=True, count=count, distance=distance, size_usd=1_000)
        for index in ("BTC", "ETH")
        for count, distance in [*((1, d) for d in singles), (many, Decimal(MANY_DISTANCE) / 100)]
    ]
    placed = sum(cohort.count for cohort in cohorts)
    cohorts.append(Cohort("BTC", is_long=True, count=size - placed, distance=FAR, size_usd=1_000))
    world = MeridianWorld(tuple(cohorts), timelock=False)
    async with large_market(world) as devnet:
        node = devnet.node
        block_ms = await _node_alone(devnet)
        if block_time:
            await node.set_automine(False)
            await node.set_interval_mining(int(block_time))
        with tempfile.TemporaryDirectory() as folder:
            ours, idle, sent = await _with_keeper(devnet, Path(folder), singles, block_time)
        theirs = await _with_baseline(devnet, singles)
    chain = f"{block_time:g} s blocks" if block_time else "automine"
    name = f"meridian: {size} positions, {chain}"
    target = None if block_time else TARGET_MS
    first, baseline = statistics.median(ours.firsts_ms), statistics.median(theirs.firsts_ms)
    return [
        _figure(f"{name}, 1 liquidatable, price mined to liquidation mined, p50", first, "ms", baseline, target),
        _figure(f"{name}, 1 liquidatable, price mined to bytes at the node, p50", statistics.median(sent), "ms"),
        _figure(f"{name}, one block with a price mined by the node alone", block_ms, "ms"),
        _figure(f"{name}, 1 liquidatable, slowest", max(ours.firsts_ms), "ms", max(theirs.firsts_ms)),
        _figure(f"{name}, {many} liquidatable, first mined", ours.many_first_ms, "ms", theirs.many_first_ms),
        _figure(f"{name}, {many} liquidatable, last mined", ours.many_last_ms, "ms", theirs.many_last_ms),
        _figure(
            f"{name}, {many} liquidatable, blocks until the last",
            float(ours.many_blocks),
            "blocks",
            float(theirs.many_blocks),
            3.0 if block_time and size == 1_000 else None,
        ),
        _figure(f"{name}, calls per idle block", idle, "calls", float(size) if block_time else None, 2.0),
    ]


def now() -> float:
    """Milliseconds of the process clock."""
    return time.perf_counter() * 1e3


@asynccontextmanager
async def large_market(world: MeridianWorld) -> AsyncIterator[MeridianDevnet]:
    """A market on an Anvil that forks the one it was deployed to, with every position in its cache.

    On a chain of its own Anvil hashes all of the state for every block, which takes 40 ms and more with thousands of
    positions, as no node on a network does. On a fork it leaves that out.
    """
    async with run_anvil(AnvilOptions()) as base:
        deployed = await deploy_meridian(base, world)
        options = AnvilOptions(fork_url=base.http_url, prune_history=64)
        async with run_anvil(options) as node:
            await node.rpc("anvil_autoImpersonateAccount", True)
            await node.rpc("evm_setBlockGasLimit", hex(options.gas_limit))
            devnet = replace(deployed, node=node)
            getter, vault = devnet.vault.encode, devnet.vault.address
            data = [getter("positions", bytes.fromhex(holder.key[2:])) for holder in devnet.holders]
            await node.batch([("eth_call", [{"to": vault, "data": "0x" + each.hex()}, "latest"]) for each in data])
            yield devnet


@dataclass(slots=True)
class Times:
    """What one keeper took."""

    moved_at_ms: list[float] = field(default_factory=list)
    """When each price change with one position liquidatable was mined."""

    firsts_ms: list[float] = field(default_factory=list)
    many_first_ms: float = 0.0
    many_last_ms: float = 0.0
    many_blocks: int = 0


class Watch:
    """Notes when each block arrives here, and who was liquidated in it."""

    def __init__(self, node: DevNode, vault: str) -> None:
        self._node = node
        self._vault = vault
        self._seen: dict[int, float] = {}
        self._news = asyncio.Event()
        self.ready = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Watch]:
        task = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        async with connect_websocket(self._node.ws_url) as socket:
            request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
            await socket.send(json.dumps(request))
            await socket.recv()
            self.ready.set()
            async for message in socket:
                params = json.loads(message).get("params")
                if params:
                    self._seen[int(params["result"]["number"], 16)] = now()
                    self._news.set()

    async def at(self, number: int) -> float:
        """When the block arrived, in milliseconds of the process clock."""
        while number not in self._seen:
            self._news.clear()
            await self._news.wait()
        return self._seen[number]

    async def liquidations(self, since: int, count: int) -> list[int]:
        """The blocks of the first ``count`` liquidations after a block; waits for them."""
        async with asyncio.timeout(120):
            while True:
                self._news.clear()
                params: dict[str, Json] = {
                    "address": self._vault,
                    "fromBlock": hex(since),
                    "topics": ["0x" + LIQUIDATE_POSITION.hex()],
                }
                logs = cast("list[dict[str, Json]]", await self._node.rpc("eth_getLogs", params))
                if len(logs) >= count:
                    return sorted(as_int(log["blockNumber"]) for log in logs)[:count]
                await self._news.wait()


async def _storm(devnet: MeridianDevnet, watch: Watch, index: str, singles: Sequence[Decimal]) -> Times:
    """Move a price down step by step: one position at each step, many at the last."""
    times = Times()
    start = next(token.price_usd for token in devnet.world.tokens if token.symbol == index)
    for distance in singles:
        moved, blocks = await _move(devnet, watch, index, start * (1 - distance - Decimal("0.001")), 1)
        times.moved_at_ms.append(await watch.at(moved))
        times.firsts_ms.append(await watch.at(blocks[0]) - await watch.at(moved))
    many = next(c.count for c in devnet.world.cohorts if c.distance == Decimal(MANY_DISTANCE) / 100)
    moved, blocks = await _move(devnet, watch, index, start * (1 - Decimal(MANY_DISTANCE + 1) / 100), many)
    times.many_first_ms = await watch.at(blocks[0]) - await watch.at(moved)
    times.many_last_ms = await watch.at(blocks[-1]) - await watch.at(moved)
    times.many_blocks = blocks[-1] - moved
    return times


async def _move(devnet: MeridianDevnet, watch: Watch, index: str, price: Decimal, count: int) -> tuple[int, list[int]]:
    """The block of the price change, and those of the liquidations that it brought."""
    receipts = await devnet.confirm(await devnet.set_price(index, price))
    moved = as_int(receipts[0]["blockNumber"])
    blocks = await watch.liquidations(moved, count)
    await asyncio.sleep(0.2)  # Both keepers get time to look at the block that they made.
    return moved, blocks


# The keeper


async def _with_keeper(
    devnet: MeridianDevnet, folder: Path, singles: Sequence[Decimal], block_time: float | None
) -> tuple[Times, float, list[float]]:
    async with counting(devnet.node) as proxy, Watch(devnet.node, devnet.vault.address).running() as watch:
        vault = LocalVault("vault", devnet.vault.address, devnet.position_manager, devnet.start_block)
        config = write_config(folder, proxy.url, [vault], devnet.liquidator_key)
        async with run_daemon(config) as daemon:
            await daemon.wait_for(lambda seen: seen.get("event") == "watching", seconds=60)
            # The first log tells the keeper that it can believe the endpoint's blooms.
            await devnet.confirm(await devnet.set_price("BTC", 60_000))
            for _ in range(2):
                await _next_block(devnet.node, block_time)
            before = proxy.calls
            for _ in range(IDLE_BLOCKS):
                await _next_block(devnet.node, block_time)
            idle = (proxy.calls - before) / IDLE_BLOCKS
            try:
                times = await _storm(devnet, watch, "BTC", singles)
            except TimeoutError:
                raise AssertionError(f"the keeper left somebody for too long\n{daemon.tail()}") from None
            sent = [next(at for at in proxy.sent_ms if at > moved) - moved for moved in times.moved_at_ms]
            return times, idle, sent


async def _next_block(node: DevNode, block_time: float | None) -> None:
    number = await node.block_number()
    if block_time is None:
        await node.mine()
        await asyncio.sleep(0.2)
        return
    while await node.block_number() == number:  # noqa: ASYNC110 - another process's blocks
        await asyncio.sleep(0.1)


async def _node_alone(devnet: MeridianDevnet) -> float:
    """What the node itself takes for a block with one small transaction, from handing it in to the head that comes."""
    took = []
    async with Watch(devnet.node, devnet.vault.address).running() as watch:
        await watch.ready.wait()
        for _ in range(5):
            began = now()
            receipts = await devnet.confirm(await devnet.set_price("BTC", 60_000))
            took.append(await watch.at(as_int(receipts[0]["blockNumber"])) - began)
    return statistics.median(took)


@dataclass(slots=True)
class Proxy:
    """Where the keeper is let to ask, and how many JSON-RPC calls it made."""

    url: str
    calls: int = 0
    sent_ms: list[float] = field(default_factory=list)
    """When transactions came by."""


@asynccontextmanager
async def counting(node: DevNode) -> AsyncIterator[Proxy]:
    """A transparent proxy before the node, by HTTP and websocket, that counts calls."""
    proxy = Proxy("")

    def count(body: str | bytes) -> None:
        parsed = json.loads(body)
        calls = parsed if isinstance(parsed, list) else [parsed]
        proxy.calls += len(calls)
        proxy.sent_ms += [now() for call in calls if call["method"] == "eth_sendRawTransaction"]

    async def handle(request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await relay(request)
        body = await request.read()
        count(body)
        async with session.post(node.http_url, data=body, headers={"content-type": "application/json"}) as answer:
            return aiohttp.web.Response(body=await answer.read(), content_type="application/json")

    async def relay(request: aiohttp.web.Request) -> aiohttp.web.WebSocketResponse:
        near = aiohttp.web.WebSocketResponse(max_msg_size=0)
        await near.prepare(request)
        async with session.ws_connect(node.ws_url, max_msg_size=0) as far:

            async def back() -> None:
                async for message in far:
                    await near.send_str(message.data)

            task = asyncio.create_task(back())
            try:
                async for message in near:
                    count(message.data)
                    await far.send_str(message.data)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return near

    app = aiohttp.web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/", handle)
    runner = aiohttp.web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()


# The baseline


async def _with_baseline(devnet: MeridianDevnet, singles: Sequence[Decimal]) -> Times:
    async with Watch(devnet.node, devnet.vault.address).running() as watch:
        task = asyncio.create_task(_poll(devnet))
        try:
            return await _storm(devnet, watch, "ETH", singles)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _poll(devnet: MeridianDevnet) -> None:
    """Every second: ask the vault about each position it still has, and liquidate those that it names."""
    waiting = {holder.key: holder for holder in devnet.holders}
    while True:
        began = time.perf_counter()
        holders = list(waiting.values())
        calls: list[Call] = [("eth_call", [_question(devnet, holder), "latest"]) for holder in holders]
        answers = await devnet.node.try_batch(calls)
        due = []
        for holder, answer in zip(holders, answers, strict=True):
            if isinstance(answer, str) and as_bytes(answer)[31] == 1:
                due.append(holder)
                del waiting[holder.key]
        target = devnet.vault.address
        await send(devnet.node, [Transaction(devnet.liquidator, target, _liquidation(devnet, h), 400_000) for h in due])
        await asyncio.sleep(max(0.0, 1.0 - (time.perf_counter() - began)))


def _question(devnet: MeridianDevnet, h: Holder) -> dict[str, Json]:
    arguments = (h.account, h.collateral_token, h.index_token, h.is_long, False)
    return {"to": devnet.vault.address, "data": "0x" + devnet.vault.encode("validateLiquidation", *arguments).hex()}


def _liquidation(devnet: MeridianDevnet, h: Holder) -> bytes:
    arguments = (h.account, h.collateral_token, h.index_token, h.is_long, devnet.liquidator)
    return devnet.vault.encode("liquidatePosition", *arguments)


def _figure(name: str, value: float, unit: str, baseline: float | None = None, target: float | None = None) -> Figure:
    shown = None if baseline is None else round(baseline, 1)
    return {"name": name, "value": round(value, 1), "unit": unit, "baseline": shown, "target": target}
