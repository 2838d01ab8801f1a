"""Asking the node against knowing: one ``eth_call`` of ``liquidate`` per account, and the keeper's own verdict.

A Lite pool with every kind of symbol on a local Anvil, and a market mirrored from it. Both are asked about the same
accounts in the same block, and have to agree.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from typing import cast

import structlog

from keeper.chain.answers import fields
from keeper.chain.blocks import header_of
from keeper.chain.calls import PinnedReader
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import run_anvil
from keeper.devnet.deri import ANYBODY, DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import all_kinds
from keeper.devnet.rpc import Json, RpcError
from keeper.model import Verdict, Window
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig

ACCOUNTS = 60
Figure = dict[str, object]


def run() -> list[Figure]:
    """Deploy, mirror, ask both; takes some ten seconds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    async with (
        run_anvil() as node,
        deri_market(node, all_kinds(ACCOUNTS)) as devnet,
        Rpc([Endpoint(node.http_url)], await node.chain_id()) as rpc,
    ):
        market = DeriMarket(DeriMarketConfig("bench", devnet.pool.address))
        head = header_of(fields(await node.block("latest")))
        await market.bootstrap(PinnedReader(rpc), head)
        window = Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)
        ids = sorted(market.mirror.state.accounts)
        asked, chain = await _ask(devnet, ids, window)
        known, verdicts = _know(market, ids, window)
    if chain != verdicts:
        raise AssertionError(f"the chain would liquidate {chain}, the keeper {verdicts}")
    return [
        {
            "name": "deri: verdict on one account, eth_call",
            "value": asked,
            "unit": "us",
            "baseline": None,
            "target": None,
        },
        {
            "name": "deri: verdict on one account, local",
            "value": known,
            "unit": "us",
            "baseline": asked,
            "target": None,
        },
        {
            "name": "deri: local over eth_call",
            "value": asked / known,
            "unit": "x faster",
            "baseline": 1,
            "target": None,
        },
    ]


async def _ask(devnet: DeriDevnet, ids: list[int], window: Window) -> tuple[float, set[int]]:
    """Median microseconds of one ``eth_call``, one after another, and whom the chain would liquidate.

    The calls are encoded beforehand and sent over a connection that is open.
    """
    privileger = {devnet.privileger.address: {"code": ANYBODY}} if devnet.privileger else {}
    block = {"number": hex(window.number), "time": hex(window.earliest)}
    times = []
    liquidatable = set()
    for p_token_id in ids:
        data = "0x" + devnet.pool.encode("liquidate", p_token_id, []).hex()
        call: Json = {"from": devnet.admin, "to": devnet.pool.address, "data": data}
        started = time.perf_counter()
        try:
            await devnet.node.rpc(
                "eth_call", call, hex(window.number - 1), cast("Json", privileger), cast("Json", block)
            )
        except RpcError:
            pass
        else:
            liquidatable.add(p_token_id)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6, liquidatable


def _know(market: DeriMarket, ids: list[int], window: Window) -> tuple[float, set[int]]:
    """The same from the mirror: a round opened anew, and every account assessed, per account."""
    times = []
    liquidatable: set[int] = set()
    for _ in range(20):
        started = time.perf_counter()
        round_ = market.round(window)
        verdicts = {p_token_id: round_.assess(str(p_token_id)).verdict for p_token_id in ids}
        times.append((time.perf_counter() - started) / len(ids))
        liquidatable = {p_token_id for p_token_id, verdict in verdicts.items() if verdict is Verdict.LIQUIDATABLE}
    return statistics.median(times) * 1e6, liquidatable
