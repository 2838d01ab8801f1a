"""The book never misses an account that the contract would liquidate, at any second of the window."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.fixed import ONE
from keeper.protocols.deri.book import Book
from keeper.protocols.deri.settle import decide
from keeper.protocols.deri.state import AccountState, MarketState
from keeper.protocols.deri.symbols import Prepared, prepare
from tests.property.deri_markets import NOW, NUMBER, random_market

MARKETS = 10_000


def _seconds(market: MarketState, length: int) -> list[Prepared]:
    prepared = [prepare(market, NUMBER, NOW)]
    for second in range(1, length + 1):
        prepared.append(prepare(market, NUMBER, NOW + second, prepared[0]))
    return prepared


def _gross(account: AccountState, seconds: list[Prepared]) -> int:
    """What the account's rounding error is proportional to, and what its symbols' funding can do within the window."""
    first, last = seconds[0].symbols, seconds[-1].symbols
    scaled = 0
    for position in account.positions:
        now, then = first[position.symbol_id], last[position.symbol_id]
        worth = abs(now.price) + now.maintenance_per_volume + abs(now.cumulative_funding)
        worth += abs(position.cumulative_funding_per_volume) + abs(position.cost)
        window = abs(then.cumulative_funding - now.cumulative_funding)
        scaled += abs(position.volume) * (worth + window * 10**12) // ONE + abs(position.cost)
    return scaled


def test_none_is_missed_in_ten_thousand_markets() -> None:
    seen: Counter[str] = Counter()
    for seed in range(MARKETS):
        market = random_market(seed)
        seconds = _seconds(market, seed % 4)
        book = Book(market.accounts.values())
        screen = book.screen(seconds[0], seconds[-1])
        candidates = set(screen.candidates)
        unassessable = book.unassessable(screen)
        for p_token_id, account in market.accounts.items():
            decisions = [decide(prepared, account) for prepared in seconds]
            if any(not decision.reason or decision.waits for decision in decisions):
                doubtful = any(seconds[0].symbols[held].doubt for held in account.active_symbols)
                seen["liquidatable"] += 1
                assert p_token_id in (unassessable if doubtful else candidates), (seed, p_token_id)
            elif all(decision.settled for decision in decisions) and p_token_id not in unassessable:
                slack = min(decision.margin - decision.required for decision in decisions)
                clear = slack > _gross(account, seconds) // 10**12 + abs(account.amount_b0) // 10**12 + 200
                if clear and account.positions and _plain(account, seconds):
                    seen["clearly healthy"] += 1
                    assert p_token_id not in candidates, (seed, p_token_id)
            if p_token_id in unassessable:
                seen["not assessable"] += 1
                assert p_token_id not in candidates
            elif any(seconds[0].symbols[held].failure for held in account.active_symbols):
                seen["fails at one end"] += 1
    assert seen["liquidatable"] > 5_000, seen
    assert seen["clearly healthy"] > 5_000, seen
    assert seen["not assessable"] > 500, seen


def _plain(account: AccountState, seconds: list[Prepared]) -> bool:
    """Whether funding is far from wrapping; else the account is reported without being screened."""
    limit = 2**199
    return all(
        abs(held.cumulative_funding_per_volume) < limit
        and abs(seconds[0].symbols[held.symbol_id].cumulative_funding) < limit
        and held.volume != 0
        for held in account.positions
    )


@settings(max_examples=150, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40), order=st.randoms(use_true_random=False))
def test_a_book_kept_up_equals_a_book_built_anew(seed: int, order: Random) -> None:
    market, other = random_market(seed), random_market(seed + 1)
    kept = Book(other.accounts.values())
    for p_token_id in other.accounts:
        if p_token_id not in market.accounts or p_token_id % 2:
            kept.remove(p_token_id)
    arriving = list(market.accounts.values())
    order.shuffle(arriving)
    for account in arriving:
        kept.put(account)
    for p_token_id in set(other.accounts) - set(market.accounts):
        kept.remove(p_token_id)
    built = Book(market.accounts.values())
    first, last = _seconds(market, 1)
    assert len(kept) == len(built) == len(market.accounts)
    assert set(kept.screen(first, last).candidates) == set(built.screen(first, last).candidates)
    ours, theirs = kept.slack(first), built.slack(first)
    for p_token_id in market.accounts:
        mine, its = kept.column_of(p_token_id), built.column_of(p_token_id)
        assert mine is not None
        assert its is not None
        assert np.isclose(ours[mine], theirs[its], rtol=1e-6, atol=1e3, equal_nan=True) or _rounding(
            market, p_token_id, ours[mine] - theirs[its]
        )


def _rounding(market: MarketState, p_token_id: int, difference: float) -> bool:
    account = market.accounts[p_token_id]
    return abs(difference) <= float(_gross(account, _seconds(market, 0)) + abs(account.amount_b0)) * 1e-12
