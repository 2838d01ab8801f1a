"""Snapshots for tests: a keeper in good health, to be changed one thing at a time."""

from __future__ import annotations

from dataclasses import replace

from keeper.views import (
    AccountView,
    ChainView,
    Distances,
    EndpointView,
    Figures,
    LaneView,
    MarketView,
    PriceView,
    SignerView,
    Snapshot,
    StakeView,
)

SIGNER = "0x8d716529A89A1692c52Dbd82C413fc5C6C2aD2B1"

ENDPOINT = EndpointView("ws://node:8546", True, False, False, 100, 0, 2.5, 0)
LANE = LaneView(SIGNER, 5 * 10**18, 10**18, 1)
CHAIN = ChainView("bnb", 56, 100, 0.5, 1.0, 1.0, True, 100, (ENDPOINT,), (LANE,), {"eth_call": 7})
FIGURES = Figures(
    unit="B0",
    decimals=18,
    nearest=(AccountView("7", 1.5, "BTCUSD", False, 12.5, 3600.0),),
    distances=Distances(down=(0, 1) + (0,) * 28, up=(0,) * 30, beyond=3, unassessable=0),
    prices=(PriceView("BTCUSD", 30_000.0, "signed", 1.0, 599.0),),
    stakes=(StakeView(SIGNER, 60_000.0, 30_000.0, 120_000.0, 200.0, None),),
)
MARKET = MarketView(
    name="lite",
    chain="bnb",
    protocol="deri-v3",
    ready=True,
    accounts=4,
    mirror_block=100,
    mirror_age_s=0.0,
    behind=False,
    stopped_by="",
    signers=(SignerView(SIGNER, True, "qualified", "60,000 DERI staked", None, ""),),
    figures=FIGURES,
    native_price_e18=300 * 10**18,
    rounds=10,
    candidates=3,
    decided=2,
    sent=2,
    mined=2,
    lost=0,
    reverted={},
    skipped={},
)
HEALTHY = Snapshot(1_000.0, 900.0, "0", "live", False, (CHAIN,), (MARKET,))


def with_chain(chain: ChainView) -> Snapshot:
    return replace(HEALTHY, chains=(chain,))


def with_market(market: MarketView) -> Snapshot:
    return replace(HEALTHY, markets=(market,))
