"""A dry run goes on, whatever becomes of what it tries."""

from __future__ import annotations

import time
from collections.abc import Sequence

from keeper.chain.answers import Json, RpcError
from keeper.chain.data_fee import NoDataFee
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.fork import Call, Executed, GasPrice
from keeper.chain.gas import FeeSettings
from keeper.chain.transport import Call as RpcCall
from keeper.engine.dry_run import DryRunExecutor, DryRunRecord
from keeper.model import Header, Liquidation, Outcome, OutcomeState, Window

HEAD = Header(5, "0xb5", "0xb4", 1000, 30_000_000, 0, 10**9)


class Ground:
    """Everything that is tried succeeds."""

    async def try_out(
        self, calls: Sequence[Call], sender: str, head: Header, timestamp: int, gas: GasPrice
    ) -> list[Executed]:
        return [Executed(True, "", 100, 1, (), None) for _ in calls]

    async def close(self) -> None: ...


class Live:
    """A node that answers receipts with something else."""

    async def batch(self, calls: Sequence[RpcCall], **_: object) -> list[Json | RpcError]:
        return ["0x" for _ in calls]


def liquidation(account: str) -> Liquidation:
    now = time.perf_counter_ns()
    return Liquidation("pool", account, "0xto", b"", 100, 5, 10**18, now, now, 6)


async def test_a_reward_that_can_t_be_read_is_the_promised_one_and_the_next_is_tried() -> None:
    def realised(outcome: Outcome) -> int:
        raise ValueError("3 bytes hold no word 0")

    told: list[Outcome] = []
    live = Live()
    record = DryRunRecord()
    executor = DryRunExecutor(
        "0xme",
        Ground(),
        live,  # type: ignore[arg-type]
        lambda: Window(6, 1001, 1003),
        FeeWatch(live, FeeSettings(), NoDataFee()),
        realised,
        told.append,
        record,
    )
    await executor.submit([liquidation("1"), liquidation("2")], "0xme", HEAD)
    executor.closed("pool", "3", "0xf0")
    await executor.close()
    assert [(outcome.state, outcome.reward_b0) for outcome in told] == [(OutcomeState.MINED, 5)] * 2
    assert [taken.block_number for taken in record.missed()] == [None]
