"""Closings that pay nobody (state 2): whether to spend gas on them is the operator's policy, not a matter of profit."""

from __future__ import annotations

import enum
import json
from collections import deque
from dataclasses import dataclass

from keeper.errors import StoreError

DAY_S = 86_400
_E18 = 10**18


class Policy(enum.StrEnum):
    NEVER = "never"
    ALWAYS = "always"
    BUDGET = "budget"


@dataclass(frozen=True, slots=True)
class UnpaidTerms:
    """What the operator will spend on closings that pay nobody."""

    policy: Policy = Policy.NEVER
    most_wei: int = 0
    """The most that one closing may cost."""
    budget_wei: int = 0
    """The most that a day's may cost; for ``BUDGET``."""
    native_price_e18: int = _E18
    """What one native coin is worth in USD."""
    min_profit_e18: int = 0
    """Asked of every liquidation; granted on top, since these can't earn it."""


class UnpaidBudget:
    """Owns what was spent on such closings in the last day."""

    def __init__(self, terms: UnpaidTerms) -> None:
        self._terms = terms
        self._spent: deque[tuple[int, int]] = deque()

    def grant_e18(self, reserved: int, now: int) -> int:
        """What one more closing is worth to the operator in USD, when ``reserved`` others are on their way."""
        terms = self._terms
        if terms.policy is Policy.NEVER:
            return 0
        grant_wei = terms.most_wei
        if terms.policy is Policy.BUDGET:
            grant_wei = min(grant_wei, terms.budget_wei - self.spent_wei(now) - reserved * terms.most_wei)
        return grant_wei * terms.native_price_e18 // _E18 + terms.min_profit_e18 if grant_wei > 0 else 0

    def spent_wei(self, now: int) -> int:
        """What the last day's closings have cost."""
        return sum(fee_wei for at, fee_wei in self._spent if at > now - DAY_S)

    def record(self, fee_wei: int, now: int) -> None:
        """One closing that paid nobody was mined."""
        self._spent.append((now, fee_wei))
        while self._spent and self._spent[0][0] <= now - DAY_S:
            self._spent.popleft()

    def dump(self) -> bytes:
        return json.dumps(list(self._spent)).encode()

    def load(self, payload: bytes) -> None:
        """Take over what ``dump`` gave. Raises ``StoreError`` if it is not that."""
        try:
            self._spent = deque((int(at), int(fee_wei)) for at, fee_wei in json.loads(payload))
        except (TypeError, ValueError) as error:
            raise StoreError("what unpaid closings cost", f"{error}", "it is counted anew") from error
