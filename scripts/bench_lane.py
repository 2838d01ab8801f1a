"""The way out: from a decision to bytes at a node, at 1, 20 and 100 candidates, and where the time goes.

The node is a process of its own on this machine that notes when each transaction's first byte arrives; both processes
read the same clock. So the figures include the kernel, the loopback and the other process waking up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import structlog
from eth_utils import keccak

from keeper.chain.budget import Limits
from keeper.chain.endpoint import Endpoint
from keeper.chain.eth_accounts import Account
from keeper.chain.gas import Demand, FeeMarket, FeeSettings, bid
from keeper.chain.lane import Lane, LaneSettings
from keeper.chain.relay import PublicRelay
from keeper.chain.rpc import Rpc
from keeper.chain.signer import LocalSigner
from keeper.chain.transaction import Fees, Transaction
from keeper.model import Header, Liquidation
from keeper.store.journal import Intent, Journal, TransactionRow

CHAIN_ID = 31337
KEY = bytes(range(1, 33))
TARGET = "0x00000000000000000000000000000000000Ace55"
CALL_DATA = bytes(range(256)) * 3
"""About a ``liquidate`` with three signed prices."""
FEES = Fees(2 * 10**9, 10**9)
ROUNDS = {1: 300, 20: 100, 100: 40}

Figure = dict[str, object]


def run() -> list[Figure]:
    """Every figure of the lane, for ``make bench``."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> list[Figure]:
    return [*await _stages(folder / "stages"), *await _walk(folder / "walk")]


# Stage by stage


async def _stages(path: Path) -> list[Figure]:
    signer, account = LocalSigner(KEY), Account.from_key(KEY)
    transaction = Transaction(CHAIN_ID, 7, TARGET, CALL_DATA, 1_500_000, FEES)
    signed = await signer.sign(transaction)
    dictionary = {
        "type": 2, "chainId": CHAIN_ID, "nonce": 7, "to": TARGET, "data": CALL_DATA, "gas": 1_500_000, "value": 0,
        "maxFeePerGas": FEES.max_wei, "maxPriorityFeePerGas": FEES.tip_wei,
    }  # fmt: skip
    market, demand = FeeMarket(10**9), Demand(10**17, 1_500_000)
    journal = await Journal.open(path)

    async def by_eth_account() -> None:
        account.sign_transaction(dictionary)

    async def price() -> None:
        bid(FeeSettings(), market, demand)

    async def sign() -> None:
        await signer.sign(transaction)

    def commit(count: int) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            made = [_intent(journal.allot()) for _ in range(count)]
            rows = [
                TransactionRow(f"0x{i.id:064x}", i.id, CHAIN_ID, i.lane, i.id, "liquidation", signed.raw, 1, 1, 1, 1.0)
                for i in made
            ]
            await journal.intend(made, rows)

        return write

    baseline = statistics.median(await _timed(by_eth_account, 100))
    pricing, signing = await _timed(price, 2_000), await _timed(sign, 2_000)
    first, rest = await _timed(commit(1), 500), await _timed(commit(16), 200)
    await journal.close()
    return [
        _figure("lane stage: price one transaction", statistics.median(pricing)),
        _figure("lane stage: encode and sign one (baseline: eth-account)", statistics.median(signing), baseline),
        _figure("lane stage: journal commit of the first transaction", statistics.median(first)),
        _figure("lane stage: journal commit of 16 more", statistics.median(rest)),
    ]


def _intent(number: int) -> Intent:
    return Intent(number, CHAIN_ID, "0x00", "market", str(number), TARGET, CALL_DATA, 1_500_000, 1, 1, 1, "", 1.0)


async def _timed(work: Callable[[], Awaitable[None]], times: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter_ns()
        await work()
        found.append((time.perf_counter_ns() - began) / 1e6)
    return found


# The whole walk


async def _walk(path: Path) -> list[Figure]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    node = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    node.start()
    journal = await Journal.open(path)
    try:
        port = await asyncio.to_thread(ours.recv)
        async with Rpc([Endpoint(f"http://127.0.0.1:{port}")], CHAIN_ID) as rpc:
            return [
                figure
                for count, rounds in ROUNDS.items()
                for figure in await _rounds(journal, rpc, ours, count, rounds)
            ]
    finally:
        await journal.close()
        node.terminate()
        await asyncio.to_thread(node.join)


async def _rounds(journal: Journal, rpc: Rpc, node: Connection, count: int, rounds: int) -> list[Figure]:
    """Each round is a fresh lane with a signer of its own, on one journal and warm connections."""
    first, last, disk = [], [], []
    for number in range(rounds):
        signer = LocalSigner(keccak(text=f"{count}.{number}"))
        lane = Lane(signer, rpc, PublicRelay(rpc), journal, SETTINGS)
        await lane.start(HEAD)
        node.send("forget")
        began = time.perf_counter_ns()
        batch = [
            Liquidation("m", str(i), TARGET, CALL_DATA, 1_500_000, 1, 10**18, began, began, HEAD.number + 1)
            for i in range(count)
        ]
        began = time.perf_counter_ns()
        await lane.submit(batch, HEAD)
        handed = time.perf_counter_ns()
        await lane.answered()
        node.send("tell")
        arrived: list[int] = await asyncio.to_thread(node.recv)
        first.append((arrived[0] - began) / 1e6)
        last.append((arrived[-1] - began) / 1e6)
        disk.append((handed - began) / 1e6)
        await lane.close()
    name = f"lane: decision to node, {count} candidate{'s' if count > 1 else ''}"
    return [
        _figure(f"{name}, first, p50", _percentile(first, 50), target=2.0),
        _figure(f"{name}, first, p99", _percentile(first, 99), target=8.0),
        _figure(f"{name}, all signed and on disk, p50", _percentile(disk, 50)),
        _figure(f"{name}, last, p50", _percentile(last, 50)),
    ]


HEAD = Header(100, "0x" + "11" * 32, "0x" + "10" * 32, 1, 30_000_000, 15_000_000, 10**9)
SETTINGS = LaneSettings(CHAIN_ID, FeeSettings(), Limits(10**22, 10**22))


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _figure(name: str, value: float, baseline: float | None = None, target: float | None = None) -> Figure:
    shown = None if baseline is None else round(baseline, 3)
    return {"name": name, "value": round(value, 3), "unit": "ms", "baseline": shown, "target": target}


# The node


def _serve(pipe: Connection) -> None:
    """A JSON-RPC server that accepts every transaction and notes when its request began to arrive."""
    arrived: list[int] = []

    class Node(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            self.buffer = b""
            self.began = 0

        def data_received(self, data: bytes) -> None:
            if not self.buffer:
                self.began = time.perf_counter_ns()
            self.buffer += data
            head, _, body = self.buffer.partition(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            if len(body) < length:
                return
            self.buffer = b""
            asked = json.loads(body)
            calls = asked if isinstance(asked, list) else [asked]
            if calls[0]["method"] == "eth_sendRawTransaction":
                arrived.append(self.began)
            answers = [{"jsonrpc": "2.0", "id": call["id"], "result": _answer(call["method"])} for call in calls]
            text = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Node, "127.0.0.1", 0)
        done = asyncio.Event()

        def on_pipe() -> None:
            try:
                if pipe.recv() == "tell":
                    pipe.send(sorted(arrived))
                else:
                    arrived.clear()
            except EOFError:
                done.set()

        loop.add_reader(pipe.fileno(), on_pipe)
        pipe.send(server.sockets[0].getsockname()[1])
        await done.wait()

    asyncio.run(main())


def _answer(method: str) -> str | None:
    answers = {"eth_chainId": hex(CHAIN_ID), "eth_getBalance": hex(10**24), "eth_getTransactionCount": "0x0"}
    return "0x" + "00" * 32 if method == "eth_sendRawTransaction" else answers.get(method)


if __name__ == "__main__":
    for figure in run():
        print(figure)
