"""Told once, in time, and once more when it is over; and nothing of a credential in what is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keeper.errors import ConfigError
from keeper.ops.alerts import ATTEMPTS, Alerts, Message, courier, outbox
from keeper.ops.health import Finding
from keeper.ops.logs import Secrets
from keeper.settings import AlertSettings
from keeper.views import Level

STALLED = Finding("head-stalled", "bnb", Level.CRITICAL, "no block", patience_s=2.0)
LOW = Finding("low-balance", "0x1", Level.WARNING, "little left")


class Told:
    """Alerts with a clock in hand, and what they told."""

    def __init__(self, settings: AlertSettings) -> None:
        self.messages: list[Message] = []
        self.now = 1_000_000.0
        self.alerts = Alerts(settings, self.messages.append, lambda: self.now)

    def at(self, seconds: float, *found: Finding) -> list[str]:
        """What is told when so many seconds later this is amiss."""
        self.now += seconds
        before = len(self.messages)
        self.alerts.update(found)
        return [message.title for message in self.messages[before:]]


@pytest.fixture
def told() -> Told:
    return Told(AlertSettings(quiet_minutes=10))


def test_a_trouble_is_told_once_when_it_has_lasted_as_long_as_it_may(told: Told) -> None:
    assert told.at(0, STALLED) == []
    assert told.at(1.9, STALLED) == []
    assert told.at(0.2, STALLED) == ["keeper: critical: head-stalled"]
    assert told.at(3600, STALLED) == []


def test_its_end_is_told_too_with_how_long_it_lasted(told: Told) -> None:
    told.at(0, LOW)
    assert told.at(600) == ["keeper: over: low-balance"]
    assert "10 min" in told.messages[-1].body


def test_what_nobody_was_told_of_ends_in_silence(told: Told) -> None:
    told.at(0, STALLED)
    assert told.at(1) == []


def test_what_comes_and_goes_is_quiet_until_the_quiet_period_is_over(told: Told) -> None:
    assert told.at(0, LOW) == ["keeper: warning: low-balance"]
    told.at(10)
    assert told.at(10, LOW) == []
    assert told.at(10) == []
    assert told.at(10, LOW) == []
    assert told.at(600, LOW) == ["keeper: warning: low-balance"]


def test_quiet_for_one_is_not_quiet_for_another(told: Told) -> None:
    other = Finding("low-balance", "0x2", Level.WARNING, "little left")
    told.at(0, LOW)
    assert told.at(1, LOW, other) == ["keeper: warning: low-balance"]


def test_what_is_below_the_level_is_not_told() -> None:
    told = Told(AlertSettings(least_level="critical"))
    assert told.at(0, LOW) == []
    assert told.at(5, LOW, STALLED) == []
    assert told.at(5, LOW, STALLED) == ["keeper: critical: head-stalled"]


async def test_a_service_that_fails_is_tried_again_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeper.ops.alerts.RETRY_S", 0.0)
    tries: list[str] = []
    delivered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def deliver(message: Message) -> list[str]:
        tries.append(message.title)
        if message.title == "second":
            loop.call_soon_threadsafe(delivered.set)
            return []
        return ["line 1 (json)"]

    async with outbox(deliver) as box:
        box.put(Message(Level.INFO, "first", ""))
        box.put(Message(Level.INFO, "second", ""))
        async with asyncio.timeout(5):
            await delivered.wait()
    assert tries == ["first"] * ATTEMPTS + ["second"]


async def test_more_than_fits_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeper.ops.alerts.WAITING", 2)
    sent: list[str] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def deliver(message: Message) -> list[str]:
        sent.append(message.title)
        if message.title == "4":
            loop.call_soon_threadsafe(done.set)
        return []

    async with outbox(deliver) as box:
        for number in range(5):
            box.put(Message(Level.INFO, str(number), ""))
        async with asyncio.timeout(5):
            await done.wait()
    assert sent == ["3", "4"]


def test_a_line_that_is_no_url_is_refused_without_being_shown(tmp_path: Path) -> None:
    urls = tmp_path / "alerts"
    urls.write_text("# mail\njson://localhost/hook\nnothing://user:hunter2secret@host\n")
    with pytest.raises(ConfigError) as caught:
        courier(AlertSettings(urls_file=urls), Secrets())
    assert "line 3 (nothing)" in str(caught.value)
    assert "hunter2secret" not in str(caught.value)


def test_urls_are_masked_wherever_they_turn_up(tmp_path: Path) -> None:
    urls, secrets = tmp_path / "alerts", Secrets()
    urls.write_text("jsons://user:hunter2secret@host/path-with-a-key\n")
    courier(AlertSettings(urls_file=urls), secrets)
    assert "hunter2secret" not in secrets.mask("it failed: jsons://user:hunter2secret@host/path-with-a-key")
    assert "path-with-a-key" not in secrets.mask("POST /path-with-a-key")
