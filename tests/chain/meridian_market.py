"""A keeper's view of a local Meridian market, kept up by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import cast

from keeper.chain.blocks import filter_params, logs_of
from keeper.devnet.meridian import Cohort, Holder, MeridianDevnet
from keeper.devnet.rpc import DevNode, Json
from keeper.model import Header, Log, LogFilter, Verdict, Window
from keeper.protocols.meridian.market import MeridianMarket, MeridianMarketConfig
from keeper.protocols.meridian.unpaid import UnpaidTerms
from tests.chain.following import Follower, following

COHORTS = (
    Cohort("BTC", is_long=True, count=4, distance=Decimal("0.05")),
    Cohort("ETH", is_long=True, count=4, distance=Decimal("0.10")),
    Cohort("ETH", is_long=False, count=4, distance=Decimal("0.05")),
    Cohort("BTC", is_long=False, count=2, distance=Decimal("0.10"), collateral="DAI"),
)
"""Fourteen positions on both sides."""


class NodeHistory:
    """``keeper.model.History`` of a development node, in one request."""

    def __init__(self, node: DevNode) -> None:
        self._node = node

    async def logs(self, wanted: LogFilter, first: int, head: Header) -> Sequence[Log]:
        params = cast("dict[str, Json]", filter_params(wanted))
        bounds: dict[str, Json] = {"fromBlock": hex(first), "toBlock": hex(head.number)}
        return logs_of(await self._node.rpc("eth_getLogs", params | bounds))


def market_of(
    devnet: MeridianDevnet, *, settings_every_s: int = 10, unpaid: UnpaidTerms | None = None
) -> MeridianMarket:
    config = MeridianMarketConfig(
        name="local",
        vault=devnet.vault.address,
        position_manager=devnet.position_manager,
        liquidators=(devnet.liquidator,),
        start_block=devnet.start_block,
        settings_every_s=settings_every_s,
        unpaid=unpaid or UnpaidTerms(),
    )
    return MeridianMarket(config, NodeHistory(devnet.node))


@asynccontextmanager
async def watching(devnet: MeridianDevnet, market: MeridianMarket) -> AsyncIterator[Follower]:
    async with following(devnet.node, market) as follower:
        yield follower


async def digest_of_a_fresh_one(devnet: MeridianDevnet) -> str:
    market = market_of(devnet)
    async with following(devnet.node, market):
        return market.digest()


async def check_verdicts(
    devnet: MeridianDevnet, market: MeridianMarket, at: int | None = None, holders: Sequence[Holder] | None = None
) -> dict[str, Verdict]:
    """Hold every verdict to what the chain says at that second (the one after the head unless given)."""
    head = market.mirror.head
    second = head.timestamp + 1 if at is None else at
    round_ = market.round(Window(head.number + 1, second, second))
    candidates = set(round_.candidates())
    said = await devnet.verdicts(devnet.holders if holders is None else holders, at=second, tag=head.number)
    verdicts = {}
    for key, reason in said.items():
        assessment = round_.assess(key)
        assert (assessment.verdict is Verdict.LIQUIDATABLE) == (reason is None), (assessment, reason)
        assert (assessment.reason or None) == reason
        assert reason is not None or key in candidates
        verdicts[key] = assessment.verdict
    return verdicts
