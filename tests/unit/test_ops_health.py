"""What turns readiness red, and what does not: one cause for one trouble."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.ops.health import findings, limit_s
from keeper.views import Level, Snapshot
from tests.unit.ops_views import CHAIN, ENDPOINT, FIGURES, HEALTHY, LANE, MARKET, SIGNER, with_chain, with_market


def critical(snapshot: Snapshot) -> list[str]:
    return [finding.name for finding in findings(snapshot) if finding.level is Level.CRITICAL]


def test_a_healthy_keeper_has_no_causes() -> None:
    assert findings(HEALTHY) == []


@pytest.mark.parametrize(
    ("snapshot", "cause"),
    [
        (with_chain(replace(CHAIN, head_age_s=6.0)), "head-stalled"),
        (with_chain(replace(CHAIN, head_late_s=11.0)), "node-late"),
        (with_chain(replace(CHAIN, endpoints=(replace(ENDPOINT, healthy=False),))), "endpoints-down"),
        (with_chain(replace(CHAIN, endpoints=(replace(ENDPOINT, lagging=True),))), "endpoints-down"),
        (with_chain(replace(CHAIN, tended=90)), "lanes-stuck"),
        (with_market(replace(MARKET, mirror_age_s=6.0)), "mirror-behind"),
        (with_market(replace(MARKET, ready=False)), "starting"),
        (with_market(replace(MARKET, figures=replace(FIGURES, mismatch="account 7 differs"))), "mirror-mismatch"),
        (with_market(replace(MARKET, signers=(replace(MARKET.signers[0], allowed=False),))), "not-eligible"),
        (with_chain(replace(CHAIN, lanes=(replace(LANE, alerts={"signer": "it is locked"}),))), "signer-locked"),
        (with_chain(replace(CHAIN, lanes=(replace(LANE, alerts={"journal": "disk full"}),))), "store-unwritable"),
        (with_chain(replace(CHAIN, lanes=(replace(LANE, alerts={"budget-spent": "used up"}),))), "budget-spent"),
        (with_chain(replace(CHAIN, lanes=(replace(LANE, alerts={"insufficient-funds": "!"}),))), "insufficient-funds"),
    ],
)
def test_each_trouble_is_one_critical_cause(snapshot: Snapshot, cause: str) -> None:
    assert critical(snapshot) == [cause]


def test_a_head_may_be_three_block_times_old_and_five_seconds_on_a_quick_chain() -> None:
    assert limit_s(0.45) == 5
    assert limit_s(12) == 36
    slow = replace(CHAIN, block_time_s=12.0, head_age_s=35.0, head_late_s=20.0)
    assert critical(with_chain(slow)) == []
    assert critical(with_chain(replace(slow, head_age_s=37.0))) == ["head-stalled"]


def test_what_follows_from_a_silent_chain_is_left_out() -> None:
    dead = replace(CHAIN, endpoints=(replace(ENDPOINT, healthy=False),), head_age_s=60.0, head_late_s=60.0)
    snapshot = replace(HEALTHY, chains=(dead,), markets=(replace(MARKET, mirror_age_s=60.0),))
    assert critical(snapshot) == ["endpoints-down"]


def test_a_hung_keeper_is_told_from_a_stalled_chain() -> None:
    ahead = replace(CHAIN, head_age_s=20.0, endpoints=(replace(ENDPOINT, height=120),))
    [finding] = findings(with_chain(ahead))
    assert "the keeper itself hangs" in finding.text
    [finding] = findings(with_chain(replace(CHAIN, head_age_s=20.0)))
    assert "hangs" not in finding.text


def test_one_endpoint_of_two_that_fails_is_a_warning() -> None:
    chain = replace(CHAIN, endpoints=(ENDPOINT, replace(ENDPOINT, name="http://other", healthy=False)))
    [finding] = findings(with_chain(chain))
    assert (finding.name, finding.subject, finding.level) == ("endpoint-degraded", "http://other", Level.WARNING)


def test_a_second_signer_that_qualifies_is_enough() -> None:
    locked = replace(MARKET.signers[0], address="0x" + "22" * 20, allowed=False)
    assert critical(with_market(replace(MARKET, signers=(locked, *MARKET.signers)))) == []


def test_observing_and_pausing_are_deliberate() -> None:
    unqualified = replace(MARKET, signers=(replace(MARKET.signers[0], allowed=False),))
    assert critical(replace(with_market(unqualified), mode="observe")) == []
    [finding] = findings(replace(HEALTHY, paused=True))
    assert (finding.name, finding.level) == ("paused", Level.INFO)


def test_a_full_disk_is_one_trouble_whoever_notices_it() -> None:
    chain = replace(CHAIN, lanes=(replace(LANE, alerts={"journal": "disk full"}),))
    [finding] = findings(with_chain(chain))
    assert finding.key == "store-unwritable:store"


def test_a_lanes_warning_is_about_its_signer_or_the_account_it_names() -> None:
    alerts = {"low-balance": "little left", "account-stopped:lite:7": "left alone"}
    found = findings(with_chain(replace(CHAIN, lanes=(replace(LANE, alerts=alerts),))))
    assert [(f.name, f.subject, f.level) for f in found] == [
        ("low-balance", SIGNER, Level.WARNING),
        ("account-stopped", "lite:7", Level.WARNING),
    ]


def test_an_expired_price_is_a_warning_with_patience() -> None:
    price = replace(FIGURES.prices[0], expires_in_s=-1.0)
    [finding] = findings(with_market(replace(MARKET, figures=replace(FIGURES, prices=(price,)))))
    assert (finding.name, finding.level, finding.patience_s) == ("price-expired", Level.WARNING, 30.0)
