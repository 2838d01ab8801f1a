"""Solidity's integers: truncated, checked, wrapped where a wrap is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keeper.fixed import (
    INT256_MAX,
    INT256_MIN,
    UINT256_MAX,
    Panic,
    add,
    checked_uint,
    div,
    mul,
    mul_div,
    rescale,
    sub,
    trunc_div,
    wrap_int256,
)


@pytest.mark.parametrize(("a", "b", "quotient"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (0, -5, 0)])
def test_division_truncates_toward_zero(a: int, b: int, quotient: int) -> None:
    assert div(a, b) == trunc_div(a, b) == mul_div(a, 1, b) == quotient


@pytest.mark.parametrize(
    "overflows",
    [
        lambda: add(INT256_MAX, 1),
        lambda: sub(INT256_MIN, 1),
        lambda: mul(2**128, 2**127),
        lambda: div(INT256_MIN, -1),
        lambda: mul_div(INT256_MIN, 1, -1),
        lambda: mul_div(2**128, 2**128, 2**128),
        lambda: checked_uint(-1),
        lambda: checked_uint(UINT256_MAX + 1),
        lambda: rescale(2**250, 6, 18),
    ],
)
def test_overflow_panics_even_if_a_division_would_bring_it_back(overflows: Callable[[], int]) -> None:
    with pytest.raises(Panic, match=r"^Panic\(0x11\)$"):
        overflows()


@pytest.mark.parametrize("divides", [lambda: div(1, 0), lambda: mul_div(1, 1, 0)])
def test_division_by_zero_panics(divides: Callable[[], int]) -> None:
    with pytest.raises(Panic, match=r"^Panic\(0x12\)$"):
        divides()


def test_the_ends_of_the_range_are_in_it() -> None:
    assert add(INT256_MAX, 0) == INT256_MAX
    assert mul(2**127, -(2**128)) == INT256_MIN
    assert checked_uint(UINT256_MAX) == UINT256_MAX


def test_unchecked_arithmetic_wraps() -> None:
    assert wrap_int256(INT256_MAX + 1) == INT256_MIN
    assert wrap_int256(INT256_MIN - 1) == INT256_MAX
    assert wrap_int256(-5) == -5


def test_rescaling_cuts_what_does_not_fit_the_decimals() -> None:
    assert rescale(1_999_999_999_999, 18, 6) == 1
    assert rescale(3, 6, 18) == 3 * 10**12
    assert rescale(5, 18, 18) == 5
