"""Which fork is followed when endpoints disagree."""

from __future__ import annotations

from keeper.chain.survey import Standing, chosen_hash


def test_the_majority_is_followed() -> None:
    assert chosen_hash([Standing(0, 90, "a"), Standing(1, 10, "b"), Standing(2, 10, "b")]) == "b"


def test_between_equals_the_longer_chain_is_followed() -> None:
    assert chosen_hash([Standing(0, 10, "a"), Standing(1, 11, "b")]) == "b"


def test_between_equals_of_the_same_length_the_first_priority_is_followed() -> None:
    assert chosen_hash([Standing(1, 10, "b"), Standing(0, 10, "a")]) == "a"
