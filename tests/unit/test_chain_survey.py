"""Which fork is followed when endpoints disagree."""

from __future__ import annotations

from keeper.chain.survey import Standing, chosen_hash, present_height


def test_the_majority_is_followed() -> None:
    assert chosen_hash([Standing(0, 90, "a"), Standing(1, 10, "b"), Standing(2, 10, "b")]) == "b"


def test_between_equals_the_longer_chain_is_followed() -> None:
    assert chosen_hash([Standing(0, 10, "a"), Standing(1, 11, "b")]) == "b"


def test_between_equals_of_the_same_length_the_first_priority_is_followed() -> None:
    assert chosen_hash([Standing(1, 10, "b"), Standing(0, 10, "a")]) == "a"


def test_a_height_that_nobody_else_is_near_is_no_measure() -> None:
    assert present_height([100, 101, 9_000], 3) == 101
    assert present_height([100, 90, 80], 3) == 100, "where nobody is near anybody, the highest counts"
    assert present_height([100, 9_000], 3) == 9_000, "between two nobody can tell"
    assert present_height([7], 3) == 7
