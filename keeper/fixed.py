"""Solidity's 256-bit integer arithmetic on Python's integers.

Python's ``//`` floors, Solidity's signed ``/`` truncates toward zero; Python's integers grow, Solidity's overflow.
Since 0.8 an overflow reverts with ``Panic(0x11)`` and a division by zero with ``Panic(0x12)``: here both raise
``Panic``, which the engines turn into an answer at their public functions.

``ONE`` is the unit of 18-decimal fixed point.
"""

from __future__ import annotations

ONE = 10**18
UINT256_MAX = 2**256 - 1
INT256_MAX = 2**255 - 1
INT256_MIN = -(2**255)

_TWO_255 = 2**255

OVERFLOW = 0x11
DIVISION_BY_ZERO = 0x12


class Panic(Exception):  # noqa: N818 - Solidity's own word
    """A panic of Solidity's checked arithmetic. ``str()`` is ``Panic(0x11)`` or ``Panic(0x12)``."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"Panic({code:#04x})")


def trunc_div(a: int, b: int) -> int:
    """``a / b`` truncated toward zero, of any size. ``b`` must not be zero."""
    if (a >= 0) is (b > 0):
        return a // b
    return -(-a // b)


def wrap_int256(a: int) -> int:
    """``a`` modulo 2**256 as a signed 256-bit integer: unchecked signed arithmetic."""
    return ((a + _TWO_255) & UINT256_MAX) - _TWO_255


def checked_uint(a: int) -> int:
    """``a`` if it fits an unsigned 256-bit integer, else ``Panic(0x11)``."""
    if 0 <= a <= UINT256_MAX:
        return a
    raise Panic(OVERFLOW)


def add(a: int, b: int) -> int:
    """Signed checked ``a + b``."""
    total = a + b
    if INT256_MIN <= total <= INT256_MAX:
        return total
    raise Panic(OVERFLOW)


def sub(a: int, b: int) -> int:
    """Signed checked ``a - b``."""
    difference = a - b
    if INT256_MIN <= difference <= INT256_MAX:
        return difference
    raise Panic(OVERFLOW)


def mul(a: int, b: int) -> int:
    """Signed checked ``a * b``."""
    product = a * b
    if INT256_MIN <= product <= INT256_MAX:
        return product
    raise Panic(OVERFLOW)


def div(a: int, b: int) -> int:
    """Signed checked ``a / b``, truncated toward zero."""
    if b == 0:
        raise Panic(DIVISION_BY_ZERO)
    if (a >= 0) is (b > 0):
        quotient = a // b
        if quotient > INT256_MAX:  # only INT256_MIN / -1
            raise Panic(OVERFLOW)
        return quotient
    return -(-a // b)


def mul_div(a: int, b: int, c: int) -> int:
    """Signed checked ``a * b / c``: the product must fit 256 bits, as it must on chain."""
    product = a * b
    if not INT256_MIN <= product <= INT256_MAX:
        raise Panic(OVERFLOW)
    if c == 0:
        raise Panic(DIVISION_BY_ZERO)
    if (product >= 0) is (c > 0):
        quotient = product // c
        if quotient > INT256_MAX:  # only INT256_MIN / -1
            raise Panic(OVERFLOW)
        return quotient
    return -(-product // c)


def rescale(amount: int, from_decimals: int, to_decimals: int) -> int:
    """``amount * 10**to / 10**from``, unsigned: how contracts move an amount between decimals (checked)."""
    if from_decimals == to_decimals:
        return amount
    scale: int = 10**to_decimals
    divisor: int = 10**from_decimals
    return checked_uint(amount * scale) // divisor
