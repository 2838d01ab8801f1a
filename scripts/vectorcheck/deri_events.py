"""``deri-events``: replay a world's logs to every position's volume and cost and every account's active symbols."""

from __future__ import annotations

from collections.abc import Iterable

from keeper.model import Log
from keeper.protocols.deri import abi
from keeper.protocols.deri.state import MarketState, Position
from keeper.protocols.deri.trades import positions_after
from scripts.vectorcheck import deri_schema
from scripts.vectorcheck.document import MalformedError, Node, require_schema
from scripts.vectorcheck.report import Comparison, Report

SCHEMA = "deri-v3-event-logs/1"


def check(document: Node) -> Report:
    require_schema(document, SCHEMA)
    accounts: list[Comparison] = []
    positions: list[Comparison] = []
    symbols: list[Comparison] = []
    for index, world in enumerate(document["worlds"]):
        held = replay(world)
        market = deri_schema.market(world["endState"])
        accounts += _accounts(f"world {index}", market, held)
        positions += _positions(f"world {index}", market, held)
        symbols += _symbols(f"world {index}", market, held)
    mismatches = [line for one in (*accounts, *positions, *symbols) for line in one.differences]
    counted = ", ".join(
        f"{sum(not one.differences for one in group)}/{len(group)} {name}"
        for name, group in (
            ("accounts", accounts),
            ("positions", positions),
            ("symbol totals exact", symbols),
        )
    )
    return Report(f"deri-v3-events: {counted}", tuple(mismatches), not mismatches)


def replay(world: Node) -> dict[int, tuple[Position, ...]]:
    """Every account's positions after the symbol manager's ``Trade`` logs, in the order of the chain."""
    manager = world["addresses"]["symbolManager"].text.lower()
    held: dict[int, tuple[Position, ...]] = {}
    logs = sorted((_log(node) for node in world["logs"]), key=lambda log: (log.block_number, log.log_index))
    for log in logs:
        if log.address.lower() == manager and log.topics and log.topics[0] == abi.TRADE:
            trade = abi.trade_of(log)
            held[trade.p_token_id] = positions_after(held.get(trade.p_token_id, ()), trade)
    return held


def _log(node: Node) -> Log:
    topics = tuple(topic.raw for topic in node["topics"])
    data = node["data"].raw
    if topics and topics[0] == abi.TRADE and (len(topics) != 3 or len(data) != 128):
        raise MalformedError(f"{node.path}: expected a Trade log of three topics and four words")
    return Log(
        address=node["address"].text,
        topics=topics,
        data=data,
        block_number=_quantity(node["blockNumber"]),
        block_hash="",
        transaction_hash=node["transactionHash"].text,
        log_index=_quantity(node["logIndex"]),
    )


def _quantity(node: Node) -> int:
    """A JSON-RPC quantity, ``0x1b``."""
    try:
        return int(node.text, 16)
    except ValueError:
        raise MalformedError(f"{node.path}: expected a hexadecimal quantity, but came {node.text!r}") from None


def _accounts(where: str, market: MarketState, held: dict[int, tuple[Position, ...]]) -> Iterable[Comparison]:
    replayed = {p_token_id for p_token_id, positions in held.items() if positions}
    for p_token_id in sorted(market.accounts.keys() | replayed):
        one = Comparison(f"{where} pToken {p_token_id}")
        account = market.accounts.get(p_token_id)
        one.same(
            "active symbols",
            [] if account is None else list(account.active_symbols),
            [position.symbol_id for position in held.get(p_token_id, ())],
        )
        yield one


def _positions(where: str, market: MarketState, held: dict[int, tuple[Position, ...]]) -> Iterable[Comparison]:
    for p_token_id, account in market.accounts.items():
        replayed = {position.symbol_id: position for position in held.get(p_token_id, ())}
        for position in account.positions:
            name = market.symbols[position.symbol_id].params.name
            one = Comparison(f"{where} pToken {p_token_id} {name}")
            came = replayed.get(position.symbol_id)
            one.same("volume", position.volume, came.volume if came else None)
            one.same("cost", position.cost, came.cost if came else None)
            yield one


def _symbols(where: str, market: MarketState, held: dict[int, tuple[Position, ...]]) -> Iterable[Comparison]:
    """A symbol's net volume, net cost and number of holders are the sums over all positions."""
    for symbol_id, symbol in market.symbols.items():
        one = Comparison(f"{where} {symbol.params.name}")
        replayed = [p for positions in held.values() for p in positions if p.symbol_id == symbol_id]
        one.same("netVolume", symbol.state.net_volume, sum(position.volume for position in replayed))
        one.same("netCost", symbol.state.net_cost, sum(position.cost for position in replayed))
        one.same("nPositionHolders", symbol.state.n_position_holders, len(replayed))
        yield one
