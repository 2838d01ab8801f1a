"""The book may report too many, and never too few, for every second and price of the window."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.protocols.meridian.book import Book, Terms
from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.liquidation import State, effective_test, funding_at
from keeper.protocols.meridian.state import Params, Position, Vault
from keeper.protocols.meridian.triggers import trigger_price
from tests.property.meridian_strategies import NOW, TOKENS, params, positions, tokens


def _terms(vault: Vault, earliest: int, latest: int) -> Terms:
    return Terms(
        params=vault.params,
        margin_fee_basis_points=vault.params.margin_fee_basis_points,
        rates={address: funding_at(token, vault.params, latest)[0] for address, token in vault.tokens.items()},
        min_profit_basis_points={a: token.min_profit_basis_points for a, token in vault.tokens.items()},
        earliest=earliest,
    )


def _liquidatable(vault: Vault, position: Position, mark: int, second: int, fee: int) -> bool:
    try:
        return effective_test(vault, position, mark, second, fee).state is not State.SAFE
    except Revert:
        return False  # the arithmetic overflows: the call reverts


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    data=st.data(),
    held=st.lists(positions(), min_size=1, max_size=40),
    terms=params,
    earliest=st.integers(NOW, NOW + 100_000),
    length=st.sampled_from([0, 1, 30, 4000]),
)
def test_nothing_liquidatable_at_any_second_of_the_window_is_missed(
    data: st.DataObject, held: list[Position], terms: Params, earliest: int, length: int
) -> None:
    vault = Vault(terms, {address: data.draw(tokens(address)) for address in TOKENS})
    latest = earliest + length
    fee = terms.margin_fee_basis_points
    book = Book()
    for number, position in enumerate(held):
        book.put(str(number), position)
    removed = data.draw(st.sets(st.integers(0, len(held) - 1), max_size=len(held) - 1))
    for number in removed:
        book.remove(str(number))
    moved = data.draw(st.sampled_from(sorted(set(range(len(held))) - removed)))
    held[moved] = data.draw(positions())
    book.put(str(moved), held[moved])

    # A price at, or one unit from, the trigger of one of the positions tries the book's rounding hardest.
    aim = held[data.draw(st.integers(0, len(held) - 1))]
    at = data.draw(st.sampled_from([earliest, latest]))
    rate = funding_at(vault.token(aim.collateral_token), terms, at)[0]
    bps = vault.token(aim.index_token).min_profit_basis_points
    trigger = trigger_price(aim, at, terms, funding_rate=rate, margin_fee_basis_points=fee, min_profit_basis_points=bps)
    mark = max(1, trigger + data.draw(st.sampled_from([-1, 0, 1])))
    marks = {(token, is_long): mark for token in TOKENS[:2] for is_long in (True, False)}

    # Twice, with other terms in between: what was computed for one window must not leak into another.
    book.crossed(marks, _terms(vault, latest + 10**6, latest + 10**6))
    reported = set(book.crossed(marks, _terms(vault, earliest, latest)))
    for number, position in enumerate(held):
        if number in removed:
            assert str(number) not in reported
            continue
        seconds = {earliest, latest, min(latest, max(earliest, position.last_increased_time + terms.min_profit_time))}
        if any(_liquidatable(vault, position, mark, second, fee) for second in seconds):
            assert str(number) in reported


@settings(max_examples=40, derandomize=True, deadline=None)
@given(held=st.lists(positions(), min_size=1, max_size=40), terms=params)
def test_a_book_far_from_the_price_reports_nobody(held: list[Position], terms: Params) -> None:
    rates = dict.fromkeys(TOKENS, 5_000)
    fee = terms.margin_fee_basis_points
    book = Book()
    for number, position in enumerate(held):
        book.put(str(number), position)
    for number, position in enumerate(held):
        trigger = trigger_price(
            position, NOW, terms, funding_rate=5_000, margin_fee_basis_points=fee, min_profit_basis_points=0
        )
        tolerance = 1 + trigger // 10**6 + 100 * position.average_price_e30 // position.size_e30 + 100
        mark = trigger + tolerance if position.is_long else trigger - tolerance
        if mark > 0:
            where = (position.index_token, position.is_long)
            assert str(number) not in book.crossed({where: mark}, Terms(terms, fee, rates, {}, NOW))
