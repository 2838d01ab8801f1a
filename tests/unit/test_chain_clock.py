"""The next block's timestamp is always within the window, which is as narrow as the chain is regular."""

from __future__ import annotations

import math
from random import Random

import pytest

from keeper.chain.clock import Clock
from keeper.model import Header

START = 1_700_000_000


class Wall:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = float(START)

    def __call__(self) -> float:
        return self.now


def header(number: int, timestamp: int) -> Header:
    return Header(number, hex(number), hex(number - 1), timestamp, 30_000_000, 0, 1)


def run(steps: list[float], late_s: list[float]) -> tuple[int, int, list[int]]:
    """Mine blocks after these steps of real time, each seen that late. Misses, blocks judged, and window widths.

    Each window is asked for at a random time between one block's coming and the next one's.
    """
    draw, wall = Random(1), Wall()
    clock = Clock(wall=wall)
    mined, misses, judged, widths = float(START), 0, 0, []
    for number, (step, late) in enumerate(zip(steps, late_s, strict=True)):
        before = wall.now
        mined += step
        timestamp = math.floor(mined)
        if number > 12:
            wall.now = before + draw.random() * max(0.0, mined - before)
            window = clock.window()
            assert window.number == number
            misses += not window.earliest <= timestamp <= window.latest
            judged += 1
            widths.append(window.latest - window.earliest)
        wall.now = max(wall.now, mined + late)
        clock.observe(header(number, timestamp))
    return misses, judged, widths


def test_twelve_second_slots_leave_one_candidate() -> None:
    draw = Random(2)
    misses, judged, widths = run([12.0] * 300, [draw.uniform(0.3, 2.0) for _ in range(300)])
    assert misses == 0
    assert judged > 200
    assert set(widths[20:]) == {0}, "once the grid is known, and before the next block is late"


def test_missed_slots_are_within_the_window() -> None:
    draw = Random(3)
    steps = [12.0 if draw.random() > 0.1 else 24.0 for _ in range(400)]
    misses, judged, widths = run(steps, [draw.uniform(0.3, 2.0) for _ in range(400)])
    assert misses <= judged * 0.01
    assert max(widths) <= 24


@pytest.mark.parametrize("block_time", [0.25, 0.75, 1.0, 3.0])
def test_short_blocks_are_within_a_few_seconds(block_time: float) -> None:
    draw = Random(4)
    steps = [block_time * draw.uniform(0.9, 1.1) for _ in range(600)]
    misses, judged, widths = run(steps, [draw.uniform(0.02, 0.2) for _ in range(600)])
    assert judged > 500
    assert misses == 0
    assert max(widths) <= 5 + block_time


def test_a_chain_that_mines_on_demand_mines_now() -> None:
    draw = Random(5)
    wall = Wall()
    clock = Clock(wall=wall)
    timestamp = START
    for number in range(60):
        wall.now += draw.choice((1.2, 5.0, 90.0))
        if number:
            window = clock.window()
            mined = max(timestamp + 1, math.floor(wall.now))
            assert window.earliest <= mined <= window.latest
            assert window.latest - window.earliest <= 3
        timestamp = max(timestamp + 1, math.floor(wall.now)) if number else math.floor(wall.now)
        clock.observe(header(number, timestamp))


def test_a_moved_clock_is_believed_at_once() -> None:
    wall = Wall()
    clock = Clock(wall=wall)
    for number in range(30):
        wall.now += 1
        clock.observe(header(number, int(wall.now)))
    wall.now += 1
    clock.observe(header(30, int(wall.now) + 86_400))
    window = clock.window()
    assert window.earliest >= int(wall.now) + 86_400
    assert window.latest <= wall.now + 86_400 + 3


def test_the_window_never_begins_before_the_head() -> None:
    wall = Wall()
    clock = Clock(slack_s=10, wall=wall)
    clock.observe(header(1, START))
    window = clock.window()
    assert window.earliest >= START
    assert window.latest >= START + 10


def test_before_any_head_there_is_no_window() -> None:
    with pytest.raises(ValueError, match="no head"):
        Clock().window()
