"""``pow18``: equal to the last digit to the description's steps, and near the true power."""

from __future__ import annotations

from decimal import Decimal, localcontext
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keeper.fixed import ONE, Panic
from keeper.protocols.deri.power import PowerDomainError, exp2_64x64, log2_18, pow18
from tests.property import deri_spec

ratios = st.one_of(st.integers(ONE // 2, 2 * ONE), st.integers(1, 10**30), st.integers(ONE - 1000, ONE + 1000))
exponents = st.one_of(st.integers(-50 * ONE, 50 * ONE), st.integers(-(10**24), 10**24), st.integers(-1000, 1000))


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(x=ratios, y=exponents)
@example(x=1, y=ONE)
@example(x=ONE, y=-ONE)
@example(x=2 * ONE, y=ONE // 2)
@example(x=4 * ONE, y=-3 * ONE)
@example(x=10**24, y=10**24)
def test_every_step_equals_the_description(x: int, y: int) -> None:
    try:
        expected: int | str = deri_spec.pow18(deri_spec.Int(x), deri_spec.Int(y)).value
    except deri_spec.RevertError as revert:
        expected = str(revert)
    try:
        came: int | str = pow18(x, y)
    except (Panic, PowerDomainError) as refusal:
        came = str(refusal)
    assert came == expected


@settings(max_examples=300, derandomize=True, deadline=None)
@given(x=st.integers(ONE // 100, 100 * ONE), y=st.integers(-9 * ONE, 9 * ONE))
def test_it_is_the_power_to_fifteen_digits(x: int, y: int) -> None:
    with localcontext() as context:
        context.prec = 80
        exact = (Decimal(x) / ONE) ** (Decimal(y) / ONE) * ONE
    assert abs(Decimal(pow18(x, y)) - exact) <= exact * Decimal("1e-15") + 1


def test_the_logarithm_stops_early_only_where_the_rest_can_not_matter() -> None:
    rng = Random(7)
    for _ in range(1500):
        v = rng.getrandbits(rng.randint(1, 250)) + 1
        assert log2_18(v) == (deri_spec.log2_128(v) * ONE) >> 128
    for power in range(1, 250):
        for v in (2**power - 1, 2**power, 2**power + 1):
            assert log2_18(v) == (deri_spec.log2_128(v) * ONE) >> 128


def test_the_exponential_is_cut_off_at_both_ends() -> None:
    assert exp2_64x64(-(2**70) - 1) == 0
    assert exp2_64x64(0) == 2**64
    assert exp2_64x64(-(1 << 64)) == 2**63
    with pytest.raises(PowerDomainError):
        exp2_64x64(2**70)


def test_zero_has_no_logarithm() -> None:
    with pytest.raises(PowerDomainError):
        pow18(0, ONE)
