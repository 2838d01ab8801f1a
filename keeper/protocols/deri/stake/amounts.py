"""Amounts of a token as people write them, and as the chain counts them."""

from __future__ import annotations

import re

from keeper.errors import KeeperError

_PLAIN = re.compile(r"(?P<whole>\d{1,60})(?:\.(?P<decimals>\d{1,60}))?", re.ASCII)


class StakeError(KeeperError):
    """A deposit or a withdrawal that is refused; nothing of it was sent."""


def parse_amount(text: str, decimals: int) -> int:
    """Raw units of a token with ``decimals`` from a plain decimal number. Raises ``StakeError``.

    No sign, no exponent, no separators of thousands: what is not plain is asked for again, never guessed.
    """
    found = _PLAIN.fullmatch(text)
    if found is None:
        raise StakeError("a plain positive number like 10000 or 10000.5", f"{text!r} came", "correct the amount")
    fraction = found["decimals"] or ""
    if len(fraction) > decimals:
        raise StakeError(
            f"at most {decimals} decimals, as many as the token has", f"{text} has {len(fraction)}", "round it"
        )
    amount = int(found["whole"] + fraction.ljust(decimals, "0"))
    if amount == 0:
        raise StakeError("more than nothing", f"{text} came", "correct the amount")
    return amount


def format_amount(amount: int, decimals: int) -> str:
    """The exact reverse of ``parse_amount``, without needless zeros; negative amounts keep their sign."""
    digits = str(abs(amount)).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    return ("-" if amount < 0 else "") + whole + ("." + fraction if fraction else "")
