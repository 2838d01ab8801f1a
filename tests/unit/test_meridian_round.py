"""A verdict of the round holds at every second of its window."""

from __future__ import annotations

from dataclasses import replace

from keeper.model import Verdict, Window
from keeper.protocols.meridian.book import Book
from keeper.protocols.meridian.feeds import Quote
from keeper.protocols.meridian.round import MeridianRound, Setup
from keeper.protocols.meridian.state import Price, Route, Vault
from tests.unit.test_meridian_liquidation import BTC, HOUR, LONG, NOW, PARAMS, USD, VAULT

SETUP = Setup(Route.VAULT, "0x" + "44" * 20, "0x" + "55" * 20, 10, {}, lambda _: 0)


def test_an_account_that_is_safe_between_a_zones_end_and_a_funding_boundary_is_marginal() -> None:
    zone_ends = NOW + HOUR // 2
    position = replace(LONG, collateral_e30=60 * USD, last_increased_time=zone_ends - PARAMS.min_profit_time)
    token = replace(VAULT.token(BTC), min_profit_basis_points=75)
    vault = Vault(replace(PARAMS, funding_rate_factor=100_000), {**VAULT.tokens, BTC: token})
    quotes = {BTC: Quote(Price(60_300 * USD, 60_300 * USD))}

    def verdict(earliest: int, latest: int) -> Verdict:
        window = Window(1, earliest, latest)
        return MeridianRound(vault, {"key": position}, quotes, Book(), SETUP, window).assess("key").verdict

    assert verdict(zone_ends, zone_ends) is Verdict.LIQUIDATABLE
    assert verdict(zone_ends + 1, NOW + HOUR - 1) is Verdict.HEALTHY
    assert verdict(NOW + HOUR, NOW + HOUR + 60) is Verdict.LIQUIDATABLE
    assert verdict(zone_ends - 60, NOW + HOUR + 60) is Verdict.MARGINAL
