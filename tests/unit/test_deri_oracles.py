"""Signed prices: what of a server's answers counts, what is said about the rest, and that it all recovers by itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from eth_abi.abi import encode
from structlog.testing import capture_logs

from keeper.devnet.oracle_server import Behaviour, OracleServer, Reading, serve, sign_reading, symbol_id
from keeper.model import PriceTick
from keeper.protocols.deri import abi, price_server
from keeper.protocols.deri.price_server import PriceServers, Record, SignedPrices, UnusableError, parse
from keeper.protocols.deri.state import ZERO_ADDRESS, OracleKind, OracleState

KEY = b"\x07" * 32
NOW = 1_700_000_000
BTC = 30_000 * 10**18
NAMES = ("BTCUSD", "ETHUSD", "VOL-BTCUSD")


def oracle_id(name: str) -> str:
    return abi.hex_of(symbol_id(name))


async def clock() -> int:
    return NOW


def oracle(name: str = "BTCUSD", timestamp: int = NOW - 10, value: int = BTC) -> OracleState:
    signer = OracleServer(KEY, {}).signer
    return OracleState(OracleKind.OFFCHAIN, oracle_id(name), name, ZERO_ADDRESS, value, timestamp, 600, signer)


def record(timestamp: int = NOW, value: int = BTC, *, name: str = "BTCUSD", key: bytes = KEY) -> Record:
    signed = sign_reading(key, name, timestamp, value)
    return Record(name, timestamp, value, signed.v, signed.r, signed.s)


# --- the format


def spelled(reading: Reading, **other: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "symbolName": reading.symbol,
        "timestamp": reading.timestamp,
        "value": reading.value_e18,
        "v": reading.v,
        "r": "0x" + reading.r.hex(),
        "s": "0x" + reading.s.hex(),
    }
    return plain | other


READING = sign_reading(KEY, "BTCUSD", NOW, BTC)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 200, "data": {"BTCUSD": spelled(READING)}},
        {"status": "200", "data": [spelled(READING)]},
        {"status": 200, "data": spelled(READING)},
        {"status": 200, "data": [spelled(READING, timestamp=str(NOW), value=str(BTC), v=str(READING.v))]},
        {"status": 200, "data": [spelled(READING, v=hex(READING.v))]},
    ],
    ids=["object", "list", "single", "strings", "hexadecimal v"],
)
def test_every_spelling_of_an_answer_is_read(answer: object) -> None:
    records, faults = parse(json.dumps(answer).encode())
    assert records == [Record("BTCUSD", NOW, BTC, READING.v, READING.r, READING.s)]
    assert faults == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html>502", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"status": 500, "data": {}}', "status"),
        (b'{"data": {}}', "status"),
        (b'{"status": 200}', "no data"),
        (b'{"status": 200, "data": "soon"}', "no data"),
    ],
)
def test_an_answer_that_is_none_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnusableError, match=why):
        parse(body)


@pytest.mark.parametrize(
    "broken",
    [
        {"timestamp": None},
        {"timestamp": True},
        {"timestamp": 0},
        {"value": "many"},
        {"value": -1},
        {"value": 2**255},
        {"value": 1.5},
        {"v": 256},
        {"r": "0xzz"},
        {"r": "0x" + "11" * 33},
        {"s": 5},
        {"symbolName": 7},
    ],
    ids=str,
)
def test_one_broken_record_does_not_spoil_the_others(broken: dict[str, object]) -> None:
    other = sign_reading(KEY, "ETHUSD", NOW, 5)
    body = json.dumps({"status": 200, "data": [spelled(READING, **broken), spelled(other)]}).encode()
    records, faults = parse(body)
    assert [one.name for one in records] == ["ETHUSD"]
    assert len(faults) == 1


# --- what counts


def test_a_reading_counts_if_newer_and_signed_by_the_oracles_signer() -> None:
    prices, chain = SignedPrices(), oracle()
    assert prices.offer(record(value=BTC + 1), chain, NOW) == ""
    fresher = prices.fresher(chain)
    assert fresher is not None
    assert (fresher.timestamp, fresher.value) == (NOW, BTC + 1)
    assert fresher.encoded == abi.encode_signature(fresher.signature)


def test_a_reading_by_another_signer_is_refused() -> None:
    prices, chain = SignedPrices(), oracle()
    assert prices.offer(record(key=b"\x08" * 32), chain, NOW) == f"not signed by {chain.signer}"
    assert prices.fresher(chain) is None


@pytest.mark.parametrize("change", [{"value": BTC + 1}, {"timestamp": NOW + 1}, {"v": 26}, {"v": 0}, {"r": b"\0" * 32}])
def test_a_reading_that_was_tampered_with_is_refused(change: dict[str, object]) -> None:
    prices, chain = SignedPrices(), oracle()
    tampered = replace(record(), **change)  # type: ignore[arg-type]
    assert prices.offer(tampered, chain, NOW) == f"not signed by {chain.signer}"


def test_a_reading_no_newer_than_the_chains_is_no_news() -> None:
    prices = SignedPrices()
    assert prices.offer(record(), oracle(timestamp=NOW), NOW) is None
    assert prices.offer(record(), oracle(timestamp=NOW + 2), NOW) is None
    assert prices.fresher(oracle(timestamp=NOW)) is None


def test_a_reading_much_older_than_the_chains_is_a_server_that_is_behind() -> None:
    assert SignedPrices().offer(record(), oracle(timestamp=NOW + 60), NOW) == "60 s older than the chain's"


def test_a_reading_that_has_expired_is_refused() -> None:
    chain = oracle(timestamp=NOW - 700)
    assert SignedPrices().offer(record(NOW), chain, NOW + 599) == ""
    assert SignedPrices().offer(record(NOW), chain, NOW + 600) == "expired 0 s ago"


def test_a_reading_of_the_future_is_accepted() -> None:
    assert SignedPrices().offer(record(NOW + 3_600), oracle(), NOW) == ""


def test_the_freshest_reading_wins_whichever_came_last() -> None:
    prices, chain = SignedPrices(), oracle()
    assert prices.offer(record(NOW, 2), chain, NOW) == ""
    assert prices.offer(record(NOW - 1, 1), chain, NOW) is None
    assert prices.offer(record(NOW, 3), chain, NOW) is None
    fresher = prices.fresher(chain)
    assert fresher is not None
    assert fresher.value == 2


def test_a_reading_is_dropped_once_the_chain_has_it_or_the_signer_changed() -> None:
    prices, chain = SignedPrices(), oracle()
    prices.offer(record(), chain, NOW)
    assert prices.fresher(replace(chain, timestamp=NOW)) is None
    assert prices.fresher(replace(chain, signer=ZERO_ADDRESS)) is None
    assert prices.fresher(replace(chain, kind=OracleKind.WOO)) is None
    assert prices.fresher(chain) is not None


def test_a_signature_is_recovered_only_for_news(monkeypatch: pytest.MonkeyPatch) -> None:
    prices, chain = SignedPrices(), oracle()
    prices.offer(record(), chain, NOW)

    def explode(*_: object) -> bool:
        raise AssertionError("recovered a signature that can't be news")

    monkeypatch.setattr("keeper.protocols.deri.readings.accepts", explode)
    assert prices.offer(record(), chain, NOW) is None


# --- call data


def test_liquidate_is_encoded_as_eth_abi_does() -> None:
    signed = [sign_reading(KEY, name, NOW, 5) for name in NAMES]
    prices = SignedPrices()
    encoded = []
    for reading in signed:
        chain = oracle(reading.symbol)
        assert prices.offer(record(NOW, 5, name=reading.symbol), chain, NOW) == ""
        fresher = prices.fresher(chain)
        assert fresher is not None
        encoded.append(fresher.encoded)
    whole = encode(["uint256", f"{abi.SIGNATURE_TYPE}[]"], [77, [reading.as_tuple() for reading in signed]])
    assert abi.encode_liquidate(77, encoded) == abi.LIQUIDATE + whole
    assert abi.LIQUIDATE.hex() == "052733d6"


# --- the servers


class Watched:
    """A market's servers being polled, and the ticks that came."""

    def __init__(self, urls: list[str], names: tuple[str, ...] = NAMES) -> None:
        self.chain = {oracle_id(name): oracle(name, value=1) for name in names}
        self.now = NOW
        self.prices = SignedPrices()
        self.ticks: list[PriceTick] = []
        self.servers = PriceServers(
            "test", urls, 0.01, self.prices, lambda: self.chain, lambda: self.now, timeout_s=0.3
        )

    def value(self, name: str) -> int | None:
        fresher = self.prices.fresher(self.chain[oracle_id(name)])
        return None if fresher is None else fresher.value


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(watched: Watched) -> AsyncIterator[Watched]:
    task = asyncio.create_task(watched.servers.watch(watched.ticks.append))
    try:
        yield watched
        if task.done():
            task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def server(values: dict[str, int] | None = None) -> AsyncIterator[OracleServer]:
    async with serve(OracleServer(KEY, values or dict.fromkeys(NAMES, BTC), clock)) as running:
        yield running


async def test_no_server_means_nothing_to_watch() -> None:
    await asyncio.wait_for(Watched([]).servers.watch(lambda _: None), 1)


async def test_a_tick_comes_when_a_price_changes_and_only_then() -> None:
    async with server() as running, watching(Watched([running.url])) as watched:
        await until(lambda: len(watched.ticks) == 1)
        first = watched.ticks[0]
        assert dict(first.prices_e18) == {oracle_id(name): BTC for name in NAMES}
        assert first.timestamp == NOW
        assert 0 < time.perf_counter_ns() - first.seen_ns < 5 * 10**9
        asked = running.requests
        await until(lambda: running.requests > asked + 3)
        assert len(watched.ticks) == 1
        running.move({"BTCUSD": BTC + 5})
        await until(lambda: len(watched.ticks) == 2)
        assert watched.ticks[1].prices_e18 == ((oracle_id("BTCUSD"), BTC + 5),)


async def test_a_price_that_had_expired_is_news_even_if_unchanged() -> None:
    async with server() as running:
        watched = Watched([running.url], ("BTCUSD",))
        expired = oracle(value=BTC, timestamp=NOW - 900)
        watched.chain = {oracle_id("BTCUSD"): expired}
        async with watching(watched):
            await until(lambda: len(watched.ticks) == 1)


async def test_the_freshest_of_several_servers_wins() -> None:
    async with server() as fresh, server(dict.fromkeys(NAMES, 7)) as behind:
        behind.behaviour = Behaviour(age_seconds=5)
        async with watching(Watched([behind.url, fresh.url])) as watched:
            await until(lambda: watched.value("BTCUSD") == BTC)
            asked = behind.requests
            await until(lambda: behind.requests > asked + 3)
            assert watched.value("BTCUSD") == BTC


async def test_a_slow_server_holds_no_other_up() -> None:
    async with server() as fast, server() as slow:
        slow.behaviour = Behaviour(delay_seconds=30)
        async with watching(Watched([slow.url, fast.url])) as watched:
            await until(lambda: watched.value("BTCUSD") == BTC, within_s=1)


TROUBLES = {
    "slow": (Behaviour(delay_seconds=30), price_server.UNREACHABLE),
    "hangs up": (Behaviour(hang_up=True), price_server.UNREACHABLE),
    "down": (Behaviour(http_status=503), price_server.UNREACHABLE),
    "garbage": (Behaviour(garbage=True), price_server.GARBAGE),
    "wrong signature": (Behaviour(wrong_signer=True), price_server.WRONG_SIGNATURE),
    "old": (Behaviour(age_seconds=60), price_server.OLD),
    "expired": (Behaviour(age_seconds=800), price_server.OLD),
    "left out": (Behaviour(missing=("BTCUSD",)), price_server.MISSING),
}


@pytest.mark.parametrize(("behaviour", "problem"), TROUBLES.values(), ids=TROUBLES)
async def test_trouble_is_told_once_and_ends_by_itself(behaviour: Behaviour, problem: str) -> None:
    async with server() as running:
        running.behaviour = behaviour
        with capture_logs() as logs:
            async with watching(Watched([running.url])) as watched:
                asked = running.requests
                await until(lambda: running.requests > asked + 2)
                assert watched.value("BTCUSD") is None
                running.behaviour = Behaviour()
                await until(lambda: watched.value("BTCUSD") == BTC)
                await until(lambda: any(entry["log_level"] == "info" for entry in logs))
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [f"price server: {problem}"]
    assert [entry["was"] for entry in logs if entry["log_level"] == "info"] == [problem]


async def test_a_server_that_is_not_there_yet_is_found_once_it_is() -> None:
    async with server() as running:
        port = int(running.url.rsplit(":", 1)[1])
    watched = Watched([f"http://127.0.0.1:{port}"])
    with capture_logs() as logs:
        async with watching(watched):
            await until(lambda: len(logs) == 1)
            async with serve(OracleServer(KEY, dict.fromkeys(NAMES, BTC), clock), port=port):
                await until(lambda: watched.value("BTCUSD") == BTC)
    assert [entry["event"] for entry in logs] == ["price server: no answer", "price server: recovered"]


async def test_credentials_in_an_address_are_never_told() -> None:
    async with server() as running:
        port = running.url.rsplit(":", 1)[1]
    with capture_logs() as logs:
        async with watching(Watched([f"http://user:hunter2@127.0.0.1:{port}/key-4711?token=abc"])):
            await until(lambda: len(logs) == 1)
    told = str(logs)
    assert not any(secret in told for secret in ("hunter2", "key-4711", "abc", "user"))


async def test_what_the_chain_no_longer_reads_off_chain_is_not_asked_for() -> None:
    async with server({"BTCUSD": BTC}) as running:
        watched = Watched([running.url])
        watched.chain = {
            key: replace(one, kind=OracleKind.OFFCHAIN if one.name == "BTCUSD" else OracleKind.WOO)
            for key, one in watched.chain.items()
        }
        # The server would refuse the whole list for one name that it does not have.
        async with watching(watched):
            await until(lambda: watched.value("BTCUSD") == BTC)
