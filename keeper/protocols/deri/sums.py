"""A free check of a mirror: a symbol's figures are the sums over all positions in it, always."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keeper.protocols.deri.state import AccountState, Symbol, SymbolKind


@dataclass(slots=True)
class _Sum:
    volume: int = 0
    cost: int = 0
    holders: int = 0


class Sums:
    """Keeps the sums over positions as accounts come and go."""

    def __init__(self, accounts: Iterable[AccountState] = ()) -> None:
        self._sums: dict[str, _Sum] = {}
        for account in accounts:
            self.count(account, 1)

    def count(self, account: AccountState | None, sign: int) -> None:
        """Add (1) or take away (-1) what an account holds."""
        for position in account.positions if account else ():
            total = self._sums.setdefault(position.symbol_id, _Sum())
            total.volume += sign * position.volume
            total.cost += sign * position.cost
            total.holders += sign

    def wrong(self, symbols: Mapping[str, Symbol], symbol_ids: Iterable[str]) -> dict[str, str]:
        """What does not add up among ``symbol_ids``: netVolume, netCost or nPositionHolders, by the symbol's name."""
        found = {}
        for symbol_id in symbol_ids:
            symbol = symbols.get(symbol_id)
            if symbol is None or symbol.params.kind is SymbolKind.UNKNOWN:
                continue
            total, state = self._sums.get(symbol_id, _Sum()), symbol.state
            summed = total.volume, total.cost, total.holders
            stated = state.net_volume, state.net_cost, state.n_position_holders
            if summed != stated:
                found[symbol.params.name] = f"volume, cost, holders {summed} in positions, {stated} in the symbol"
        return found
