"""Meridian outcomes: every view, revert, payment and the vault afterwards, against the engine.

Fundings and prices at every evaluation are compared too: the funding update and the price feed's formula are what the
outcomes stand on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.liquidation import Closing, funding_at, liquidate, validate, with_funding
from keeper.protocols.meridian.pricing import FastFeed, TokenFeed, primary_price
from keeper.protocols.meridian.state import Access, Params, Position, Price, Route, Timelock, Token, Vault
from scripts.vectorcheck.document import MalformedError, Node, require_schema
from scripts.vectorcheck.report import Comparison, Report

SCHEMA = "gmx-v1-liquidation-vectors/1"

Fields: TypeAlias = dict[str, object]
"""Recorded or computed fields by name; numbers as the decimal strings of the file."""

_VIEWS = ("viewStored", "viewUpdated", "viewEffective")
_AFTER = ("state", "feeReceived", "traderReceived", "after", "event")
_EVENT_NAMES = {1: "LiquidatePosition", 2: "DecreasePosition"}


def check(document: Node) -> Report:
    """Replay every outcome of the file. Raises ``MalformedError`` if it is not of the schema."""
    require_schema(document, SCHEMA)
    exact = total = context = 0
    mismatches: list[str] = []
    for scenario in document["scenarios"]:
        vault, access, positions = read_vault(scenario), read_access(scenario), read_positions(scenario)
        for evaluation in scenario["evals"]:
            where = f"{scenario['id'].text} eval {evaluation['id'].integer}"
            differences = compare_context(where, scenario, vault, evaluation)
            context += len(differences)
            mismatches += differences
            for outcome in evaluation["outcomes"]:
                index = outcome["p"].integer
                if not 0 <= index < len(positions):
                    raise MalformedError(f"{outcome.path}.p: expected a position below {len(positions)}, got {index}")
                total += 1
                compared = Comparison(f"{where} position {index} {outcome['route'].text}")
                computed = replay(scenario, vault, access, positions[index], evaluation, outcome)
                for name, value in computed.items():
                    recorded = outcome.get(name)
                    compared.same(name, recorded.value if recorded else None, value)
                exact += not compared.differences
                mismatches += compared.differences
    summary = f"meridian: {exact}/{total} outcomes exact"
    return Report(summary, tuple(mismatches), exact == total > 0 and context == 0)


def compare_context(where: str, scenario: Node, vault: Vault, evaluation: Node) -> list[str]:
    """The funding update and both no-AMM prices of every token that the evaluation records."""
    timestamp = evaluation["timestamp"].integer
    compared = Comparison(where)
    for symbol, recorded in evaluation["prices"].items():
        token = vault.token(_address(scenario, symbol))
        rate, last = funding_at(token, vault.params, timestamp)
        compared.same(f"{symbol} funding", [n.integer for n in recorded["fundingAfter"]], [rate, last])
        compared.same(f"{symbol} price", no_amm_price(recorded), read_feed(scenario, symbol, evaluation).at(timestamp))
    return compared.differences


def replay(scenario: Node, vault: Vault, access: Access, position: Position, evaluation: Node, outcome: Node) -> Fields:
    """The engine's version of one recorded outcome, in the record's own shape."""
    timestamp = evaluation["timestamp"].integer
    recorded = list(evaluation["prices"].items())
    plain = {_address(scenario, s): Price(p["min"].integer, p["max"].integer) for s, p in recorded}
    no_amm = {_address(scenario, s): no_amm_price(p) for s, p in recorded}
    route = _route(outcome["route"])
    stored = vault.params.margin_fee_basis_points
    in_call = access.margin_fee(route, stored)
    updated = with_funding(vault, position.collateral_token, timestamp)
    views: Fields = {
        "viewStored": _view(vault, position, plain, timestamp, stored),
        "viewUpdated": _view(updated, position, plain, timestamp, stored),
        "viewEffective": _view(updated, position, no_amm, timestamp, in_call),
    }
    refusal = access.refusal(route, scenario["addresses"][outcome["from"].text].text)
    try:
        if refusal is not None:
            raise Revert(refusal)
        closing = liquidate(vault, position, no_amm, timestamp, in_call)
    except Revert as revert:
        return views | {"ok": False, "revert": revert.reason} | dict.fromkeys(_AFTER)
    return views | {"ok": True, "revert": None} | _closed(closing, position)


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


def _closed(closing: Closing, position: Position) -> Fields:
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


def read_vault(scenario: Node) -> Vault:
    """The vault at the scenario's snapshot."""
    plain = scenario["vault"]
    params = Params(
        max_leverage=plain["maxLeverage"].integer,
        liquidation_fee_e30=plain["liquidationFeeUsd"].integer,
        margin_fee_basis_points=plain["marginFeeBasisPoints"].integer,
        min_profit_time=plain["minProfitTime"].integer,
        funding_interval=plain["fundingInterval"].integer,
        funding_rate_factor=plain["fundingRateFactor"].integer,
        stable_funding_rate_factor=plain["stableFundingRateFactor"].integer,
    )
    tokens = [
        Token(
            address=token["address"].text,
            decimals=token["decimals"].integer,
            is_stable=token["isStable"].flag,
            min_profit_basis_points=token["minProfitBasisPoints"].integer,
            pool_amount=token["poolAmount"].integer,
            reserved_amount=token["reservedAmount"].integer,
            fee_reserve=token["feeReserve"].integer,
            guaranteed_e30=token["guaranteedUsd"].integer,
            global_short_size_e30=token["globalShortSize"].integer,
            funding_rate=token["cumulativeFundingRate"].integer,
            last_funding_time=token["lastFundingTime"].integer,
            balance=token["vaultBalance"].integer,
        )
        for _, token in scenario["tokens"].items()
    ]
    return Vault(params, {token.address: token for token in tokens})


def read_positions(scenario: Node) -> list[Position]:
    """The scenario's positions, tokens by address. A recorded key has to be what our own hash gives."""
    positions = []
    for recorded in scenario["positions"]:
        position = Position(
            account=recorded["account"].text,
            collateral_token=_address(scenario, recorded["collateralToken"].text),
            index_token=_address(scenario, recorded["indexToken"].text),
            is_long=recorded["isLong"].flag,
            size_e30=recorded["size"].integer,
            collateral_e30=recorded["collateral"].integer,
            average_price_e30=recorded["averagePrice"].integer,
            entry_funding_rate=recorded["entryFundingRate"].integer,
            reserve_amount=recorded["reserveAmount"].integer,
            realised_pnl_e30=recorded["realisedPnl"].integer,
            last_increased_time=recorded["lastIncreasedTime"].integer,
        )
        if position.key != recorded["key"].text:
            raise MalformedError(f"{recorded.path}.key: expected {position.key}, the hash of its parts")
        positions.append(position)
    return positions


def read_access(scenario: Node) -> Access:
    """Who may liquidate; names are resolved to the scenario's addresses."""
    addresses = scenario["addresses"]

    def listed(flags: Node) -> frozenset[str]:
        names = {name: "PositionManager" if name == "positionManager" else name for name, _ in flags.items()}
        return frozenset(addresses[names[name]].text for name, flag in flags.items() if flag.flag)

    timelock = scenario.get("timelock")
    return Access(
        private_mode=scenario["vault"]["inPrivateLiquidationMode"].flag,
        vault_liquidators=listed(scenario["vault"]["isLiquidator"]),
        manager=addresses["PositionManager"].text,
        manager_liquidators=listed(scenario["positionManager"]["isLiquidator"]),
        timelock=None
        if timelock is None
        else Timelock(
            address=addresses["Timelock"].text,
            margin_fee_basis_points=timelock["marginFeeBasisPoints"].integer,
            manager_is_handler=timelock["positionManagerIsHandler"].flag,
        ),
    )


def read_feed(scenario: Node, symbol: str, evaluation: Node) -> TokenFeed:
    """One token's price feed at an evaluation, from the raw rounds and the fast price."""
    token, feed, fast = scenario["tokens"][symbol], scenario["priceFeed"], scenario["fastPriceFeed"]
    raw = evaluation["prices"][symbol]["raw"]
    rounds = [answer.integer for answer in raw["rounds"]][: feed["priceSampleSpace"].integer]
    secondary = FastFeed(
        last_updated_at=evaluation["fastLastUpdatedAt"].integer,
        price_duration=fast["priceDuration"].integer,
        max_price_update_delay=fast["maxPriceUpdateDelay"].integer,
        spread_if_inactive_basis_points=fast["spreadBasisPointsIfInactive"].integer,
        spread_if_chain_error_basis_points=fast["spreadBasisPointsIfChainError"].integer,
        max_deviation_basis_points=fast["maxDeviationBasisPoints"].integer,
    )
    return TokenFeed(
        primary=primary_price(rounds, token["priceDecimals"].integer),
        spread_basis_points=token["spreadBasisPoints"].integer,
        strict_stable=token["strictStable"].flag,
        max_strict_deviation_e30=feed["maxStrictPriceDeviation"].integer,
        adjustment_basis_points=token["adjustmentBasisPoints"].integer,
        adjustment_is_additive=token["isAdjustmentAdditive"].flag,
        fast=secondary if feed["hasSecondary"].flag and feed["isSecondaryPriceEnabled"].flag else None,
        fast_price_e30=raw["fast"].integer,
        favor_fast=raw["favorFast"].flag,
    )


def no_amm_price(recorded: Node) -> Price:
    """The prices that a liquidation sees."""
    return Price(recorded["minNoAmm"].integer, recorded["maxNoAmm"].integer)


def _address(scenario: Node, symbol: str) -> str:
    return scenario["tokens"][symbol]["address"].text


def _route(recorded: Node) -> Route:
    try:
        return Route(recorded.text)
    except ValueError:
        routes = " or ".join(Route)
        raise MalformedError(f"{recorded.path}: expected {routes}, but came {recorded.text!r}") from None
