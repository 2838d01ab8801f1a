"""A what-if copy of one vault for the block that comes next: who is liquidatable, and what each closing changes.

Between two turning points (a funding interval's boundary, the end of a minimum-profit zone, a fast price going stale)
nothing moves with time. So a verdict that holds at the turning points within a window and at its ends holds at every
second of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from keeper.model import Assessment, Verdict, Window
from keeper.protocols.market import ContractCall
from keeper.protocols.meridian.book import Book, Terms
from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.feeds import Quote
from keeper.protocols.meridian.liquidation import Closing, State, effective_test, funding_at, liquidate, usd_for
from keeper.protocols.meridian.reads import call_data
from keeper.protocols.meridian.state import Position, Price, Route, Vault

GAS_LIMIT = {Route.POSITION_MANAGER: 550_000, Route.VAULT: 400_000}
"""A fifth above the most that was seen on either route."""
LIQUIDATE = "liquidatePosition(address,address,address,bool,address)"
_E12 = 10**12
_NOT_NOW = "Vault: position cannot be liquidated"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a round needs beside the vault's state."""

    route: Route
    target: str
    """The contract that is called: the position manager, or the vault."""
    fee_receiver: str
    margin_fee_basis_points: int
    """Inside the call."""
    unreadable: Mapping[str, str]
    """Tokens whose figures are unknown, and why."""
    grant_e18: Callable[[int], int]
    """What the operator will spend on one more closing that pays nobody, after so many in this round."""


@dataclass(slots=True)
class MeridianRound:
    """Implements ``keeper.protocols.market.Round``. An account is a position's key."""

    vault: Vault
    positions: Mapping[str, Position]
    quotes: Mapping[str, Quote]
    book: Book
    setup: Setup
    window: Window
    _closed: set[str] = field(default_factory=set)
    _unpaid: int = 0
    """Closings of state 2 assumed so far."""
    _prices: dict[tuple[str, int], Price] = field(default_factory=dict)

    def candidates(self) -> Sequence[str]:
        """Keys that may be liquidatable at some second of the window, deepest first."""
        sides = {
            (token, is_long): self._worst_mark(token, is_long) for token in self.quotes for is_long in (True, False)
        }
        marks = {side: mark for side, mark in sides.items() if mark is not None}
        return [key for key in self.book.crossed(marks, self.terms()) if key not in self._closed]

    def terms(self) -> Terms:
        """What the triggers depend on, at its worst over the window."""
        vault, latest = self.vault, self.window.latest
        return Terms(
            params=vault.params,
            margin_fee_basis_points=self.setup.margin_fee_basis_points,
            rates={a: _rate(vault, a, latest) for a in vault.tokens if a not in self.setup.unreadable},
            min_profit_basis_points={a: token.min_profit_basis_points for a, token in vault.tokens.items()},
            earliest=self.window.earliest,
        )

    def assess_sent(self, account: str, data: bytes) -> Assessment:
        """A liquidation brings no prices."""
        return self.assess(account)

    def assess(self, account: str) -> Assessment:
        """The exact verdict at every second of the window, in this round's present state."""
        position = self.positions.get(account)
        if position is None or account in self._closed:
            return Assessment(account, Verdict.HEALTHY, "Vault: empty position")
        for token in (position.collateral_token, position.index_token):
            if (reason := self.setup.unreadable.get(token)) is not None:
                return Assessment(account, Verdict.UNASSESSABLE, reason)
        closings: list[Closing] = []
        reasons: list[str] = []
        for second in self._turning_points(position):
            try:
                closings.append(self._close_at(position, second))
            except Revert as revert:
                reasons.append(revert.reason)
        other = next((reason for reason in reasons if reason != _NOT_NOW), None)
        if other is not None:
            return Assessment(account, Verdict.UNASSESSABLE, other or "reverts without a reason")
        verdict = Verdict.MARGINAL if reasons and closings else Verdict.LIQUIDATABLE if closings else Verdict.HEALTHY
        return self._assessment(account, position, verdict, closings)

    def close(self, account: str) -> None:
        """Assume the position closed in this block: pool, reserves and funding rate move on."""
        position = self.positions[account]
        closing = self._close_at(position, self.window.latest)
        self.vault = closing.vault
        self._unpaid += closing.state is State.CLOSE
        self._closed.add(account)

    def call(self, account: str) -> ContractCall:
        """The liquidating transaction of the round's route."""
        position, setup = self.positions[account], self.setup
        data = call_data(
            LIQUIDATE,
            position.account,
            position.collateral_token,
            position.index_token,
            position.is_long,
            setup.fee_receiver,
        )
        return ContractCall(setup.target, data, GAS_LIMIT[setup.route])

    def _assessment(
        self, account: str, position: Position, verdict: Verdict, closings: Sequence[Closing]
    ) -> Assessment:
        mark = self._price(position.index_token, self.window.latest).mark(position.is_long)
        test = effective_test(self.vault, position, mark, self.window.latest, self.setup.margin_fee_basis_points)
        reward_e18 = min((self._worth(position, closing) for closing in closings), default=0)
        is_unpaid = bool(closings) and all(closing.state is State.CLOSE for closing in closings)
        return Assessment(
            account=account,
            verdict=verdict,
            reason="" if verdict is Verdict.LIQUIDATABLE else _NOT_NOW,
            margin_e18=_towards_zero(test.remaining_e30),
            required_e18=test.required_e30 // _E12,
            reward_b0=reward_e18,
            value_e18=self.setup.grant_e18(self._unpaid) if is_unpaid else reward_e18,
            gas=GAS_LIMIT[self.setup.route],
        )

    def _worth(self, position: Position, closing: Closing) -> int:
        """The fee received, in USD with 18 decimals at the collateral token's min price."""
        token = self.vault.token(position.collateral_token)
        price = self._price(token.address, self.window.latest).min_e30
        return usd_for(token, closing.fee_received, price) // _E12

    def _close_at(self, position: Position, second: int) -> Closing:
        named = (position.index_token, position.collateral_token)
        prices = {token: self._price(token, second) for token in named}
        return liquidate(self.vault, position, prices, second, self.setup.margin_fee_basis_points)

    def _price(self, token: str, second: int) -> Price:
        found = self._prices.get((token, second))
        if found is None:
            quote = self.quotes.get(token)
            if quote is None:
                raise Revert("VaultPriceFeed: invalid price feed")
            found = self._prices[token, second] = quote.at(second)
        return found

    def _worst_mark(self, token: str, is_long: bool) -> int | None:
        """The mark price that liquidates most within the window; None where there is no price."""
        try:
            marks = [self._price(token, second).mark(is_long) for second in self._price_turns(token)]
        except Revert:
            return None
        return min(marks) if is_long else max(marks)

    def _price_turns(self, token: str) -> list[int]:
        window, quote = self.window, self.quotes.get(token)
        turns = quote.turns() if quote is not None else ()
        return [window.earliest, *(t for t in turns if window.earliest < t < window.latest), window.latest]

    def _turning_points(self, position: Position) -> list[int]:
        """The ends of the window and the seconds within it at which something changes for this position."""
        earliest, latest = self.window.earliest, self.window.latest
        interval = self.vault.params.funding_interval
        # Between the first and the last boundary the rate only grows: what lies between them decides nothing.
        boundaries = (earliest // interval * interval + interval, latest // interval * interval) if interval else ()
        zone_end = position.last_increased_time + self.vault.params.min_profit_time + 1
        seconds = {
            *self._price_turns(position.index_token),
            *self._price_turns(position.collateral_token),
            *(t for t in (*boundaries, zone_end) if earliest < t < latest),
        }
        return sorted(seconds)


def _rate(vault: Vault, address: str, second: int) -> int:
    token = vault.token(address)
    try:
        return funding_at(token, vault.params, second)[0]
    except Revert:
        return token.funding_rate


def _towards_zero(value_e30: int) -> int:
    return value_e30 // _E12 if value_e30 >= 0 else -(-value_e30 // _E12)
