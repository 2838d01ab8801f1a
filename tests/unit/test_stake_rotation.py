"""Which signer the loop uses: the first that may liquidate at every second of the window; one in its lock never."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from keeper.engine.loop import MarketLoop
from keeper.model import Advance, Eligibility, Header, Liquidation, Row, Window
from keeper.protocols.market import Worth
from tests.unit.test_loop import Figures, NoReads, Reasons, Sent, header

FIRST, SECOND = ("0x" + digit * 40 for digit in "12")


class Locks(Figures):
    """Each sender may liquidate from a second on."""

    def __init__(self, first_from: int, second_from: int) -> None:
        super().__init__()
        self.weak = ["a"]
        self._from = {FIRST: first_from, SECOND: second_from}

    def eligibility(self, liquidator: str, at: int) -> Eligibility:
        until = self._from[liquidator]
        return Eligibility(True, "qualified", "") if at >= until else Eligibility(False, "locked", "", until)


class TwoSenders(Sent):
    def __init__(self) -> None:
        super().__init__()
        self.by: list[str] = []

    def senders(self) -> Sequence[str]:
        return FIRST, SECOND

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        self.by.append(sender)


class Hand:
    """A clock that is set by hand: the next block comes from ``now`` to two seconds later."""

    now = 1000

    def window(self) -> Window:
        return Window(2, self.now, self.now + 2)


class Shift:
    """A loop with two senders, and who was used in each round."""

    def __init__(self, first_from: int, second_from: int) -> None:
        self.sent, self.clock, self.reasons = TwoSenders(), Hand(), Reasons()
        self._saved = asyncio.Event()
        self.loop = MarketLoop(
            Locks(first_from, second_from),
            NoReads(),  # type: ignore[arg-type]
            self.clock,
            self.sent,
            self.reasons,
            lambda: Worth(300 * 10**18, 0),
            self._save,
        )

    async def _save(self, head: Header, rows: Sequence[Row]) -> None:
        self._saved.set()

    async def at(self, *moments: int) -> list[str]:
        """Who is used when a block comes at each of these seconds."""
        task = asyncio.create_task(self.loop.run(header(1)))
        for number, moment in enumerate(moments, 2):
            self.clock.now = moment
            self._saved.clear()
            self.loop.offer(Advance(header(number)))
            await asyncio.wait_for(self._saved.wait(), 5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return self.sent.by


async def test_of_two_that_may_the_first_is_used() -> None:
    assert await Shift(0, 0).at(1000) == [FIRST]


async def test_one_in_its_lock_is_skipped_and_comes_back_after_it() -> None:
    assert await Shift(1010, 0).at(1000, 1005, 1010) == [SECOND, SECOND, FIRST]


async def test_a_lock_that_ends_within_the_window_still_counts() -> None:
    assert await Shift(1002, 0).at(1000, 1001, 1002) == [SECOND, SECOND, FIRST]


async def test_with_both_in_their_lock_nothing_is_sent_and_the_reason_is_written() -> None:
    shift = Shift(1010, 1020)
    assert await shift.at(1000) == []
    assert shift.reasons.rows == [("a", "not eligible: locked")]


async def test_it_is_known_since_when_an_answer_holds() -> None:
    shift = Shift(1010, 0)
    await shift.at(1000, 1005, 1010, 1015)
    assert shift.loop.eligibility_since == {FIRST: 1010, SECOND: 1000}
    assert shift.loop.eligibility[FIRST].allowed
