"""What every storm has: a market on a chain of its own, a qualified liquidator, and what the chain says after."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import Event, LocalMarket, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import DeriWorld
from keeper.devnet.rpc import DevNode, Json, as_bytes, as_int

MARKET = "lite"
STAKE_DERI = 60_000 * 10**18
GAS = "tip_gwei = 1\nmax_fee_gwei = 100\nbudget_per_hour = 1000\nbudget_per_day = 1000"
"""No storm is to be ended by the budget: that is another test's matter."""
CHUNK = 100
"""Blocks asked for at once."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A market with a qualified liquidator, and a keeper's configuration for it."""

    node: Anvil
    market: DeriDevnet
    config: Path
    first_block: int
    """The first block after the liquidator's own preparations."""
    balance_wei: int
    """What the liquidator had then."""
    nonce: int
    """And the nonce that came next."""

    @property
    def journal(self) -> Path:
        return self.config.with_name("keeper.sqlite")


@asynccontextmanager
async def scene(
    folder: Path, world: DeriWorld, *, options: AnvilOptions | None = None, gas: str = GAS, chain_extra: str = ""
) -> AsyncIterator[Scene]:
    """Set the scene: blocks of one second and 30M gas unless given, prices served, the stake's lock over."""
    async with (
        run_anvil(options or AnvilOptions(block_time=1, prune_history=256)) as node,
        deri_market(node, world) as market,
    ):
        await market.confirm(await market.stake(market.liquidator, STAKE_DERI))
        await blocks(node, world.lock_seconds + 2)
        local = LocalMarket(MARKET, market.pool.address, market.oracle.url)
        config = write_config(folder, node.http_url, [local], market.liquidator_key, gas=gas, chain_extra=chain_extra)
        yield Scene(
            node,
            market,
            config,
            await node.block_number() + 1,
            await node.balance_wei(market.liquidator),
            await node.quantity("eth_getTransactionCount", market.liquidator, "latest"),
        )


def allowed(event: Event) -> bool:
    """The keeper says that it may liquidate."""
    return event.get("event") == "eligibility" and bool(event.get("allowed"))


async def blocks(node: DevNode, count: int) -> int:
    """Let the chain go on by so many blocks; the number of the last."""
    target = await node.block_number() + count
    while (number := await node.block_number()) < target:  # noqa: ASYNC110 - another process's blocks
        await asyncio.sleep(0.05)
    return number


async def until(node: DevNode, holds: Callable[[], bool], seconds: float) -> None:
    """Look at every block whether something holds. ``TimeoutError`` if it does not in time."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):
            await blocks(node, 1)


@dataclass(frozen=True, slots=True)
class OnChain:
    """One transaction that was mined, as the chain tells it."""

    sender: str
    hash: str
    nonce: int
    block: int
    account: int | None
    """The pTokenId that it liquidates; None for anything else, such as a cancellation."""
    ok: bool
    gas_limit: int
    gas_used: int
    fee_wei: int


async def mined(scene: Scene, senders: Sequence[str]) -> list[OnChain]:
    """Every mined transaction of these senders since the scene was set, in chain order."""
    node = scene.node
    wanted = {sender.lower(): sender for sender in senders}
    selector = scene.market.pool.encode("liquidate", 0, [])[:4]
    last = await node.block_number()
    found: list[Mapping[str, object]] = []
    for start in range(scene.first_block, last + 1, CHUNK):
        numbers = range(start, min(start + CHUNK, last + 1))
        for block in await node.batch([("eth_getBlockByNumber", [hex(number), True]) for number in numbers]):
            assert isinstance(block, dict)
            transactions = block["transactions"]
            assert isinstance(transactions, list)
            found += [tx for tx in transactions if isinstance(tx, dict) and str(tx["from"]).lower() in wanted]
    receipts = await node.batch([("eth_getTransactionReceipt", [str(tx["hash"])]) for tx in found])
    told = []
    for tx, receipt in zip(found, receipts, strict=True):
        assert isinstance(receipt, dict)
        data, used = as_bytes(str(tx["input"])), as_int(receipt["gasUsed"])
        told.append(
            OnChain(
                sender=wanted[str(tx["from"]).lower()],
                hash=str(tx["hash"]),
                nonce=as_int(str(tx["nonce"])),
                block=as_int(receipt["blockNumber"]),
                account=int.from_bytes(data[4:36]) if data[:4] == selector else None,
                ok=receipt["status"] == "0x1",
                gas_limit=as_int(str(tx["gas"])),
                gas_used=used,
                fee_wei=used * as_int(receipt["effectiveGasPrice"]),
            )
        )
    return told


async def held(scene: Scene, sender: str) -> int:
    """How many transactions of a sender the node holds unmined, those behind a gap of nonces too."""
    content = await scene.node.rpc("txpool_content")
    assert isinstance(content, dict)
    count = 0
    for pool in (content["pending"], content["queued"]):
        assert isinstance(pool, dict)
        count += sum(len(cast("dict[str, Json]", held)) for who, held in pool.items() if who.lower() == sender.lower())
    return count


def repeated(transactions: Sequence[OnChain]) -> dict[int, int]:
    """Accounts that more than one of these transactions was for, with how many."""
    count = Counter(one.account for one in transactions if one.account is not None)
    return {account: times for account, times in count.items() if times > 1}


def load() -> str:
    """The machine's load, to be told with every figure."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} cores"


def show(figures: Mapping[str, object]) -> None:
    """Print figures, one a line."""
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:,}" if isinstance(value, int) else f"{name:<{width}}  {value}")
