"""What a replay finds: each liquidation that happened or could have happened, ours beside theirs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

_WEI = 10**18


@dataclass(frozen=True, slots=True)
class Ours:
    """Where the keeper would have liquidated: the first block for which it decided so."""

    block: int
    timestamp: int
    reward_b0: int
    value_wei: int
    gas_limit: int
    fee_wei: int
    """At the whole gas limit."""
    refusal: str
    """Why the configured liquidator might not have, then; empty if it might."""

    @property
    def profit_wei(self) -> int:
        return self.value_wei - self.fee_wei


@dataclass(frozen=True, slots=True)
class Theirs:
    """Where the account was really liquidated."""

    block: int
    timestamp: int
    transaction_hash: str
    by: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One account's fall. ``reason`` says why it was not seen, or how it ended without anybody's liquidation."""

    account: str
    ours: Ours | None = None
    theirs: Theirs | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """Ours against theirs, in a word or two."""
        if self.theirs is None:
            return "nobody did"
        if self.ours is None:
            return "not seen"
        blocks = self.theirs.block - self.ours.block
        return f"earlier by {blocks}" if blocks else "in the same block"


@dataclass(frozen=True, slots=True)
class Line:
    """A finding as it is written out, amounts of the reward and of gas in raw units."""

    market: str
    account: str
    verdict: str
    our_block: int | None
    our_timestamp: int | None
    reward_raw: str
    reward: float | None
    """In the unit of account, as is ``profit``."""
    gas_limit: int | None
    fee_wei: str
    profit: float | None
    refusal: str
    their_block: int | None
    their_timestamp: int | None
    their_transaction: str
    their_address: str
    reason: str


def line_of(market: str, finding: Finding, native_price_e18: int) -> Line:
    """One finding written out. ``native_price_e18`` is what a native coin is worth in the unit of account."""
    ours, theirs = finding.ours, finding.theirs

    def worth(wei: int) -> float:
        return wei * native_price_e18 / _WEI / _WEI

    return Line(
        market=market,
        account=finding.account,
        verdict=finding.verdict,
        our_block=ours.block if ours else None,
        our_timestamp=ours.timestamp if ours else None,
        reward_raw=str(ours.reward_b0) if ours else "",
        reward=worth(ours.value_wei) if ours else None,
        gas_limit=ours.gas_limit if ours else None,
        fee_wei=str(ours.fee_wei) if ours else "",
        profit=worth(ours.profit_wei) if ours else None,
        refusal=ours.refusal if ours else "",
        their_block=theirs.block if theirs else None,
        their_timestamp=theirs.timestamp if theirs else None,
        their_transaction=theirs.transaction_hash if theirs else "",
        their_address=theirs.by if theirs else "",
        reason=finding.reason,
    )


def as_csv(lines: Iterable[Line]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Line)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return out.getvalue()


def as_json(lines: Iterable[Line]) -> str:
    return json.dumps([asdict(line) for line in lines], indent=2) + "\n"


def dump(findings: Sequence[Finding]) -> bytes:
    """For the store; ``load`` takes it back."""
    return json.dumps([asdict(finding) for finding in findings]).encode()


def load(payload: bytes) -> list[Finding]:
    return [
        Finding(
            account=each["account"],
            ours=Ours(**each["ours"]) if each["ours"] else None,
            theirs=Theirs(**each["theirs"]) if each["theirs"] else None,
            reason=each["reason"],
        )
        for each in json.loads(payload)
    ]
