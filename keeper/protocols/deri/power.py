"""The fixed-point power of Deri's option pricing: ``pow18`` from ``log2_128`` and ``exp2_64x64``.

Source: the everlasting option pricing library of Deri V3, after ABDK's 64.64 arithmetic. Every truncation and
every rounding is part of the result, so nothing here may be approximated.
"""

from __future__ import annotations

from math import isqrt

from keeper.fixed import ONE, OVERFLOW, Panic, mul, trunc_div

_TWO_127 = 2**127
_TWO_128 = 2**128
_TWO_129 = 2**129
_TWO_70 = 2**70

_LOG_BITS = tuple(1 << k for k in range(127, -1, -1))
_ENOUGH = 1 << (128 - 68)

LOG_OF_ZERO = "pow18: logarithm of zero"
EXP_OVERFLOW = "pow18: exponent too large"


class PowerDomainError(ArithmeticError):
    """``pow18`` has no value here: the contract reverts."""


def _exp2_factors() -> tuple[int, ...]:
    """``floor(2**(2**-i) * 2**128)`` for i = 1..64, by repeated integer square roots with 256 guard bits.

    Each root loses less than one unit in the last guard bit, so 64 of them lose less than 64 of 2**256 units: the
    floor is exact as long as no factor lies that near below an integer, which is checked.
    """
    guard = 256
    factors = []
    root = 2 << (128 + guard)
    for _ in range(64):
        root = isqrt(root << (128 + guard))
        if (root + 64) >> guard != root >> guard:
            raise AssertionError("an exp2 factor lies too near an integer for the guard bits")
        factors.append(root >> guard)
    return tuple(factors)


_FACTORS = tuple((1 << (64 - i), factor) for i, factor in enumerate(_exp2_factors(), start=1))
"""(the fraction bit, its factor), the highest bit first."""


def exp2_64x64(e: int) -> int:
    """``2**(e / 2**64) * 2**64``; 0 below ``-2**70``, reverts from ``2**70`` on."""
    if e < -_TWO_70:
        return 0
    if e >= _TWO_70:
        raise PowerDomainError(EXP_OVERFLOW)
    result = _TWO_127
    for bit, factor in _FACTORS:
        if e & bit:
            result = result * factor >> 128
    return result >> (63 - (e >> 64))


def log2_18(v: int) -> int:
    """``log2_128(v) * ONE >> 128``, where ``log2_128(v)`` is ``log2(v / 2**128) * 2**128``.

    The contract keeps the mantissa's fraction ``f`` and squares it 128 times. With ``w = 2**128 + f`` its step
    ``(f << 1) + ((f*f + 2**127) >> 128)`` is ``(w*w + 2**127) >> 128``, and a carry halves ``w``. What the bits below
    ``bit`` can still add is less than ``bit``: if that can't change the 18 decimals, and after 68 bits it hardly ever
    can, they need not be computed.
    """
    if v <= 0:
        raise PowerDomainError(LOG_OF_ZERO)
    exponent = v.bit_length() - 1
    w = v << (128 - exponent) if exponent <= 128 else v >> (exponent - 128)
    log = (exponent - 128) << 128
    for bit in _LOG_BITS:
        if w == _TWO_128:
            break
        w = (w * w + _TWO_127) >> 128
        if w >= _TWO_129:
            log |= bit
            w >>= 1
        if bit == _ENOUGH and (log * ONE >> 128) == ((log + bit - 1) * ONE >> 128):
            break
    return log * ONE >> 128


def pow18(x: int, y: int) -> int:
    """``x**y`` in 18 decimals: ``x`` positive, ``y`` of either sign.

    Raises ``PowerDomainError`` where the contract reverts without a panic, ``Panic`` where it overflows.
    """
    scaled = x << 128
    if scaled >> 255:
        raise Panic(OVERFLOW)
    logarithm = log2_18(scaled // ONE)
    exponent = trunc_div(trunc_div(mul(logarithm, y), ONE) << 64, ONE)
    return exp2_64x64(exponent) * ONE >> 64
