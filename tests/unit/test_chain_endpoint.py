"""Endpoints are named without what may be a credential, and judged by how they did."""

from __future__ import annotations

import pytest

from keeper.chain.endpoint import Endpoint, Health, redacted


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://mainnet.infura.io/v3/0123456789abcdef", "https://mainnet.infura.io/…"),
        ("wss://user:password@node.example:8546", "wss://node.example:8546/…"),
        ("https://node.example/?apikey=secret", "https://node.example/…"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("http://127.0.0.1:8545/", "http://127.0.0.1:8545"),
        ("http://node.example:notaport/secret", "http://node.example/…"),
    ],
)
def test_a_url_is_shown_without_user_path_and_query(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_the_representation_of_an_endpoint_holds_no_url() -> None:
    assert "secret" not in repr(Endpoint("https://node.example/secret"))


def test_latency_is_a_moving_average_that_starts_at_the_first_answer() -> None:
    health = Health()
    health.answered(0.1)
    assert health.latency_s == pytest.approx(0.1)
    health.answered(0.2)
    assert 0.1 < health.latency_s < 0.15


def test_failures_cool_an_endpoint_down_for_longer_each_time_up_to_a_limit() -> None:
    health = Health()
    pauses = []
    for _ in range(8):
        health.failed()
        pauses.append(round(health.cooling_until - health.troubled_at, 2))
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 2.0
    assert health.streak == health.failures == 8


def test_after_a_failure_others_are_preferred_for_a_while_also_if_it_answers_again() -> None:
    health = Health()
    health.failed()
    health.answered(0.1)
    assert (health.cooling, health.streak, health.shaky) == (False, 0, True)
    health.troubled_at -= 20
    assert not health.shaky
