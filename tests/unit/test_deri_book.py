"""The book's own rules: who is a candidate, who is named as not assessable, how far the others are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from keeper.errors import ProtocolError
from keeper.fixed import ONE
from keeper.protocols.deri.book import Book
from keeper.protocols.deri.distance import distance, distances, nearest
from keeper.protocols.deri.settle import UNKNOWN_VAULT_MARKET, decide
from keeper.protocols.deri.state import AccountState, Flavour, MarketState, SymbolKind, VaultState
from keeper.protocols.deri.symbols import Prepared, prepare
from tests.unit.deri_examples import BTC, CALL, NOW, NUMBER, POOL, PRICE, account, long, market, symbol
from tests.unit.test_deri_vault import BASE

LISTED = market(symbol(), symbol(SymbolKind.OPTION), symbol(SymbolKind.POWER), symbol(SymbolKind.UNKNOWN))


def _at(state: MarketState = LISTED, second: int = NOW) -> Prepared:
    return prepare(state, NUMBER, second)


def test_candidates_are_those_under_water_the_deepest_first() -> None:
    book = Book([account(amount * ONE, long(), p_token_id=amount) for amount in (2_000, 500, 999, 1, 1_001)])
    assert book.screen(_at(), _at()).candidates == (1, 500, 999)


def test_an_account_without_positions_is_never_a_candidate() -> None:
    assert Book([account(-(10**30))]).screen(_at(), _at()).candidates == ()


def test_whoever_holds_what_cannot_be_priced_is_named_and_nobody_else() -> None:
    accounts = [
        account(0, long(), p_token_id=1),
        account(0, long(), long(held="0xodd"), p_token_id=2),
        account(0, long(held="0xnew"), p_token_id=3),
        account(0, long(held=CALL), p_token_id=4),
    ]
    expired = replace(LISTED, oracles={BTC: LISTED.oracles[BTC]})
    book = Book(accounts)
    screen = book.screen(_at(expired), _at(expired))
    assert screen.candidates == (1,)
    assert book.unassessable(screen) == {
        2: "symbol ODD is of a kind that the keeper can't price",
        3: "symbol 0xnew is not known",
        4: "no oracle for 0xv01",
    }
    assert [decide(_at(expired), one).reason for one in accounts[1:]] == list(book.unassessable(screen).values())


def test_a_price_that_expires_within_the_window_still_makes_candidates() -> None:
    expiry = NOW + 590
    book = Book([account(0, long(), p_token_id=1)])
    assert book.screen(_at(second=expiry - 1), _at(second=expiry + 1)).candidates == (1,)
    gone = book.screen(_at(second=expiry), _at(second=expiry + 1))
    assert (gone.candidates, len(gone.blocked)) == ((), 1)


def test_an_unknown_vault_market_blocks_its_holders() -> None:
    full = market(pool=replace(POOL, flavour=Flavour.FULL), vault_markets=(BASE,))
    strange = replace(account(0, long()), vault=VaultState("", (("strange", 1),)))
    book = Book([strange, account(0, long(), p_token_id=2)])
    screen = book.screen(_at(full), _at(full))
    assert screen.candidates == (2,)
    assert book.unassessable(screen) == {1: UNKNOWN_VAULT_MARKET}


def test_units_lost_in_a_vault_are_allowed_for() -> None:
    # three markets each lose nearly a unit, which the multiplier enlarges; the position itself loses none
    thirds = [replace(BASE, v_token=f"v{i}", collateral_factor=ONE - 1) for i in range(3)]
    state = market(
        pool=replace(POOL, flavour=Flavour.FULL, vault_liquidity_multiplier=2 * ONE), vault_markets=tuple(thirds)
    )
    vault = VaultState("", tuple((market_.v_token, 1) for market_ in thirds))
    tiny = replace(account(0, long(20, entry=PRICE)), vault=vault)
    slack = (decision := decide(_at(state), tiny)).margin - decision.required
    under = replace(tiny, amount_b0=tiny.amount_b0 - slack - 1)
    assert decide(_at(state), under).reason == ""
    assert Book([under]).screen(_at(state), _at(state)).candidates == (1,)


def test_a_book_is_kept_up_account_by_account() -> None:
    book = Book()
    for p_token_id in range(1, 200):
        book.put(account(p_token_id * 10 * ONE, long(), p_token_id=p_token_id))
    assert len(book) == 199
    assert (
        len(book.screen(_at(), _at()).candidates) == 100
    )  # the one exactly on its threshold is for the engine to clear
    for p_token_id in range(1, 50):
        book.remove(p_token_id)
    book.remove(12_345)
    book.put(account(5_000 * ONE, long(), p_token_id=60))
    book.put(account(0, long(held=CALL), p_token_id=1_000))
    assert set(book.screen(_at(), _at()).candidates) == {*range(50, 101), 1_000} - {60}
    assert len(book) == 151


def test_more_symbols_than_the_bound_was_derived_for_are_refused() -> None:
    crowd = account(0, *(long(held=f"0x{i:x}") for i in range(501)))
    with pytest.raises(ProtocolError, match="error bound"):
        Book([crowd])


def test_positions_whose_funding_may_wrap_are_always_reported() -> None:
    far = account(10**9 * ONE, long(funding=-(2**254)), p_token_id=1)
    assert Book([far]).screen(_at(), _at()).candidates == (1,)


def _one(state: MarketState, held: AccountState) -> tuple[float, float, str, bool, float]:
    book = Book([held])
    found = distance(book, distances(book, _at(state)), held.p_token_id)
    assert found is not None
    return found.margin_e18, found.percent, found.price_id, found.upward, found.funding_s


def test_a_long_is_hurt_by_a_fall_and_a_short_by_a_rise() -> None:
    # One bitcoin, 2,000 of margin, 1,000 required. Falling by x percent costs 200x and lowers the requirement by 10x.
    margin, percent, price_id, upward, _ = _one(LISTED, account(2_000 * ONE, long()))
    assert margin == pytest.approx(1_000 * ONE)
    assert percent == pytest.approx(1_000 / 190)
    assert (price_id, upward) == (BTC, False)
    _, percent, _, upward, _ = _one(LISTED, account(2_000 * ONE, long(-ONE)))
    assert percent == pytest.approx(1_000 / 210)
    assert upward


def test_what_is_under_water_is_nearest_and_what_no_price_hurts_is_infinitely_far() -> None:
    _, percent, *_ = _one(LISTED, account(0, long()))
    assert percent == 0
    _, percent, price_id, *_ = _one(LISTED, account(10**9 * ONE, long()))
    assert (percent, price_id) == (np.inf, "")


def test_funding_alone_gets_there_when_the_seconds_say_so() -> None:
    crowded = market(symbol(net_volume=100 * ONE))
    held = account(1_100 * ONE, long())
    *_, seconds = _one(crowded, held)
    at = NOW + round(seconds)
    priced = replace(crowded, oracles={BTC: replace(crowded.oracles[BTC], timestamp=at)})
    assert decide(prepare(priced, NUMBER, at - 2), held).reason.endswith("cannot liquidate")
    assert decide(prepare(priced, NUMBER, at + 2), held).reason == ""
    *_, received = _one(crowded, account(1_100 * ONE, long(-ONE)))
    assert received == np.inf


def test_the_nearest_come_first_and_the_unassessable_not_at_all() -> None:
    book = Book(
        [
            account(9_000 * ONE, long(), p_token_id=1),
            account(1_200 * ONE, long(), p_token_id=2),
            account(0, long(held="0xodd"), p_token_id=3),
            account(0, p_token_id=4),
            account(0, long(), p_token_id=5),
        ]
    )
    measured = distances(book, _at())
    assert [one.p_token_id for one in nearest(book, measured, 10)] == [5, 2, 1]
    unknown = distance(book, measured, 3)
    assert unknown is not None
    assert np.isnan(unknown.margin_e18)
    assert distance(book, measured, 77) is None
