"""Amounts of DERI: what is not plain is refused with a sentence, what is plain is exact."""

from __future__ import annotations

import pytest

from keeper.protocols.deri.stake.amounts import StakeError, format_amount, parse_amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("10000", 10_000 * 10**18),
        ("0.000000000000000001", 1),
        ("20000.50", 20_000_500_000_000_000_000_000),
        ("007", 7 * 10**18),
    ],
)
def test_a_plain_number_is_exact(text: str, amount: int) -> None:
    assert parse_amount(text, 18) == amount


@pytest.mark.parametrize(
    "text",
    ["", "ten", "-5", "+5", "1e4", "10,000", "10_000", ".5", "5.", " 5", "0x10", "NaN", "inf", "1.2.3", "٣", "5\n"],
)
def test_what_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(StakeError, match="plain positive number"):
        parse_amount(text, 18)


def test_nothing_is_refused() -> None:
    with pytest.raises(StakeError, match="more than nothing"):
        parse_amount("0.000", 18)


def test_more_decimals_than_the_token_has_are_refused() -> None:
    assert parse_amount("1.25", 2) == 125
    with pytest.raises(StakeError, match=r"at most 2 decimals.*1\.250 has 3"):
        parse_amount("1.250", 2)
    with pytest.raises(StakeError, match="at most 0 decimals"):
        parse_amount("1.5", 0)


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [
        (1, 18, "0.000000000000000001"),
        (0, 18, "0"),
        (10_000 * 10**18, 18, "10000"),
        (-15 * 10**17, 18, "-1.5"),
        (125, 2, "1.25"),
        (125, 0, "125"),
    ],
)
def test_an_amount_is_shown_exactly(amount: int, decimals: int, text: str) -> None:
    assert format_amount(amount, decimals) == text
