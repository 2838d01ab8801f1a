"""Alerts about stakes: each told once, cleared when it is over; and the comparison with the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from keeper.errors import ChainError, ProtocolError
from keeper.model import Header, Log, ReadCall, ReadResult
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Wiring
from keeper.protocols.deri.stake.watch import VERIFY_SECONDS, Alert, AlertKind, StakeWatch
from keeper.protocols.deri.state import Flavour, PrivilegerState, Stake

DERI = 10**18
US, POOL, MANAGER, TOKEN, PRIVILEGER, OTHER = ("0x" + digit * 40 for digit in "123456")
LOCK_S = 300
NOW = 1_000_000
PARTS = Wiring(POOL, Flavour.LITE, MANAGER, TOKEN, MANAGER, PRIVILEGER, TOKEN, TOKEN)
LOCKED_REVERT = ReadResult(
    False,
    bytes.fromhex("08c379a0") + abi.uint_word(32) + abi.uint_word(19) + b"minLockTime not met".ljust(32, b"\0"),
)
YES, NO = ReadResult(True, abi.uint_word(1)), ReadResult(True, abi.uint_word(0))


def head(timestamp: int = NOW) -> Header:
    return Header(timestamp, f"0x{timestamp:064x}", "0x", timestamp, 30_000_000, 0, 1)


def stakes(mine: int, *others: int, since: int = NOW - LOCK_S) -> PrivilegerState:
    total, count = mine + sum(others), len(others) + (mine > 0)
    return PrivilegerState(LOCK_S, 10_000 * DERI, total * DERI, count, {US: Stake(mine * DERI, since if mine else 0)})


class FakeReader:
    """Answers every call the same, or fails."""

    def __init__(self, answer: ReadResult | ChainError) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        self.asked.append(block_hash)
        if isinstance(self.answer, ChainError):
            raise self.answer
        return [self.answer for _ in calls]


class Ear:
    """A watch and what it told."""

    def __init__(self) -> None:
        self.watch = StakeWatch("lite", [US])
        self.alerts: list[Alert] = []
        self.watch.listen(self.alerts.append)

    def see(self, state: PrivilegerState | None, at: int = NOW, parts: Wiring = PARTS, *logs: Log) -> list[str]:
        """The alerts of one head; those cleared with a minus before them."""
        before = len(self.alerts)
        self.watch.observe(head(at), parts, state, logs, None)
        return [("-" if alert.cleared else "") + alert.kind.value for alert in self.alerts[before:]]


def new_implementation(address: str) -> Log:
    return Log(address, (abi.NEW_IMPLEMENTATION,), abi.address_word(OTHER), 7, "0x", "0x", 0)


def test_all_is_well_and_nothing_is_told() -> None:
    ear = Ear()
    assert ear.see(stakes(30_000, 20_000)) == []
    assert ear.see(stakes(30_000, 20_000), NOW + 1) == []


def test_the_average_crossing_us_is_told_once_and_cleared() -> None:
    ear = Ear()
    ear.see(stakes(30_000, 20_000))
    assert ear.see(stakes(30_000, 40_000)) == ["stake.below-average"]
    assert "30,000.00 DERI staked, the average is 35,000.00 DERI; deposit another 10,000.00" in ear.alerts[-1].text
    assert ear.see(stakes(30_000, 41_000)) == []
    assert ear.see(stakes(30_000, 20_000)) == ["-stake.below-average"]
    assert ear.see(stakes(30_000, 40_000)) == ["stake.below-average"]


def test_a_start_below_the_average_is_told() -> None:
    assert Ear().see(stakes(10_000, 40_000)) == ["stake.below-average"]


def test_the_end_of_a_lock_is_told_with_what_comes_after_it() -> None:
    ear = Ear()
    state = stakes(30_000, 20_000, since=NOW)
    assert ear.see(state) == []
    assert ear.see(state, NOW + LOCK_S - 1) == []
    assert ear.see(state, NOW + LOCK_S) == ["stake.lock-ended"]
    assert "qualified" in ear.alerts[-1].text
    assert ear.see(state, NOW + LOCK_S + 1) == []


def test_a_lock_that_ends_below_the_average_says_so() -> None:
    ear = Ear()
    state = stakes(30_000, 60_000, since=NOW)
    ear.see(state)
    assert ear.see(state, NOW + LOCK_S) == ["stake.lock-ended", "stake.below-average"]


def test_little_head_room_is_told_at_the_configured_share() -> None:
    ear = Ear()
    assert ear.see(stakes(21_000, 20_000)) == []  # exactly 5 %
    assert ear.see(stakes(20_900, 20_000)) == ["stake.headroom-low"]
    assert "may add 900.00 DERI (4.50 % of what they hold, the alert is at 5 %)" in ear.alerts[-1].text
    assert ear.see(stakes(20_500, 20_000)) == []
    # Below the average is worse, and told as such.
    assert ear.see(stakes(19_000, 20_000)) == ["stake.below-average", "-stake.headroom-low"]


def test_a_sole_staker_is_never_short_of_head_room() -> None:
    assert Ear().see(stakes(10_000)) == []


def test_another_privileger_is_told() -> None:
    ear = Ear()
    ear.see(stakes(30_000, 20_000))
    assert ear.see(stakes(0), NOW, replace(PARTS, privileger=OTHER)) == ["stake.privileger-changed"]
    assert f"it was {PRIVILEGER}" in ear.alerts[-1].text
    assert ear.see(stakes(0), NOW, replace(PARTS, privileger=OTHER)) == []


def test_an_implementation_is_told_by_whose_it_is() -> None:
    ear = Ear()
    ear.see(stakes(30_000, 20_000))
    assert ear.see(stakes(30_000, 20_000), NOW, PARTS, new_implementation(PRIVILEGER)) == ["stake.privileger-changed"]
    assert ear.see(stakes(30_000, 20_000), NOW, PARTS, new_implementation(POOL)) == ["stake.implementation-changed"]


def test_without_a_privileger_there_is_nothing_to_watch() -> None:
    assert Ear().see(None) == []


@pytest.mark.parametrize(
    ("answer", "at", "wrong"),
    [
        (YES, NOW, 0),
        (NO, NOW, 1),
        (LOCKED_REVERT, NOW, 1),
        (LOCKED_REVERT, NOW - 1, 0),  # the lock ends at NOW
        (YES, NOW - 1, 1),
    ],
)
async def test_the_contracts_word_is_compared_with_ours(answer: ReadResult, at: int, wrong: int) -> None:
    ear = Ear()
    with capture_logs() as lines:
        assert await ear.watch.verify(FakeReader(answer), head(at), PARTS, stakes(30_000, 20_000)) == wrong
    assert ear.watch.mismatches == wrong
    assert [line["event"] for line in lines] == ["stake.mismatch"] * wrong


async def test_a_mismatch_is_told_once_and_cleared_when_they_agree_again() -> None:
    ear = Ear()
    for answer in (NO, NO, YES):
        await ear.watch.verify(FakeReader(answer), head(), PARTS, stakes(30_000, 20_000))
    assert [(alert.kind, alert.cleared) for alert in ear.alerts] == [
        (AlertKind.MISMATCH, False),
        (AlertKind.MISMATCH, True),
    ]


async def test_any_other_revert_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="isQualifiedLiquidator"):
        await Ear().watch.verify(FakeReader(ReadResult(False, b"")), head(), PARTS, stakes(30_000))


async def test_it_compares_at_a_steady_rhythm_and_a_silent_node_is_told_once() -> None:
    watch = StakeWatch("lite", [US])
    reader = FakeReader(ChainError("an answer", "none came", "wait"))
    with capture_logs() as lines:
        running = asyncio.create_task(watch.run())
        for second in range(0, 4 * VERIFY_SECONDS, 20):
            watch.observe(head(NOW + second), PARTS, stakes(30_000, 20_000), (), reader)
            for _ in range(3):
                await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert reader.asked == [head(NOW + n * VERIFY_SECONDS).hash for n in range(4)]
    assert [line["log_level"] for line in lines] == ["warning"]
