"""Signed prices from the protocol's price servers: polled, checked, and the freshest valid one of each kept.

A server is never trusted: a reading counts once its signature is the on-chain signer's and its timestamp is newer than
what the oracle holds. Several servers are polled independently, so a slow one holds nobody up; the freshest wins.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import aiohttp
import structlog

from keeper.model import PriceTick
from keeper.protocols.deri import abi, readings
from keeper.protocols.deri.state import OracleKind, OracleSignature, OracleState

_log = structlog.get_logger(__name__)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

TIMEOUT_S = 3.0
LARGEST_BODY = 1 << 20
BEHIND_S = 3
"""A reading older than the chain's by no more than this lost a race; by more, its server is behind."""


class UnusableError(Exception):
    """A server's answer can't be used; the text says what came."""


@dataclass(frozen=True, slots=True)
class Record:
    """One reading as a server gave it, of the right shape and otherwise unchecked."""

    name: str
    timestamp: int
    value: int
    v: int
    r: bytes
    s: bytes


@dataclass(frozen=True, slots=True)
class SignedReading:
    """A reading that an oracle contract will take, with its six words of call data."""

    signature: OracleSignature
    signer: str
    encoded: bytes

    @property
    def timestamp(self) -> int:
        return self.signature.timestamp

    @property
    def value(self) -> int:
        return self.signature.value


# --- the format ------------------------------------------------------------------------------------------------------


def parse(body: bytes) -> tuple[list[Record], list[str]]:
    """The records in an answer, and what is wrong with those that aren't any.

    Raises ``UnusableError`` if the answer as a whole is none.
    """
    try:
        answer: Json = json.loads(body)
    except (ValueError, RecursionError):
        raise UnusableError("it is not JSON") from None
    if not isinstance(answer, dict):
        raise UnusableError("it is not a JSON object")
    if str(answer.get("status")) != "200":
        raise UnusableError(f"its status is {str(answer.get('status'))[:40]!r}")
    data = answer.get("data")
    if isinstance(data, dict):
        data = [data] if "symbolName" in data else list(data.values())
    if not isinstance(data, list):
        raise UnusableError("it has no data")
    records: list[Record] = []
    faults: list[str] = []
    for entry in data:
        try:
            records.append(_record(entry))
        except (ValueError, TypeError, KeyError) as error:
            name = entry.get("symbolName") if isinstance(entry, dict) else None
            faults.append(f"{str(name)[:40]}: {str(error)[:80]}")
    return records, faults


def _record(entry: Json) -> Record:
    if not isinstance(entry, dict):
        raise TypeError("not an object")
    name = entry["symbolName"]
    if not isinstance(name, str):
        raise TypeError("symbolName is not a string")
    timestamp, value, v = _integer(entry["timestamp"]), _integer(entry["value"]), _integer(entry["v"])
    if not (0 < timestamp < 2**64 and 0 < value < 2**255 and 0 <= v < 256):
        raise ValueError("an integer is out of range")
    return Record(name, timestamp, value, v, _word(entry["r"]), _word(entry["s"]))


def _integer(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("an integer is neither a number nor a string")
    if isinstance(value, int):
        return value
    return int(value, 16) if value.startswith("0x") else int(value)


def _word(value: Json) -> bytes:
    if not isinstance(value, str):
        raise TypeError("r or s is not a string")
    word = bytes.fromhex(value.removeprefix("0x").rjust(64, "0"))
    if len(word) != 32:
        raise ValueError("r or s is longer than 32 bytes")
    return word


# --- what counts -----------------------------------------------------------------------------------------------------


class SignedPrices:
    """The freshest valid reading of every off-chain oracle."""

    def __init__(self) -> None:
        self._newest: dict[str, SignedReading] = {}

    def offer(self, record: Record, oracle: OracleState, now: int) -> str | None:
        """Take a reading if it is news. Answers "" if it was taken, None if it is not news, else what is wrong with it.

        ``now`` is the chain's time. The signature is recovered last, and only for what would be news.
        """
        known = self.fresher(oracle)
        if record.timestamp <= oracle.timestamp or (known is not None and record.timestamp <= known.timestamp):
            behind = oracle.timestamp - record.timestamp
            return f"{behind} s older than the chain's" if behind > BEHIND_S else None
        if now >= record.timestamp + oracle.delay_allowance_s:
            return f"expired {now - record.timestamp - oracle.delay_allowance_s} s ago"
        signature = OracleSignature(oracle.oracle_id, record.timestamp, record.value, record.v, record.r, record.s)
        if not readings.accepts(oracle, signature):
            return f"not signed by {oracle.signer}"
        self._newest[oracle.oracle_id] = SignedReading(signature, oracle.signer, abi.encode_signature(signature))
        return ""

    def fresher(self, oracle: OracleState) -> SignedReading | None:
        """The reading that the oracle would take, if there is one: newer than its own and by its signer."""
        if oracle.kind is not OracleKind.OFFCHAIN:
            return None
        known = self._newest.get(oracle.oracle_id)
        if known is None or known.timestamp <= oracle.timestamp or known.signer != oracle.signer:
            return None
        return known


# --- the servers -----------------------------------------------------------------------------------------------------


class _Streaks:
    """Says once that something went wrong with one server, and once that it is right again."""

    def __init__(self, market: str, server: str) -> None:
        self._log = _log.bind(market=market, server=server)
        self._since: dict[str, tuple[float, int]] = {}

    def wrong(self, problem: str, came: str) -> None:
        since, count = self._since.get(problem, (time.monotonic(), 0))
        self._since[problem] = since, count + 1
        if count == 0:
            self._log.warning("price server: " + problem, came=came, remedy="the keeper goes on asking; see the server")

    def right(self, problem: str) -> None:
        if (streak := self._since.pop(problem, None)) is not None:
            seconds = round(time.monotonic() - streak[0], 1)
            self._log.info("price server: recovered", was=problem, seconds=seconds, answers=streak[1])


UNREACHABLE = "no answer"
GARBAGE = "an answer that can't be used"
MISSING = "prices left out"
WRONG_SIGNATURE = "a reading with a wrong signature"
OLD = "readings that are too old"


async def ask(session: aiohttp.ClientSession, url: str, names: list[str]) -> tuple[bytes, int]:
    """The body of an answer, and when its first byte was here."""
    async with session.post(url.rstrip("/") + "/get_symbol_data", json=names) as response:
        seen_ns = time.perf_counter_ns()
        if response.status != 200:
            raise UnusableError(f"HTTP status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > LARGEST_BODY:
                raise UnusableError(f"a body of more than {LARGEST_BODY} bytes")
        return bytes(body), seen_ns


class PriceServers:
    """Polls the servers of one market and emits a tick whenever a price changes."""

    def __init__(
        self,
        market: str,
        urls: Sequence[str],
        poll_seconds: float,
        prices: SignedPrices,
        oracles: Callable[[], Mapping[str, OracleState]],
        now: Callable[[], int],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``oracles`` answers what is on chain, ``now`` the chain's time."""
        self._market = market
        self._urls = tuple(urls)
        self._poll_seconds = poll_seconds
        self._prices = prices
        self._oracles = oracles
        self._now = now
        self._timeout_s = timeout_s

    async def watch(self, emit: Callable[[PriceTick], None]) -> None:
        """Poll until cancelled. Returns at once if there is no server."""
        if not self._urls:
            return
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for index, url in enumerate(self._urls):
                # Spread over the interval: several servers see a price sooner than one does.
                first_s = self._poll_seconds * index / len(self._urls)
                tasks.create_task(self._poll(session, url, first_s, emit), name=f"{self._market}.prices.{index}")

    async def _poll(
        self, session: aiohttp.ClientSession, url: str, first_s: float, emit: Callable[[PriceTick], None]
    ) -> None:
        parts = urlsplit(url)
        server = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        streaks = _Streaks(self._market, server)
        loop = asyncio.get_running_loop()
        due = loop.time() + first_s
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + self._poll_seconds, loop.time())
            asked = {oracle.name: oracle for oracle in self._oracles().values() if oracle.kind is OracleKind.OFFCHAIN}
            if not asked:
                continue
            try:
                body, seen_ns = await ask(session, url, list(asked))
            except (aiohttp.ClientError, TimeoutError, UnusableError) as error:
                streaks.wrong(UNREACHABLE, described(error))
                continue
            streaks.right(UNREACHABLE)
            try:
                records, faults = parse(body)
            except UnusableError as error:
                streaks.wrong(GARBAGE, str(error))
                continue
            tick = self._take(records, faults, asked, seen_ns, server, streaks)
            if tick is not None:
                emit(tick)

    def _take(
        self,
        records: Sequence[Record],
        faults: Sequence[str],
        asked: Mapping[str, OracleState],
        seen_ns: int,
        server: str,
        streaks: _Streaks,
    ) -> PriceTick | None:
        now = self._now()
        changed: list[tuple[str, int]] = []
        wrong: dict[str, list[str]] = {GARBAGE: list(faults), WRONG_SIGNATURE: [], OLD: [], MISSING: []}
        latest = 0
        seen: set[str] = set()
        for record in records:
            oracle = asked.get(record.name)
            if oracle is None:
                wrong[GARBAGE].append(f"{record.name[:40]}: not asked for")
                continue
            seen.add(record.name)
            before = self._prices.fresher(oracle)
            problem = self._prices.offer(record, oracle, now)
            if problem == "":
                held = oracle if before is None else before
                # A price that had expired is news also when it is still the same.
                if record.value != held.value or now >= held.timestamp + oracle.delay_allowance_s:
                    changed.append((oracle.oracle_id, record.value))
                    latest = max(latest, record.timestamp)
            elif problem is not None:
                wrong[WRONG_SIGNATURE if problem.startswith("not signed") else OLD].append(f"{record.name}: {problem}")
        wrong[MISSING] += [name for name in asked if name not in seen and not faults]
        for problem, cases in wrong.items():
            if cases:
                streaks.wrong(problem, "; ".join(cases[:5]))
            else:
                streaks.right(problem)
        if not changed:
            return None
        return PriceTick(self._market, server, tuple(changed), latest, seen_ns)


def described(error: Exception) -> str:
    """What went wrong, without the URL that aiohttp puts into its messages: it may hold a credential."""
    if isinstance(error, UnusableError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return type(error).__name__
