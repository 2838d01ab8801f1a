"""When an account is left to a rival whose transaction waits to be mined."""

from __future__ import annotations

from keeper.chain.rivals import GIVEN_BLOCKS, UNBELIEVED_BLOCKS, Rivals
from keeper.chain.transaction import Fees

GWEI = 10**9
BASE = 10 * GWEI
DEAR = Fees(100 * GWEI, 3 * GWEI)


def test_who_pays_more_comes_first_and_who_pays_the_same_does_not() -> None:
    rivals = Rivals()
    rivals.saw("lite", "1", DEAR, head=7)
    assert rivals.ahead_of("lite", "1", 12 * GWEI, BASE)
    assert not rivals.ahead_of("lite", "1", 13 * GWEI, BASE), "two keepers alike must not both step back"
    assert not rivals.ahead_of("lite", "2", 12 * GWEI, BASE)
    assert not rivals.ahead_of("full", "1", 12 * GWEI, BASE)


def test_a_ceiling_bounds_what_a_rival_really_pays() -> None:
    rivals = Rivals()
    rivals.saw("lite", "1", Fees(11 * GWEI, 90 * GWEI), head=7)
    assert not rivals.ahead_of("lite", "1", 12 * GWEI, BASE)


def test_what_is_not_mined_in_time_is_forgotten_and_nobody_believed_at_that_account_for_long() -> None:
    rivals = Rivals()
    rivals.saw("lite", "1", DEAR, head=7)
    rivals.follow(7 + GIVEN_BLOCKS - 1)
    assert rivals.ahead_of("lite", "1", GWEI, BASE)
    rivals.follow(7 + GIVEN_BLOCKS)
    assert not rivals.ahead_of("lite", "1", GWEI, BASE)
    rivals.saw("lite", "1", DEAR, head=7 + GIVEN_BLOCKS)
    assert not rivals.ahead_of("lite", "1", GWEI, BASE), "a pending transaction costs nothing"
    rivals.follow(7 + GIVEN_BLOCKS + UNBELIEVED_BLOCKS)
    rivals.saw("lite", "1", DEAR, head=200)
    assert rivals.ahead_of("lite", "1", GWEI, BASE)


def test_a_second_sight_does_not_give_more_time() -> None:
    rivals = Rivals()
    for head in range(7, 7 + GIVEN_BLOCKS):
        rivals.saw("lite", "1", DEAR, head)
    rivals.follow(7 + GIVEN_BLOCKS)
    assert not rivals.ahead_of("lite", "1", GWEI, BASE)
