"""What is known of the market for block space when a node does not answer."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.chain.answers import Json, RpcError
from keeper.chain.data_fee import NoDataFee
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.gas import FeeMarket, FeeSettings
from keeper.chain.transport import Call


class Node:
    """Answers the one call it is asked with ``answer``."""

    def __init__(self, answer: Json | RpcError) -> None:
        self.answer = answer
        self.asked: list[Call] = []

    async def batch(self, calls: Sequence[Call]) -> list[Json | RpcError]:
        self.asked += calls
        return [self.answer]


async def test_the_fixed_tip_asks_nothing() -> None:
    node = Node(None)
    await FeeWatch(node, FeeSettings("fixed-tip"), NoDataFee()).refresh()
    assert node.asked == []


async def test_the_percentile_policy_reads_the_tips_and_keeps_them_when_the_node_fails() -> None:
    node = Node({"reward": [["0x5"], ["0x0"], ["0x7"]]})
    watch = FeeWatch(node, FeeSettings("percentile-tip", tip_percentile=75), NoDataFee())
    await watch.refresh()
    assert node.asked == [("eth_feeHistory", ["0xa", "latest", [75]])]
    assert watch.market(9) == FeeMarket(9, (5, 7))
    for broken in (RpcError("eth_feeHistory", "node", -32000, "no"), None, {"reward": "odd"}):
        node.answer = broken
        await watch.refresh()
    assert watch.market(9) == FeeMarket(9, (5, 7))


async def test_the_legacy_policy_reads_the_gas_price() -> None:
    watch = FeeWatch(Node("0x64"), FeeSettings("legacy"), NoDataFee())
    await watch.refresh()
    assert watch.market(None) == FeeMarket(None, (), 100)
