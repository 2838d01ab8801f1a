"""Hold the Meridian engine to recorded outcomes and event logs of the published contracts.

Two commands of ``scripts/vectors``: ``meridian FILE`` compares every recorded field of every outcome, and
``meridian-events FILE`` replays the logs of every scenario. Files may be gzipped.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from keeper.protocols.meridian import events
from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.liquidation import Closing, funding_at, liquidate, validate, with_funding
from keeper.protocols.meridian.pricing import FastFeed, TokenFeed, primary_price
from keeper.protocols.meridian.state import Access, Params, Position, Price, Route, Timelock, Token, Vault

Json: TypeAlias = dict[str, Any]
"""A recorded object; its shape is the schema's, its numbers decimal strings."""

SHOWN = 10
"""Differences printed in full."""


@dataclass(slots=True)
class Tally:
    """Exact and compared counts by kind, and the differences found."""

    exact: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def compare(self, kind: str, where: str, expected: object, came: object) -> None:
        self.total[kind] = self.total.get(kind, 0) + 1
        self.exact.setdefault(kind, 0)
        if expected == came:
            self.exact[kind] += 1
        else:
            self.differences.append(f"{where}: {kind}: expected {expected}, came {came}")

    def report(self, command: str) -> int:
        """Print differences and counts, the first kind last; 0 if everything is exact and anything was compared."""
        for line in self.differences[:SHOWN]:
            print(line)
        if len(self.differences) > SHOWN:
            print(f"... and {len(self.differences) - SHOWN} more")
        kinds = list(self.total)
        for kind in [*kinds[1:], *kinds[:1]]:
            print(f"{command}: {self.exact[kind]}/{self.total[kind]} {kind} exact")
        return 0 if self.total and self.exact == self.total else 1


def load(path: Path) -> Json:
    """A vectors file, gzipped or not."""
    raw = path.read_bytes()
    parsed: Json = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return parsed


def outcomes(path: Path) -> int:
    """``meridian FILE``: every view, revert, payment and the vault afterwards."""
    tally = Tally()
    for scenario in load(path)["scenarios"]:
        vault, access, positions = read_vault(scenario), read_access(scenario), read_positions(scenario)
        for evaluation in scenario["evals"]:
            where = f"{scenario['id']}/{evaluation['id']}"
            timestamp = int(evaluation["timestamp"])
            for outcome in evaluation["outcomes"]:
                expected = {name: outcome.get(name) for name in _RECORDED}
                came = replay(scenario, vault, access, positions[outcome["p"]], evaluation, outcome)
                tally.compare("outcomes", f"{where}/position {outcome['p']}", expected, came)
            for symbol, recorded in evaluation["prices"].items():
                token = vault.token(scenario["tokens"][symbol]["address"])
                rate, last = funding_at(token, vault.params, timestamp)
                tally.compare("fundings", f"{where}/{symbol}", recorded["fundingAfter"], [str(rate), str(last)])
                feed = read_feed(scenario, symbol, evaluation)
                price = feed.at(timestamp)
                expected_price = (recorded["minNoAmm"], recorded["maxNoAmm"])
                tally.compare("prices", f"{where}/{symbol}", expected_price, (str(price.min_e30), str(price.max_e30)))
    return tally.report("meridian")


_RECORDED = (
    "viewStored",
    "viewUpdated",
    "viewEffective",
    "ok",
    "revert",
    "state",
    "feeReceived",
    "traderReceived",
    "after",
    "event",
)
_EVENT_NAMES = {1: "LiquidatePosition", 2: "DecreasePosition"}


def replay(scenario: Json, vault: Vault, access: Access, position: Position, evaluation: Json, outcome: Json) -> Json:
    """The engine's version of one recorded outcome, in the record's own shape."""
    timestamp = int(evaluation["timestamp"])
    recorded = evaluation["prices"]
    address = {symbol: scenario["tokens"][symbol]["address"] for symbol in recorded}
    plain = {address[s]: Price(int(p["min"]), int(p["max"])) for s, p in recorded.items()}
    no_amm = {address[s]: Price(int(p["minNoAmm"]), int(p["maxNoAmm"])) for s, p in recorded.items()}
    route = Route(outcome["route"])
    stored = vault.params.margin_fee_basis_points
    in_call = access.margin_fee(route, stored)
    updated = with_funding(vault, position.collateral_token, timestamp)
    came: Json = {
        "viewStored": _view(vault, position, plain, timestamp, stored),
        "viewUpdated": _view(updated, position, plain, timestamp, stored),
        "viewEffective": _view(updated, position, no_amm, timestamp, in_call),
    }
    refusal = access.refusal(route, scenario["addresses"][outcome["from"]])
    try:
        if refusal is not None:
            raise Revert(refusal)
        closing = liquidate(vault, position, no_amm, timestamp, in_call)
    except Revert as revert:
        absent = dict.fromkeys(("state", "feeReceived", "traderReceived", "after", "event"))
        return came | {"ok": False, "revert": revert.reason} | absent
    return came | {"ok": True, "revert": None} | _closed(closing, position)


def _view(vault: Vault, position: Position, prices: Mapping[str, Price], timestamp: int, margin_fee: int) -> object:
    """A ``validateLiquidation`` view with that vault's stored rate, as recorded: state and fees, or the revert."""
    try:
        test = validate(
            position,
            prices[position.index_token].mark(position.is_long),
            timestamp,
            vault.params,
            funding_rate=vault.token(position.collateral_token).funding_rate,
            margin_fee_basis_points=margin_fee,
            min_profit_basis_points=vault.token(position.index_token).min_profit_basis_points,
        )
    except Revert as revert:
        return {"revert": revert.reason}
    return [str(int(test.state)), str(test.fees_e30)]


def _closed(closing: Closing, position: Position) -> Json:
    collateral = closing.vault.token(position.collateral_token)
    index = closing.vault.token(position.index_token)
    return {
        "state": str(int(closing.state)),
        "feeReceived": str(closing.fee_received),
        "traderReceived": str(closing.trader_received),
        "after": {
            "poolAmount": str(collateral.pool_amount),
            "reservedAmount": str(collateral.reserved_amount),
            "feeReserve": str(collateral.fee_reserve),
            "guaranteedUsd": str(collateral.guaranteed_e30),
            "cumulativeFundingRate": str(collateral.funding_rate),
            "lastFundingTime": str(collateral.last_funding_time),
            "globalShortSizeIndex": str(index.global_short_size_e30),
        },
        "event": {
            "name": _EVENT_NAMES[closing.state],
            "price": str(closing.mark_price_e30),
            "fee": str(closing.fees_e30),
        },
    }


def logs(path: Path) -> int:
    """``meridian-events FILE``: the positions and cumulative rates that the logs add up to.

    What they must be is in the outcomes file of the same set, which lies beside it under the corresponding name.
    """
    beside = path.with_name(path.name.replace("events", "outcomes"))
    if beside == path or not beside.is_file():
        print(f"meridian-events: expected the set's outcomes at {beside}, to compare with; put it beside {path.name}")
        return 2
    expected = {scenario["id"]: scenario for scenario in load(beside)["scenarios"]}
    tally = Tally()
    for recorded in load(path)["scenarios"]:
        scenario = expected[recorded["id"]]
        interval = int(scenario["vault"]["fundingInterval"])
        ledger = events.fold(_records(recorded["logs"]), interval)
        wanted = {p.key: p for p in read_positions(scenario) if p.size_e30}
        for key in sorted(wanted.keys() | ledger.positions.keys()):
            tally.compare("positions", f"{recorded['id']}/{key}", wanted.get(key), ledger.positions.get(key))
        for symbol, token in scenario["tokens"].items():
            rate, last = int(token["cumulativeFundingRate"]), int(token["lastFundingTime"])
            came = ledger.funding.get(token["address"], (0, last))
            tally.compare("rates", f"{recorded['id']}/{symbol}", (rate, last), came)
    return tally.report("meridian-events")


def _records(recorded: Sequence[Json]) -> list[events.Record]:
    ordered = sorted(recorded, key=lambda log: (log["blockNumber"], log["logIndex"]))
    return [
        events.Record(
            bytes.fromhex(log["topic0"][2:]), bytes.fromhex(log["data"].removeprefix("0x")), int(log["timestamp"])
        )
        for log in ordered
    ]


def read_vault(scenario: Json) -> Vault:
    """The vault at the scenario's snapshot."""
    plain = scenario["vault"]
    params = Params(
        max_leverage=int(plain["maxLeverage"]),
        liquidation_fee_e30=int(plain["liquidationFeeUsd"]),
        margin_fee_basis_points=int(plain["marginFeeBasisPoints"]),
        min_profit_time=int(plain["minProfitTime"]),
        funding_interval=int(plain["fundingInterval"]),
        funding_rate_factor=int(plain["fundingRateFactor"]),
        stable_funding_rate_factor=int(plain["stableFundingRateFactor"]),
    )
    tokens = {
        token["address"]: Token(
            address=token["address"],
            decimals=int(token["decimals"]),
            is_stable=token["isStable"],
            min_profit_basis_points=int(token["minProfitBasisPoints"]),
            pool_amount=int(token["poolAmount"]),
            reserved_amount=int(token["reservedAmount"]),
            fee_reserve=int(token["feeReserve"]),
            guaranteed_e30=int(token["guaranteedUsd"]),
            global_short_size_e30=int(token["globalShortSize"]),
            funding_rate=int(token["cumulativeFundingRate"]),
            last_funding_time=int(token["lastFundingTime"]),
            balance=int(token["vaultBalance"]),
        )
        for token in scenario["tokens"].values()
    }
    return Vault(params, tokens)


def read_positions(scenario: Json) -> list[Position]:
    """The scenario's positions, tokens by address. Raises if a recorded key is not the one our own hash gives."""
    address = {symbol: token["address"] for symbol, token in scenario["tokens"].items()}
    positions = []
    for recorded in scenario["positions"]:
        position = Position(
            account=recorded["account"],
            collateral_token=address[recorded["collateralToken"]],
            index_token=address[recorded["indexToken"]],
            is_long=recorded["isLong"],
            size_e30=int(recorded["size"]),
            collateral_e30=int(recorded["collateral"]),
            average_price_e30=int(recorded["averagePrice"]),
            entry_funding_rate=int(recorded["entryFundingRate"]),
            reserve_amount=int(recorded["reserveAmount"]),
            realised_pnl_e30=int(recorded["realisedPnl"]),
            last_increased_time=int(recorded["lastIncreasedTime"]),
        )
        if position.key != recorded["key"]:
            raise ValueError(f"expected position key {recorded['key']}, but {position.key} came of its parts")
        positions.append(position)
    return positions


def read_access(scenario: Json) -> Access:
    """Who may liquidate: names are resolved to the scenario's addresses."""
    addresses = scenario["addresses"] | {"positionManager": scenario["addresses"]["PositionManager"]}

    def listed(flags: Mapping[str, bool]) -> frozenset[str]:
        return frozenset(addresses[name] for name, listed in flags.items() if listed)

    timelock = scenario["timelock"]
    return Access(
        private_mode=scenario["vault"]["inPrivateLiquidationMode"],
        vault_liquidators=listed(scenario["vault"]["isLiquidator"]),
        manager=addresses["PositionManager"],
        manager_liquidators=listed(scenario["positionManager"]["isLiquidator"]),
        timelock=timelock
        and Timelock(
            address=addresses["Timelock"],
            margin_fee_basis_points=int(timelock["marginFeeBasisPoints"]),
            manager_is_handler=timelock["positionManagerIsHandler"],
        ),
    )


def read_feed(scenario: Json, symbol: str, evaluation: Json) -> TokenFeed:
    """One token's price feed at an evaluation, from the raw rounds and the fast price."""
    token, feed, fast = scenario["tokens"][symbol], scenario["priceFeed"], scenario["fastPriceFeed"]
    raw = evaluation["prices"][symbol]["raw"]
    rounds = [int(answer) for answer in raw["rounds"][: int(feed["priceSampleSpace"])]]
    secondary = FastFeed(
        last_updated_at=int(evaluation["fastLastUpdatedAt"]),
        price_duration=int(fast["priceDuration"]),
        max_price_update_delay=int(fast["maxPriceUpdateDelay"]),
        spread_if_inactive_basis_points=int(fast["spreadBasisPointsIfInactive"]),
        spread_if_chain_error_basis_points=int(fast["spreadBasisPointsIfChainError"]),
        max_deviation_basis_points=int(fast["maxDeviationBasisPoints"]),
    )
    return TokenFeed(
        primary=primary_price(rounds, int(token["priceDecimals"])),
        spread_basis_points=int(token["spreadBasisPoints"]),
        strict_stable=token["strictStable"],
        max_strict_deviation_e30=int(feed["maxStrictPriceDeviation"]),
        adjustment_basis_points=int(token["adjustmentBasisPoints"]),
        adjustment_is_additive=token["isAdjustmentAdditive"],
        fast=secondary if feed["hasSecondary"] and feed["isSecondaryPriceEnabled"] else None,
        fast_price_e30=int(raw["fast"]),
        favor_fast=raw["favorFast"],
    )
