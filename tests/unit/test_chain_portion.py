"""A portion finds the size that a node takes, and does not try its limit all the time."""

from __future__ import annotations

import pytest

from keeper.chain.portion import Portion


def ask(portion: Portion, limit: int, times: int) -> int:
    """Ask so often; how often it was too much."""
    refused = 0
    for _ in range(times):
        if portion.size > limit:
            portion.refused(portion.size)
            refused += 1
        else:
            portion.took(portion.size)
    return refused


@pytest.mark.parametrize("limit", [1, 7, 800, 10_000])
def test_a_limit_is_found_and_seldom_tried_again(limit: int) -> None:
    portion = Portion(2_000, 100_000)
    ask(portion, limit, 30)
    assert limit / 2 < portion.size <= 2 * limit
    assert ask(portion, limit, 200) <= 5


def test_without_a_limit_it_grows_to_the_largest() -> None:
    portion = Portion(100, 1_500)
    assert ask(portion, 10**9, 5) == 0
    assert portion.size == 1_500


def test_what_was_less_than_a_portion_says_nothing_about_a_limit() -> None:
    portion = Portion(100, 1_500)
    portion.took(99)
    assert portion.size == 100


def test_a_refusal_of_more_than_a_portion_now_is_no_news() -> None:
    portion = Portion(100, 1_500)
    assert portion.refused(100)
    assert not portion.refused(100)
    assert portion.size == 50
