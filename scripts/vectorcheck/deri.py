"""``deri``: every recorded outcome of ``liquidate()``, step of a sequence, and eligibility answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from keeper.fixed import ONE
from keeper.protocols.deri import privileger
from keeper.protocols.deri.readings import Unread, apply_signatures
from keeper.protocols.deri.settle import (
    UNQUALIFIED,
    Closed,
    Decision,
    Refused,
    Settlement,
    SymbolSettlement,
    after,
    decide,
    liquidate,
    pool_revert,
)
from keeper.protocols.deri.state import MarketState
from keeper.protocols.deri.symbols import Prepared, prepare
from scripts.vectorcheck import deri_schema
from scripts.vectorcheck.document import Node, require_schema
from scripts.vectorcheck.report import Comparison, Report

SCHEMA = "deri-v3-liquidate-vectors/1"

_ROW_FIELDS = {
    "funding": "funding",
    "deltaTradersPnl": "delta_traders_pnl",
    "deltaInitialMarginRequired": "delta_initial_margin_required",
    "indexPrice": "index_price",
    "traderFunding": "trader_funding",
    "traderPnl": "trader_pnl",
    "traderMaintenanceMarginRequired": "trader_maintenance_margin_required",
    "tradeVolume": "trade_volume",
    "tradeCost": "trade_cost",
    "tradeRealizedCost": "trade_realized_cost",
}
_SETTLEMENT_FIELDS = {
    "funding": "funding",
    "deltaTradersPnl": "delta_traders_pnl",
    "traderFunding": "trader_funding",
    "traderPnl": "trader_pnl",
    "traderMaintenanceMarginRequired": "trader_maintenance_margin_required",
    "traderRealizedCost": "trader_realized_cost",
}


def check(document: Node) -> Report:
    require_schema(document, SCHEMA)
    row_fields = [node.text for node in document["perSymbolFields"]]
    outcomes: list[Comparison] = []
    steps: list[Comparison] = []
    eligibility: list[Comparison] = []
    for snapshot in document["snapshots"]:
        market = deri_schema.market(snapshot)
        number, timestamp = snapshot["exec"]["number"].integer, snapshot["exec"]["timestamp"].integer
        eligibility += _eligibility(snapshot, market, timestamp)
        unqualified = _unqualified(snapshot, market, timestamp)
        oracles = apply_signatures(market.oracles, deri_schema.signatures(snapshot))
        read = market.oracles if isinstance(oracles, Unread) else oracles
        prepared = prepare(replace(market, oracles=read), number, timestamp)
        reverts = unqualified or (oracles.reason if isinstance(oracles, Unread) else "")
        outcomes += [_outcome(node, snapshot, market, prepared, reverts, row_fields) for node in snapshot["outcomes"]]
        steps += _sequence(snapshot, market, prepared, reverts)
    mismatches = [line for one in (*eligibility, *outcomes, *steps) for line in one.differences]
    counted = ", ".join(
        f"{sum(not one.differences for one in group)}/{len(group)} {name}"
        for name, group in (("outcomes", outcomes), ("steps", steps), ("eligibility exact", eligibility))
    )
    return Report(f"deri-v3: {counted}", tuple(mismatches), not mismatches)


def _eligibility(snapshot: Node, market: MarketState, timestamp: int) -> Iterable[Comparison]:
    answers = {True: "true", False: "false", None: "revert"}
    for node in snapshot["privileger"]["liquidators"]:
        address = node["address"].text
        one = Comparison(f"{snapshot['id'].text} liquidator {address}")
        qualified = privileger.is_qualified(market.privileger, address, timestamp)
        one.same("qualifiedAtExec", node["qualifiedAtExec"].text, answers[qualified])
        told = privileger.eligibility(market.privileger, address, timestamp)
        one.same("qualifiedAtExec as eligibility", qualified is True, told.allowed)
        yield one


def _unqualified(snapshot: Node, market: MarketState, timestamp: int) -> str:
    """The revert of the liquidator that sent the calls (the first listed), empty if it was qualified."""
    for node in snapshot["privileger"]["liquidators"]:
        if privileger.is_qualified(market.privileger, node["address"].text, timestamp):
            return ""
        return pool_revert(market.pool.flavour, UNQUALIFIED)
    return ""


def _outcome(
    node: Node, snapshot: Node, market: MarketState, prepared: Prepared, reverts: str, row_fields: Sequence[str]
) -> Comparison:
    p_token_id = node["pTokenId"].integer
    one = Comparison(f"{snapshot['id'].text} pToken {p_token_id}")
    result, swapped = _call(node, market, prepared, reverts)
    _same_result(one, node, result, swapped)
    settlement = result.settlement
    _same_settlement(one, node, settlement, row_fields)
    at_exec = node.get("vaultLiquidityAtExec")
    if at_exec is not None:
        one.same("vaultLiquidityAtExec", at_exec.integer, settlement.vault_liquidity if settlement else None)
    for key, attribute in (
        ("lpsPnlAfter", "lps_pnl"),
        ("cumulativePnlPerLiquidityAfter", "cumulative_pnl_per_liquidity"),
    ):
        recorded = node.get(key)
        computed = getattr(result.pool, attribute) if isinstance(result, Closed) else None
        one.same(key, recorded.integer if recorded is not None else None, computed)
    _same_redemptions(one, node, snapshot, market)
    account = market.accounts.get(p_token_id)
    if account is not None and not reverts:
        _same_decision(one, decide(prepared, account), result)
    return one


def _same_decision(one: Comparison, decision: Decision, result: Closed | Refused) -> None:
    """The short road to a verdict, which the keeper takes, ends where the long one does."""
    one.same("decision", result.reason if isinstance(result, Refused) else "", decision.reason)
    if (settlement := result.settlement) is not None:
        one.same("decision's margin", settlement.margin + settlement.trader_pnl, decision.margin)
        one.same("decision's requirement", settlement.trader_maintenance_margin_required, decision.required)


def _call(node: Node, market: MarketState, prepared: Prepared, reverts: str) -> tuple[Closed | Refused, bool]:
    """The engine's answer, and whether every asset that came out of the vault could be swapped."""
    if reverts:
        return Refused(reverts), True
    received = [entry.get("resultB0") for entry in node.get("redemptions") or ()]
    account = market.accounts.get(node["pTokenId"].integer)
    result = liquidate(prepared, account, [result.integer for result in received if result is not None])
    return result, all(result is not None for result in received)


def _same_result(one: Comparison, node: Node, result: Closed | Refused, swapped: bool) -> None:
    revert = node.get("revert")
    recorded_revert = None if revert is None else revert.text
    if isinstance(result, Closed) and not swapped:
        # the swapper refused: the call reverts after the decision, with a string of the swapper's own
        one.same("liquidatable", node["liquidatable"].flag, False)
        one.same("revert is recorded", recorded_revert is not None, True)
        return
    closed = isinstance(result, Closed)
    one.same("liquidatable", node["liquidatable"].flag, closed)
    one.same("revert", recorded_revert, result.reason if isinstance(result, Refused) else None)
    reward = node.get("reward")
    one.same(
        "reward", None if reward is None else reward.integer, result.reward_b0 if isinstance(result, Closed) else None
    )


def _same_settlement(one: Comparison, node: Node, settlement: Settlement | None, row_fields: Sequence[str]) -> None:
    recorded, margin, rows = node.get("settlement"), node.get("margin"), node.get("perSymbol")
    one.same("settlement is recorded", recorded is not None, settlement is not None)
    if settlement is None:
        one.same("margin", None if margin is None else margin.integer, None)
        one.same("perSymbol", [] if rows is None else list(rows), [])
        return
    one.same("margin", None if margin is None else margin.integer, settlement.margin)
    if recorded is not None:
        for key, attribute in _SETTLEMENT_FIELDS.items():
            one.same(f"settlement.{key}", recorded[key].integer, getattr(settlement, attribute))
    recorded_rows = [[value.integer for value in row] for row in rows or ()]
    one.same("perSymbol rows", len(recorded_rows), len(settlement.symbols))
    for index, (recorded_row, symbol) in enumerate(zip(recorded_rows, settlement.symbols, strict=False)):
        for key, value in zip(row_fields, recorded_row, strict=True):
            one.same(f"perSymbol[{index}].{key}", value, _row_value(symbol, key))


def _row_value(symbol: SymbolSettlement, key: str) -> object:
    attribute = _ROW_FIELDS.get(key)
    return getattr(symbol, attribute) if attribute is not None else f"a field {key!r} that is not known"


def _same_redemptions(one: Comparison, node: Node, snapshot: Node, market: MarketState) -> None:
    """What came out of the vault: at least what the stored rate says, and swapped as the stand-in router swaps."""
    redemptions = node.get("redemptions")
    account = market.accounts.get(node["pTokenId"].integer)
    if redemptions is None or account is None or account.vault is None:
        return
    held: dict[str, int] = {}
    for v_token, balance in account.vault.balances:
        entered = market.vault_markets[v_token]
        if stored := balance * entered.exchange_rate_stored // ONE:
            held[entered.underlying] = stored
    routes = {route["underlying"].text: route for route in snapshot["vaultMarkets"]}
    for entry in redemptions:
        underlying, redeemed = entry["underlying"].text, entry["redeemed"].integer
        stored = held.pop(underlying, 0)
        one.same(f"redeemed {underlying} is no less than stored", redeemed >= stored, True)
        route = routes[underlying]
        price = route.get("swapPrice")
        result = entry.get("resultB0")
        if price is None:
            one.same(f"resultB0 of {underlying}", None if result is None else result.integer, redeemed)
            continue
        output = redeemed * price.integer // ONE * (10_000 - route["swapFeeBps"].integer) // 10_000
        if result is not None:
            one.same(f"resultB0 of {underlying}", result.integer, output)
    one.same("markets redeemed", {} if node.get("reward") else None, held if node.get("reward") else None)


def _sequence(snapshot: Node, market: MarketState, prepared: Prepared, reverts: str) -> Iterable[Comparison]:
    """Liquidations one after another in one block: each sees what the earlier ones left behind."""
    accounts = dict(market.accounts)
    for index, node in enumerate(snapshot.get("sequence") or ()):
        p_token_id = node["pTokenId"].integer
        one = Comparison(f"{snapshot['id'].text} step {index} pToken {p_token_id}")
        result, swapped = _call(node, replace(market, accounts=accounts), prepared, reverts)
        _same_result(one, node, result, swapped)
        if isinstance(result, Closed) and swapped:
            prepared = after(prepared, result)
            accounts[p_token_id] = replace(accounts[p_token_id], amount_b0=0, positions=(), vault=None)
        yield one
