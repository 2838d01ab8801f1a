"""What the symbol manager's ``Trade`` log says exactly: positions' volumes and costs, and the active symbols in order.

Sources: ``SymbolManagerImplementation`` (``activeSymbols``), ``settleOnTrade`` of the symbol implementations. A trade
tells nothing of ``amountB0`` nor of a position's cumulative funding: a position opened here carries 0 for it.
"""

from __future__ import annotations

from dataclasses import replace

from keeper.fixed import trunc_div
from keeper.protocols.deri.abi import LIQUIDATED_FEE, Trade
from keeper.protocols.deri.state import Position


def position_after(volume: int, cost: int, trade_volume: int, trade_cost: int) -> tuple[int, int]:
    """Volume and cost of a position once a trade is in."""
    after = volume + trade_volume
    if volume == 0 or (volume > 0) == (trade_volume > 0):
        return after, cost + trade_cost
    if abs(trade_volume) < abs(volume):
        return after, cost - trunc_div(cost * abs(trade_volume), abs(volume))
    return after, trade_cost - trunc_div(trade_cost * abs(volume), abs(trade_volume))


def positions_after(positions: tuple[Position, ...], trade: Trade) -> tuple[Position, ...]:
    """An account's positions, in the order of its active symbols, once a trade is in.

    A new symbol goes last; the last one takes the place of a closed one; crossing zero keeps the place.
    """
    place = next((i for i, held in enumerate(positions) if held.symbol_id == trade.symbol_id), None)
    if place is None:
        opened = Position(trade.symbol_id, *position_after(0, 0, trade.volume, trade.cost), 0)
        return (*positions, opened) if opened.volume else positions
    held = positions[place]
    volume, cost = position_after(held.volume, held.cost, trade.volume, trade.cost)
    if volume == 0 or trade.fee == LIQUIDATED_FEE:
        rest = list(positions)
        last = rest.pop()
        if place < len(rest):
            rest[place] = last
        return tuple(rest)
    return (*positions[:place], replace(held, volume=volume, cost=cost), *positions[place + 1 :])
