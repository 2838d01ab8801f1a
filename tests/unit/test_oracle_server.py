"""The local oracle server speaks as the protocol's server does, and misbehaves only when told to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from eth_utils.crypto import keccak

from keeper.chain.eth_accounts import Account, encode_defunct
from keeper.devnet.deri_world import ONE, address_of
from keeper.devnet.oracle_server import OracleServer, serve, sign_reading

KEY = keccak(text="an oracle's key")
SIGNER = address_of(KEY)


async def stopped_clock() -> int:
    return 1_700_000_000


@pytest.fixture
async def server() -> AsyncIterator[OracleServer]:
    values = {"BTCUSD": 30_000 * ONE, "ETHUSD": 2_000 * ONE, "VOL-BTCUSD": ONE // 2}
    async with serve(OracleServer(KEY, values, stopped_clock)) as running:
        yield running


@pytest.fixture
async def http(server: OracleServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def get(http: aiohttp.ClientSession, symbol: str) -> dict[str, object]:
    async with http.get("/get_symbol_data", params={"symbol": symbol}) as response:
        answer = await response.json()
        assert answer["status"] == response.status == 200
        record = answer["data"]
        assert isinstance(record, dict)
        return record


async def control(http: aiohttp.ClientSession, request: object) -> int:
    async with http.post("/control", json=request) as response:
        return response.status


def recover(record: dict[str, object]) -> str:
    """Who signed a record, by another library's reckoning."""
    packed = keccak(text=str(record["symbolName"]))
    packed += int(str(record["timestamp"])).to_bytes(32, "big") + int(str(record["value"])).to_bytes(32, "big")
    v, r, s = int(str(record["v"]), 0), int(str(record["r"]), 16), int(str(record["s"]), 16)
    return str(Account.recover_message(encode_defunct(keccak(packed)), vrs=(v, r, s)))


def test_an_address_is_the_keys_account() -> None:
    assert Account.from_key(KEY).address == SIGNER


def test_a_signature_covers_name_time_and_value() -> None:
    signatures = {
        sign_reading(KEY, *reading).r
        for reading in [("BTCUSD", 1, 2), ("ETHUSD", 1, 2), ("BTCUSD", 2, 2), ("BTCUSD", 1, 3)]
    }
    assert len(signatures) == 4


async def test_one_reading_by_get(http: aiohttp.ClientSession) -> None:
    record = await get(http, "BTCUSD")
    assert (record["symbolName"], record["timestamp"], record["value"]) == ("BTCUSD", 1_700_000_000, 30_000 * ONE)
    assert record["v"] in (27, 28)
    assert recover(record) == SIGNER


async def test_many_readings_by_post(http: aiohttp.ClientSession) -> None:
    async with http.post("/get_symbol_data", json=["ETHUSD", "VOL-BTCUSD"]) as response:
        answer = await response.json()
    assert list(answer["data"]) == ["ETHUSD", "VOL-BTCUSD"]
    assert answer["data"]["VOL-BTCUSD"]["value"] == ONE // 2
    assert all(recover(record) == SIGNER for record in answer["data"].values())


async def test_an_unknown_symbol_is_named(http: aiohttp.ClientSession) -> None:
    async with http.get("/get_symbol_data", params={"symbol": "DOGEUSD"}) as response:
        assert response.status == 404
        assert "DOGEUSD" in await response.text()


async def test_a_moved_value_is_newer_even_if_the_clock_stands_still(http: aiohttp.ClientSession) -> None:
    before = await get(http, "BTCUSD")
    assert await control(http, {"values": {"BTCUSD": "29999.5"}}) == 200
    after = await get(http, "BTCUSD")
    assert after["value"] == 29_999 * ONE + ONE // 2
    assert int(str(after["timestamp"])) > int(str(before["timestamp"]))
    assert (await get(http, "BTCUSD"))["timestamp"] == after["timestamp"]


async def test_the_clock_freezes_and_thaws(http: aiohttp.ClientSession) -> None:
    await control(http, {"frozen_at": 1_234})
    assert (await get(http, "BTCUSD"))["timestamp"] == 1_234
    await control(http, {"frozen_at": None})
    assert (await get(http, "BTCUSD"))["timestamp"] == 1_700_000_000


async def test_by_default_the_time_is_the_machines() -> None:
    earliest = int(time.time())
    reading = await OracleServer(KEY, {"BTCUSD": ONE}).reading("BTCUSD")
    assert earliest <= reading.timestamp <= int(time.time())


async def test_a_sloppy_server(http: aiohttp.ClientSession) -> None:
    sloppy = {"status_as_string": True, "integers_as_strings": True, "v_as_hex": True, "data_as_list": True}
    await control(http, {"behaviour": sloppy})
    async with http.post("/get_symbol_data", json=["BTCUSD", "ETHUSD"]) as response:
        answer = await response.json()
    assert answer["status"] == "200"
    assert [record["value"] for record in answer["data"]] == [str(30_000 * ONE), str(2_000 * ONE)]
    assert answer["data"][0]["v"] in ("0x1b", "0x1c")
    assert recover(answer["data"][0]) == SIGNER


async def test_a_lying_server(http: aiohttp.ClientSession) -> None:
    await control(http, {"behaviour": {"wrong_signer": True}})
    assert recover(await get(http, "BTCUSD")) != SIGNER
    await control(http, {"behaviour": {"age_seconds": 600}})
    old = await get(http, "BTCUSD")
    assert old["timestamp"] == 1_700_000_000 - 600
    assert recover(old) == SIGNER


async def test_a_broken_server(http: aiohttp.ClientSession) -> None:
    await control(http, {"behaviour": {"http_status": 500}})
    async with http.get("/get_symbol_data", params={"symbol": "BTCUSD"}) as response:
        assert response.status == 500
    await control(http, {"behaviour": {"garbage": True}})
    async with http.get("/get_symbol_data", params={"symbol": "BTCUSD"}) as response:
        with pytest.raises(ValueError, match="Expecting value"):
            await response.json(content_type=None)
    await control(http, {"behaviour": {"missing": ["ETHUSD"]}})
    async with http.post("/get_symbol_data", json=["BTCUSD", "ETHUSD"]) as response:
        assert list((await response.json())["data"]) == ["BTCUSD"]
    await control(http, {"behaviour": {"hang_up": True}})
    with pytest.raises(aiohttp.ClientError):
        await get(http, "BTCUSD")


async def test_a_slow_server(http: aiohttp.ClientSession) -> None:
    await control(http, {"behaviour": {"delay_seconds": 60}})
    with pytest.raises(TimeoutError):
        await http.get("/get_symbol_data", params={"symbol": "BTCUSD"}, timeout=aiohttp.ClientTimeout(total=0.05))


@pytest.mark.parametrize(
    "request_",
    [
        [],
        {"price": {}},
        {"values": {"BTCUSD": "much"}},
        {"values": {"BTCUSD": "1", "ETHUSD": -1}},
        {"values_e18": {"BTCUSD": "0.5"}},
        {"values": {"BTCUSD": "1"}, "frozen_at": "noon"},
        {"values": {"BTCUSD": "1"}, "behaviour": {"rude": True}},
        {"values": {"BTCUSD": "1"}, "behaviour": {"http_status": "500"}},
    ],
)
async def test_a_control_request_that_makes_no_sense_changes_nothing(
    http: aiohttp.ClientSession, server: OracleServer, request_: object
) -> None:
    assert await control(http, request_) == 400
    assert server.values_e18["BTCUSD"] == 30_000 * ONE
    assert (await get(http, "BTCUSD"))["timestamp"] == 1_700_000_000
