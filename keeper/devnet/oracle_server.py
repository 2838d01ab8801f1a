"""An oracle server for local markets: signed readings over HTTP, in the format of the protocol's own server.

``GET /get_symbol_data?symbol=BTCUSD`` and ``POST /get_symbol_data`` with a JSON list of names answer signed readings.
``POST /control`` moves values, freezes the clock and makes the server misbehave (see ``Control``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, TypeAlias

from aiohttp import web
from coincurve import PrivateKey
from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from keeper.devnet.deri_world import ONE, address_of
from keeper.devnet.rpc import DevNode, Json
from keeper.errors import ConfigError

Clock: TypeAlias = Callable[[], Awaitable[int]]
"""Answers the time in seconds that readings carry."""


def symbol_id(name: str) -> bytes:
    """An oracle's id: ``keccak256`` of the symbol's name."""
    return keccak(text=name)


@dataclass(frozen=True, slots=True)
class Reading:
    """One signed reading: what ``OracleOffChain.updateValue`` takes."""

    symbol: str
    timestamp: int
    value_e18: int
    v: int
    r: bytes
    s: bytes

    def as_tuple(self) -> tuple[bytes, int, int, int, bytes, bytes]:
        """The ``OracleSignature`` tuple of ``liquidate``."""
        return symbol_id(self.symbol), self.timestamp, self.value_e18, self.v, self.r, self.s


def sign_reading(key: bytes, symbol: str, timestamp: int, value_e18: int) -> Reading:
    """Sign a reading.

    Over the Ethereum-signed-message hash of ``keccak256(abi.encodePacked(symbolId, timestamp, value))``
    (OracleOffChain.updateValue).
    """
    packed = symbol_id(symbol) + timestamp.to_bytes(32, "big") + value_e18.to_bytes(32, "big")
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(packed))
    signature = PrivateKey(key).sign_recoverable(digest, hasher=None)
    return Reading(symbol, timestamp, value_e18, 27 + signature[64], signature[:32], signature[32:64])


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the server behaves. The default is a good server; everything else is for tests."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    delay_seconds: float = 0.0
    http_status: int = 200
    """Anything but 200 is answered without data."""
    garbage: bool = False
    """A body that is not JSON."""
    hang_up: bool = False
    """The connection is closed without an answer."""
    wrong_signer: bool = False
    """Signed with a key that is not the oracle's."""
    age_seconds: int = 0
    """Readings carry a timestamp that much in the past."""
    missing: tuple[str, ...] = ()
    """Names that are left out of the answer."""
    status_as_string: bool = False
    integers_as_strings: bool = False
    v_as_hex: bool = False
    data_as_list: bool = False


class Control(BaseModel):
    """The body of ``POST /control``. What is left out stays as it is; anything unknown is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: dict[str, Annotated[Decimal, Field(ge=0, decimal_places=18)]] = {}
    """Names and plain numbers: ``{"BTCUSD": "29950.25"}``."""
    values_e18: dict[str, NonNegativeInt] = {}
    frozen_at: int | None = None
    """The timestamp that every reading carries from now on; null lets the clock run again."""
    behaviour: Behaviour | None = None
    """Starts from a good server each time."""


async def wall_clock() -> int:
    """The time of this machine."""
    return int(time.time())


def chain_clock(node: DevNode) -> Clock:
    """The latest block's time; right for a chain whose time was shifted."""
    return node.block_timestamp


class OracleServer:
    """The values on offer and how they are answered; ``serve`` puts it on the network.

    A value that moves gets a timestamp later than any handed out for the value before, so that the oracle contract
    takes the new one even if the clock stands still.
    """

    def __init__(self, key: bytes, values_e18: Mapping[str, int], clock: Clock = wall_clock) -> None:
        self.signer = address_of(key)
        self.behaviour = Behaviour()
        self.frozen_at: int | None = None
        """The timestamp that every reading carries, while set."""
        self.requests = 0
        """Requests for readings since the start."""
        self.url = ""
        """Where it was last served."""
        self._key = key
        self._wrong_key = keccak(key)
        self._clock = clock
        self._values_e18 = dict(values_e18)
        self._issued = dict.fromkeys(values_e18, 0)
        self._not_before = dict.fromkeys(values_e18, 0)

    @property
    def values_e18(self) -> Mapping[str, int]:
        """The present value of every name on offer."""
        return self._values_e18

    def move(self, values_e18: Mapping[str, int]) -> None:
        """Set values; a new name is added to what is on offer."""
        for name, value in values_e18.items():
            if self._values_e18.get(name) != value:
                self._values_e18[name] = value
                self._not_before[name] = self._issued.setdefault(name, 0) + 1

    async def reading(self, name: str) -> Reading:
        """A signed reading of the present value. Raises ``KeyError`` for a name that is not on offer."""
        now = await self._clock() if self.frozen_at is None else self.frozen_at
        # No await from here on: a value that moves meanwhile must not share its timestamp with the one before.
        value_e18 = self._values_e18[name]
        timestamp = max(now, self._not_before[name]) if self.frozen_at is None else now
        self._issued[name] = max(self._issued[name], timestamp)
        key = self._wrong_key if self.behaviour.wrong_signer else self._key
        return sign_reading(key, name, timestamp - self.behaviour.age_seconds, value_e18)

    def control(self, order: Control) -> None:
        """Obey an order; what it does not name stays as it is."""
        self.move({name: int(value * ONE) for name, value in order.values.items()})
        self.move(order.values_e18)
        if "frozen_at" in order.model_fields_set:
            self.frozen_at = order.frozen_at
        if order.behaviour is not None:
            self.behaviour = order.behaviour

    # HTTP

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, [request.query.get("symbol", "")], single=True)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        names = await request.json()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _problem(400, "the body must be a JSON list of names")
        return await self._answer(request, names, single=False)

    async def _answer(self, request: web.Request, names: list[str], *, single: bool) -> web.StreamResponse:
        self.requests += 1
        behaviour = self.behaviour
        if behaviour.delay_seconds:
            await asyncio.sleep(behaviour.delay_seconds)
        if behaviour.hang_up and request.transport is not None:
            request.transport.abort()
        if behaviour.http_status != 200:
            return _problem(behaviour.http_status, "told to fail")
        if behaviour.garbage:
            return web.Response(text="<html>502 Bad Gateway", content_type="text/html")
        if unknown := [name for name in names if name not in self._values_e18]:
            return _problem(404, f"no such symbol: {', '.join(unknown)}")
        records = {
            name: _record(await self.reading(name), behaviour) for name in names if name not in behaviour.missing
        }
        data: object = records
        if single:
            data = next(iter(records.values()), None)
        elif behaviour.data_as_list:
            data = list(records.values())
        return web.json_response({"status": "200" if behaviour.status_as_string else 200, "data": data})

    async def _get_control(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            {
                "signer": self.signer,
                "values_e18": {name: str(value) for name, value in self._values_e18.items()},
                "frozen_at": self.frozen_at,
                "requests": self.requests,
            }
        )

    async def _post_control(self, request: web.Request) -> web.StreamResponse:
        try:
            self.control(Control.model_validate_json(await request.read()))
        except ValidationError as problem:
            return _problem(400, str(problem))
        return await self._get_control(request)


@asynccontextmanager
async def serve(server: OracleServer, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[OracleServer]:
    """Answer requests (at a free port if 0) until the block is left; ``url`` says where.

    Raises ``ConfigError`` if the port is taken.
    """
    app = web.Application()
    app.add_routes(
        [
            web.get("/get_symbol_data", server._get),
            web.post("/get_symbol_data", server._post),
            web.get("/control", server._get_control),
            web.post("/control", server._post_control),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"a free port {port} on {host}", str(error.strerror), "choose another port") from None
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def _record(reading: Reading, behaviour: Behaviour) -> dict[str, Json]:
    """A reading as the protocol's server spells it, or as a sloppier one might."""
    integer: Callable[[int], int | str] = str if behaviour.integers_as_strings else int
    return {
        "symbolName": reading.symbol,
        "timestamp": integer(reading.timestamp),
        "value": integer(reading.value_e18),
        "v": hex(reading.v) if behaviour.v_as_hex else integer(reading.v),
        "r": "0x" + reading.r.hex(),
        "s": "0x" + reading.s.hex(),
    }


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"status": status, "message": message}, status=status)
