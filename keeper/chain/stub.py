"""Code for contracts on a fork that are to answer what we want."""

from __future__ import annotations

_PUSH1, _PUSH32, _MSTORE, _RETURN = 0x60, 0x7F, 0x52, 0xF3
ANSWERED_WORDS = 5
"""As many as Chainlink's ``latestRoundData`` has."""


def answering(word: int) -> bytes:
    """A contract that answers every call with the same five words.

    That is enough for a price source: ``latestAnswer()``, ``latestRound()`` and ``_I_()`` take the first word,
    ``latestRoundData()`` and ``getRoundData(uint80)`` the second, and a round that is its own answer is a round.
    """
    stores = b"".join(
        bytes([_PUSH32]) + word.to_bytes(32, "big") + bytes([_PUSH1, 32 * index, _MSTORE])
        for index in range(ANSWERED_WORDS)
    )
    return stores + bytes([_PUSH1, 32 * ANSWERED_WORDS, _PUSH1, 0, _RETURN])
