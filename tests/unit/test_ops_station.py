"""The operator's orders: from the web server's thread to the market, for whoever shows the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from structlog.testing import capture_logs

from keeper.engine.loop import Tally
from keeper.model import Header
from keeper.ops.logs import Secrets
from keeper.ops.picture import RunningChain
from keeper.ops.station import Station
from keeper.settings import Settings
from tests.unit.ops_views import FIGURES, SIGNER

TOKEN = "0123456789abcdef"


class StoppedMarket:
    """A market in which the chain's disagreement has stopped the sending. It is read anew when the test says so."""

    name = "lite"

    def __init__(self) -> None:
        self.mismatch = "the verdict on account 7 is wrong"
        self.orders = 0
        self.due = False

    def accounts_watched(self) -> int:
        return 4

    def read_anew(self) -> bool:
        self.orders += 1
        first, self.due = bool(self.mismatch) and not self.due, bool(self.mismatch)
        return first

    def is_read(self) -> None:
        self.mismatch, self.due = "", False


def chain_of(market: StoppedMarket) -> RunningChain:
    """A chain as far as the station looks at it."""
    head = Header(7, "0x07", "0x06", 1_000, 30_000_000, 0, 10**9)
    loop = SimpleNamespace(market=market, head=head, tally=Tally(), behind=False, stopped_by="", eligibility={})
    rpc = SimpleNamespace(links=[], calls={}, chain_id=31337)
    chain = SimpleNamespace(
        name="local", settings=SimpleNamespace(chain_id=31337), rpc=rpc, executor=None, head=head, seen_at=0.0,
        tended=7, loops={"lite": loop}, following={},
    )  # fmt: skip
    return cast("RunningChain", chain)


@asynccontextmanager
async def stationed(folder: Path, market: StoppedMarket) -> AsyncIterator[tuple[Station, aiohttp.ClientSession]]:
    """A station with its web server, over one market."""
    (folder / "token").write_text(TOKEN)
    settings = Settings.model_validate(
        {
            "mode": "observe",
            "store": {"path": folder / "keeper.sqlite"},
            "http": {"port": 0, "token_file": folder / "token"},
            "chains": {"local": {"chain_id": 31337, "endpoints": ["http://127.0.0.1:9"], "liquidator": SIGNER}},
            "markets": {"lite": {"protocol": "deri-v3", "chain": "local", "pool": SIGNER, "native_price_b0": 300}},
        }
    )
    station = Station(
        settings,
        Secrets(),
        figures_of=lambda _: replace(FIGURES, mismatch=market.mismatch, mismatches=2),
        read_anew=lambda each: cast("StoppedMarket", each).read_anew(),
        native_price_e18={"lite": 1},
    )
    station.watch({"local": chain_of(market)})
    with capture_logs() as logs:
        async with station:
            async with asyncio.timeout(5):
                while not (urls := [line["url"] for line in logs if line["event"] == "console"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with aiohttp.ClientSession(urls[0]) as http:
                yield station, http


async def post(http: aiohttp.ClientSession, market: str, token: str = TOKEN) -> int:
    path, headers = f"/api/markets/{market}/bootstrap", {"Authorization": f"Bearer {token}"}
    async with http.post(path, headers=headers) as response:
        return response.status


async def test_a_stopped_market_is_read_anew_once_however_often_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keeper.ops.station.LOOK_S", 0.02)
    monkeypatch.setattr("keeper.ops.station.FIGURES_S", 0.02)
    market = StoppedMarket()
    async with stationed(tmp_path, market) as (station, http):
        assert await post(http, "lite", "wrong") == 401
        assert await post(http, "nowhere") == 404
        assert market.orders == 0
        async with http.get("/ready") as response:
            [cause] = [each for each in (await response.json())["causes"] if each["name"] == "mirror-mismatch:lite"]
        assert "nothing is sent until it has been read anew" in cause["text"]
        assert [await post(http, "lite") for _ in range(20)] == [202] * 20
        async with asyncio.timeout(5):
            while market.orders < 20:  # noqa: ASYNC110 - another thread's calls
                await asyncio.sleep(0.01)
        assert [event.text for event in station.feed.since(0) if event.kind == "operator"] == ["lite is read anew"]
        market.is_read()
        async with asyncio.timeout(5):
            while await post(http, "lite") != 409:  # noqa: ASYNC110 - another thread's snapshots
                await asyncio.sleep(0.05)
        assert [event.kind for event in station.feed.since(0)].count("operator") == 1
