"""Where one position stands: the prices that make it liquidatable, and what a liquidation there would pay.

A position has two of them: at the first it is above the leverage limit and closed for the trader, which pays nobody; at
the second its losses eat the collateral, and the fee receiver is paid. They fall together where the limit is high.
"""

from __future__ import annotations

from dataclasses import replace

from keeper.model import Window
from keeper.protocols.market import Trigger
from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.feeds import Quote
from keeper.protocols.meridian.figures import short
from keeper.protocols.meridian.liquidation import funding_at
from keeper.protocols.meridian.market import MeridianMarket
from keeper.protocols.meridian.round import MeridianRound
from keeper.protocols.meridian.state import Params, Position, Price
from keeper.protocols.meridian.triggers import trigger_price

DECIMALS = 30
_NO_LIMIT = 10**18


def nearest(market: MeridianMarket, window: Window, count: int) -> list[tuple[float, str]]:
    """The positions nearest to their trigger, each with its distance in percent of the price."""
    opened = market.round(window)
    opened.candidates()  # Brings the book's triggers up to the terms of this window.
    marks: dict[tuple[str, bool], int] = {}
    for token, quote in market.mirror.feeds.quotes.items():
        try:
            price = quote.at(window.latest)
        except Revert:
            continue  # A token without a price: its positions are counted as not assessable.
        marks |= {(token, is_long): price.mark(is_long) for is_long in (True, False)}
    return [(max(0.0, distance * 100), key) for distance, key in market.mirror.book.nearest(marks, count)]


def triggers(market: MeridianMarket, key: str, window: Window) -> list[Trigger]:
    """The triggers of a position, the nearer one first; none where there is no price or no price reaches it."""
    position = market.mirror.positions.get(key)
    if position is None:
        return []
    opened = market.round(window)
    try:
        mark = opened.quotes[position.index_token].at(window.latest).mark(position.is_long)
        params = opened.vault.params
        values = [_beyond(opened, position, each) for each in (params, replace(params, max_leverage=_NO_LIMIT))]
    except (Revert, KeyError):
        return []
    passed = [min(value, mark) if position.is_long else max(value, mark) for value in dict.fromkeys(values)]
    return [_trigger(opened, position, mark, value) for value in dict.fromkeys(passed) if value > 0]


def with_price(opened: MeridianRound, token: str, value: int) -> MeridianRound:
    """The same what-if copy, not closed in yet, with both prices of a token at another value."""
    quotes = {**opened.quotes, token: Quote(Price(value, value))}
    return MeridianRound(opened.vault, opened.positions, quotes, opened.book, opened.setup, opened.window)


def _beyond(opened: MeridianRound, position: Position, params: Params) -> int:
    """The first price on the liquidatable side."""
    token = opened.vault.token(position.collateral_token)
    last_safe = trigger_price(
        position,
        opened.window.latest,
        params,
        funding_rate=funding_at(token, params, opened.window.latest)[0],
        margin_fee_basis_points=opened.setup.margin_fee_basis_points,
        min_profit_basis_points=opened.vault.token(position.index_token).min_profit_basis_points,
    )
    return last_safe - 1 if position.is_long else last_safe + 1


def _trigger(opened: MeridianRound, position: Position, mark: int, value: int) -> Trigger:
    assessment = with_price(opened, position.index_token, value).assess(position.key)
    return Trigger(
        price=position.index_token,
        name=short(position.index_token),
        now=mark,
        value=value,
        decimals=DECIMALS,
        reward_b0=assessment.reward_b0,
        value_e18=assessment.value_e18,
    )
