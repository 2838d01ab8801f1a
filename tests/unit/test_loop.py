"""The loop's rules, on a market made of plain figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from keeper.engine.loop import MarketLoop
from keeper.errors import ChainError, ProtocolError, StoreError
from keeper.model import (
    Advance,
    Assessment,
    Eligibility,
    Header,
    Liquidation,
    Log,
    LogFilter,
    Outcome,
    OutcomeState,
    PriceTick,
    Reader,
    Row,
    Verdict,
    Window,
)
from keeper.protocols.market import ContractCall, Round, Worth

SENDER = "0x" + "11" * 20


def header(number: int) -> Header:
    return Header(number, f"0x{number:064x}", f"0x{number - 1:064x}", 1000 + number, 30_000_000, 0, 10**9)


class Figures:
    """A market and its round in one: every account in ``weak`` is liquidatable."""

    name = "lite"

    def __init__(self) -> None:
        self.weak: list[str] = []
        self.allowed = True
        self.rounds = 0
        self.unchanged_ticks = False
        self.closed: set[str] = set()
        self.unreadable = False
        self.trouble: Exception | None = None
        self.applied: list[Advance] = []

    async def bootstrap(self, reader: Reader, head: Header) -> None: ...
    def log_filter(self) -> LogFilter:
        return LogFilter(frozenset())

    async def apply(self, advance: Advance, reader: Reader) -> None:
        self.applied.append(advance)
        if self.trouble is not None:
            raise self.trouble
        if self.unreadable:
            raise ChainError("an answer", "there was none", "wait")

    def rows(self) -> Sequence[Row]:
        return [Row("head", "head", b"")]

    async def restore(self, rows: Sequence[Row], head: Header) -> None: ...
    def digest(self) -> str:
        return ""

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        return ()

    async def watch(self, emit: Callable[[PriceTick], None]) -> None:
        await asyncio.Event().wait()

    def take(self, tick: PriceTick) -> bool:
        return not self.unchanged_ticks

    def round(self, window: Window) -> Round:
        self.rounds += 1
        self.closed = set()
        return self

    def eligibility(self, liquidator: str, at: int) -> Eligibility:
        return Eligibility(self.allowed, "qualified" if self.allowed else "never-staked", "")

    def closures(self, logs: Sequence[Log]) -> Sequence[tuple[str, str]]:
        return [("a", log.transaction_hash) for log in logs]

    def realised_reward_b0(self, outcome: Outcome, logs: Sequence[Log]) -> int:
        return 0

    def accounts_watched(self) -> int:
        return len(self.weak)

    def candidates(self) -> Sequence[str]:
        return list(self.weak)

    def assess(self, account: str) -> Assessment:
        if account not in self.weak:
            return Assessment(account, Verdict.HEALTHY, "cannot liquidate")
        return Assessment(account, Verdict.LIQUIDATABLE, "", reward_b0=5, value_e18=5 * 10**18, gas=100_000)

    def assess_sent(self, account: str, data: bytes) -> Assessment:
        return self.assess(account)

    def close(self, account: str) -> None:
        self.closed.add(account)

    def call(self, account: str) -> ContractCall:
        return ContractCall(SENDER, account.encode(), 100_000)


class Sent:
    """An executor that only remembers."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.paused: set[str] = set()
        self.flying: list[str] = []
        self.withdrawn: list[str] = []
        self.swept = (0, 0)
        """How many were withdrawn, and how many batches sent, when the last round was over."""
        self.ours: set[str] = set()

    def senders(self) -> Sequence[str]:
        return (SENDER,)

    def in_flight(self, market: str) -> Sequence[str]:
        return self.flying

    def call_data(self, market: str, account: str) -> bytes:
        return account.encode()

    def data_fee_wei(self, length: int) -> int:
        return 0

    def held_back(self, sender: str, market: str, account: str, number: int) -> str:
        return "paused" if account in self.paused else ""

    def withdraw(self, market: str, account: str, reason: str) -> None:
        self.withdrawn.append(account)

    def sweep(self) -> None:
        self.swept = (len(self.withdrawn), len(self.batches))

    def closed(self, market: str, account: str, transaction_hash: str) -> bool:
        return transaction_hash in self.ours

    def fee_per_gas_wei(self, head: Header) -> int:
        return 10**9

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        self.batches.append([item.account for item in batch])

    async def on_head(self, head: Header) -> None: ...
    async def close(self) -> None: ...


class Reasons:
    """A decision log that only remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.unwritable = False

    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool:
        if self.unwritable:
            raise StoreError("room", "the disk is full", "free some")
        self.rows.append((account, reason))
        return True


class NextSecond:
    def window(self) -> Window:
        return Window(2, 1001, 1003)


class NoReads:
    async def read(self, calls: object, block_hash: str) -> list[object]:
        raise AssertionError("the loop itself reads nothing")


class Desk:
    """A running loop and its surroundings."""

    def __init__(self) -> None:
        self.market = Figures()
        self.sent = Sent()
        self.reasons = Reasons()
        self.saved: list[int] = []
        self._saved = asyncio.Event()
        self.loop = MarketLoop(
            self.market,
            NoReads(),  # type: ignore[arg-type]
            NextSecond(),
            self.sent,
            self.reasons,
            lambda: Worth(300 * 10**18, 0),
            self._save,
        )

    async def _save(self, head: Header, rows: Sequence[Row]) -> None:
        self.saved.append(head.number)
        self._saved.set()

    async def advance(self, number: int) -> None:
        """Offer a block and wait until the loop is through with it."""
        self._saved.clear()
        self.loop.offer(Advance(header(number)))
        await asyncio.wait_for(self._saved.wait(), 5)

    async def tick(self) -> None:
        self._saved.clear()
        self.loop.offer(PriceTick("lite", "test", (("BTCUSD", 1),), 1, 1))
        await asyncio.wait_for(self._saved.wait(), 5)


@asynccontextmanager
async def running(desk: Desk | None = None, head: int = 1) -> AsyncIterator[Desk]:
    desk = desk or Desk()
    task = asyncio.create_task(desk.loop.run(header(head)))
    try:
        yield desk
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_block_and_a_price_each_lead_to_a_round() -> None:
    async with running() as desk:
        await desk.advance(2)
        await desk.tick()
        assert desk.market.rounds == 2


async def test_a_price_that_changes_nothing_leads_to_none() -> None:
    async with running() as desk:
        desk.market.unchanged_ticks = True
        await desk.tick()
        assert desk.market.rounds == 0


async def test_the_first_goes_out_alone_and_the_rest_in_batches_in_order() -> None:
    async with running() as desk:
        desk.market.weak = [f"a{i}" for i in range(20)]
        await desk.advance(2)
        assert [len(batch) for batch in desk.sent.batches] == [1, 16, 3]
        assert [name for batch in desk.sent.batches for name in batch] == desk.market.weak


async def test_unqualified_nothing_is_sent_and_the_reason_is_journalled_once() -> None:
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.market.allowed = False
        await desk.advance(2)
        await desk.advance(3)
        assert desk.sent.batches == []
        assert desk.reasons.rows == [("a", "not eligible: never-staked")]
        desk.market.allowed = True
        await desk.advance(4)
        assert desk.sent.batches == [["a"]]


async def test_a_mined_account_is_not_touched_until_the_mirror_has_seen_that_block() -> None:
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.loop.on_outcome(Outcome("lite", "a", OutcomeState.MINED, block_number=5))
        await desk.advance(4)
        assert desk.sent.batches == []
        await desk.advance(5)
        assert desk.sent.batches == [["a"]]


async def test_a_paused_account_is_left_while_others_go() -> None:
    async with running() as desk:
        desk.market.weak = ["a", "b"]
        desk.sent.paused.add("a")
        await desk.advance(2)
        assert desk.sent.batches == [["b"]]


async def test_stopped_sending_decides_and_says_why_until_resumed() -> None:
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.loop.stop_sending("the mirror differs from the chain")
        await desk.advance(2)
        assert desk.sent.batches == []
        assert desk.reasons.rows == [("a", "the mirror differs from the chain")]
        desk.loop.resume()
        await desk.advance(3)
        assert desk.sent.batches == [["a"]]


async def test_what_has_gathered_is_taken_together_before_one_round() -> None:
    async with running() as desk:
        for number in (2, 3, 4):
            desk.loop.offer(Advance(header(number)))
        await desk.advance(5)
        assert desk.market.rounds == 1
        assert desk.saved == [5]


async def test_a_block_that_cannot_be_read_is_not_decided_on_and_its_logs_are_read_with_the_next() -> None:
    log = Log(SENDER, (b"\x01" * 32,), b"", 2, "0x2", "0xaa", 0)
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.market.unreadable = True
        desk._saved.clear()
        desk.loop.offer(Advance(header(2), (log,)))
        await asyncio.wait_for(desk._saved.wait(), 5)
        assert desk.sent.batches == []
        desk.market.unreadable = False
        await desk.advance(3)
        assert desk.sent.batches == [["a"]]
        assert desk.market.applied[-1].logs == (log,)


async def test_a_block_that_cannot_be_read_is_tried_again_without_a_new_one() -> None:
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.market.unreadable = True
        await desk.advance(2)
        desk._saved.clear()
        desk.market.unreadable = False
        await asyncio.wait_for(desk._saved.wait(), 5)
        assert desk.sent.batches == [["a"]]
        assert desk.market.applied[-1].head == header(2)


CLOSING = Log(SENDER, (b"\x01" * 32,), b"", 2, "0x2", "0xaa", 0)


async def test_what_is_on_its_way_and_healthy_again_is_withdrawn() -> None:
    async with running() as desk:
        desk.sent.flying, desk.market.weak = ["a"], ["b"]
        await desk.advance(2)
        assert desk.sent.withdrawn == ["a"]
        assert desk.sent.swept == (1, 1), "once the round has sent what may take its nonce"


async def test_what_we_closed_ourselves_is_not_withdrawn_while_its_receipt_is_on_its_way() -> None:
    async with running() as desk:
        desk.sent.flying = ["a"]
        desk.sent.ours = {"0xaa"}
        desk._saved.clear()
        desk.loop.offer(Advance(header(2), (CLOSING,)))
        await asyncio.wait_for(desk._saved.wait(), 5)
        assert desk.sent.withdrawn == []


async def test_blocks_of_before_the_mirror_was_read_anew_do_not_take_it_back() -> None:
    desk = Desk()
    desk.market.unreadable = True
    async with running(desk):
        await desk.advance(2)
        for number in (3, 4, 5):
            desk.loop.offer(Advance(header(number), (CLOSING,)))
    desk.market.unreadable = False
    desk.market.applied.clear()
    async with running(desk, head=9):
        await desk.advance(10)
        assert desk.market.applied == [Advance(header(10))]


async def test_reasons_that_can_t_be_written_down_stop_nothing_and_are_told_later() -> None:
    async with running() as desk:
        desk.market.weak, desk.market.allowed = ["a", "b"], False
        desk.reasons.unwritable = True
        await desk.advance(2)
        desk.reasons.unwritable = False
        await desk.advance(3)
        assert [account for account, _ in desk.reasons.rows] == ["a", "b"]


async def test_contracts_that_answer_no_more_keep_their_market_waiting_and_no_other() -> None:
    async with running() as desk:
        desk.market.weak = ["a"]
        desk.market.trouble = ProtocolError("pool to answer liquidity()", "it reverted", "check the address")
        desk._saved.clear()
        desk.loop.offer(Advance(header(2)))
        await asyncio.wait_for(desk._saved.wait(), 5)
        assert desk.loop.behind
        desk.market.trouble = None
        await desk.advance(3)
        assert desk.sent.batches == [["a"]]
