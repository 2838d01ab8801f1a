"""What a replay writes, and how it finds signed prices in the calls of the past."""

from __future__ import annotations

import csv
import io
import json

from keeper.replay.findings import Finding, Ours, Theirs, as_csv, as_json, dump, line_of, load

OURS = Ours(block=100, timestamp=1000, reward_b0=7, value_wei=3 * 10**18, gas_limit=5, fee_wei=10**18, refusal="")
THEIRS = Theirs(block=103, timestamp=1009, transaction_hash="0xab", by="0xRival")


def test_ours_is_held_against_theirs() -> None:
    assert Finding("a", OURS, THEIRS).verdict == "earlier by 3"
    assert Finding("a", OURS, Theirs(100, 1000, "0xab", "0xRival")).verdict == "in the same block"
    assert Finding("a", None, THEIRS, "cannot liquidate").verdict == "not seen"
    assert Finding("a", OURS).verdict == "nobody did"


def test_a_line_is_in_the_unit_of_account_and_the_same_in_both_formats() -> None:
    lines = [line_of("lite", each, 300 * 10**18) for each in (Finding("a", OURS, THEIRS), Finding("b", None, THEIRS))]
    assert (lines[0].reward, lines[0].profit) == (900.0, 600.0)
    assert (lines[1].reward, lines[1].our_block) == (None, None)
    [first, second] = csv.DictReader(io.StringIO(as_csv(lines)))
    assert (first["our_block"], first["their_block"], first["profit"]) == ("100", "103", "600.0")
    assert (second["our_block"], second["verdict"]) == ("", "not seen")
    assert [each["account"] for each in json.loads(as_json(lines))] == ["a", "b"]


def test_what_is_kept_comes_back_the_same() -> None:
    findings = [Finding("a", OURS, THEIRS), Finding("b", OURS), Finding("c", None, THEIRS, "why")]
    assert load(dump(findings)) == findings
