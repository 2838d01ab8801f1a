"""Unsigned 256-bit arithmetic as the vault does it: what does not fit reverts.

The published vault reverts with OpenZeppelin's SafeMath reasons; a fork built with a newer compiler panics instead.
The verdict is the same (the call reverts), so one set of reasons names both.
"""

from __future__ import annotations

_MAX = 2**256 - 1


class Revert(Exception):  # noqa: N818 - it is an answer of the contract, not an error of ours
    """The contract would revert here. ``reason`` is its string, empty where the chain gives none."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason or "reverted without a reason")


def add(a: int, b: int) -> int:
    total = a + b
    if total > _MAX:
        raise Revert("SafeMath: addition overflow")
    return total


def sub(a: int, b: int, reason: str = "SafeMath: subtraction overflow") -> int:
    if b > a:
        raise Revert(reason)
    return a - b


def mul(a: int, b: int) -> int:
    product = a * b
    if product > _MAX:
        raise Revert("SafeMath: multiplication overflow")
    return product


def div(a: int, b: int) -> int:
    if b == 0:
        raise Revert("SafeMath: division by zero")
    return a // b
