"""A judgement over a window says what every second of it says."""

from __future__ import annotations

from collections import Counter

from keeper.model import Verdict, Window
from keeper.protocols.deri.outlook import Outlook
from keeper.protocols.deri.settle import Decision, decide
from keeper.protocols.deri.state import MarketState
from keeper.protocols.deri.symbols import Prepared, prepare
from tests.property.deri_markets import NOW, NUMBER, random_market

LENGTH_S = 4
MARKETS = 1_500


def _every_second(market: MarketState) -> list[Prepared]:
    first = prepare(market, NUMBER, NOW)
    return [first, *(prepare(market, NUMBER, NOW + second, first) for second in range(1, LENGTH_S + 1))]


def _expected(decisions: list[Decision]) -> set[Verdict]:
    succeeds = [not decision.reason for decision in decisions]
    if all(succeeds):
        return {Verdict.LIQUIDATABLE}
    if any(succeeds):
        return {Verdict.MARGINAL}
    if any(decision.waits for decision in decisions):
        return {Verdict.WAITS}
    healthy = [one.settled and (one.required <= 0 or one.margin >= one.required) for one in decisions]
    if all(healthy):
        return {Verdict.HEALTHY}
    if any(healthy):
        return {Verdict.HEALTHY, Verdict.UNASSESSABLE}
    return {Verdict.UNASSESSABLE}


def test_every_verdict_is_that_of_all_seconds_together() -> None:
    seen: Counter[Verdict] = Counter()
    only_within = 0
    for seed in range(MARKETS):
        market = random_market(seed)
        seconds = _every_second(market)
        outlook = Outlook(market, Window(NUMBER, NOW, NOW + LENGTH_S))
        for account in market.accounts.values():
            judged = outlook.judge(account)
            seen[judged.verdict] += 1
            if any(seconds[0].symbols[held].doubt for held in account.active_symbols):
                assert judged.verdict is Verdict.UNASSESSABLE
                continue
            decisions = [decide(prepared, account) for prepared in seconds]
            assert judged.verdict in _expected(decisions), (seed, account.p_token_id)
            assert (judged.reason == "") is (judged.verdict is Verdict.LIQUIDATABLE)
            liquidatable = [not decision.reason for decision in decisions]
            only_within += liquidatable[0] is liquidatable[-1] and len(set(liquidatable)) == 2
    assert all(seen[verdict] >= 50 for verdict in Verdict), seen
    assert only_within >= 1
