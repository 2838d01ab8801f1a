"""The prices at which an account becomes liquidatable, each price moving alone: found with the exact engine.

The engine has no inverse (options and powers bend, rewards and guards have corners), so the price is bracketed by
growing steps and then halved. An island of liquidatable prices between two steps may be missed.
"""

from __future__ import annotations

from dataclasses import replace

from keeper.fixed import rescale
from keeper.model import Verdict, Window
from keeper.protocols.deri.outlook import Judgement, Outlook
from keeper.protocols.deri.state import AccountState, MarketState
from keeper.protocols.market import Trigger

STEPS_PERCENT = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
LOWEST_PERCENT = -99
HALVINGS = 36
"""Of a step: a price within some 1e-10 of the exact one."""
DECIMALS = 18


def triggers(state: MarketState, account: AccountState, window: Window) -> list[Trigger]:
    """An account's triggers, nearest first; of each price the nearer one of rise and fall, none if neither hurts.

    ``state`` carries the prices of now. An account that is liquidatable already has its triggers at the prices of now.
    """
    ids = dict.fromkeys(
        symbol.params.price_id
        for position in account.positions
        if (symbol := state.symbols.get(position.symbol_id)) is not None
    )
    held = {position.symbol_id for position in account.positions}
    small = replace(state, symbols={key: symbol for key, symbol in state.symbols.items() if key in held})
    found = []
    for price_id in ids:
        if price_id in state.oracles:
            sides = [_trigger(small, account, window, price_id, direction) for direction in (-1, 1)]
            reached = [trigger for trigger in sides if trigger is not None]
            if reached:
                found.append(min(reached, key=_distance))
    return sorted(found, key=_distance)


def with_price(state: MarketState, price_id: str, value: int) -> MarketState:
    """The market with one oracle at another value."""
    return replace(state, oracles={**state.oracles, price_id: replace(state.oracles[price_id], value=value)})


def _trigger(
    state: MarketState, account: AccountState, window: Window, price_id: str, direction: int
) -> Trigger | None:
    oracle = state.oracles[price_id]
    now, safe = oracle.value, None
    for step in STEPS_PERCENT:
        value = now * (100 + max(direction * step, LOWEST_PERCENT)) // 100
        judged = _judge(state, account, window, price_id, value)
        if _falls(judged):
            break
        safe = value
    else:
        return None
    for _ in range(HALVINGS if safe is not None else 0):
        assert safe is not None
        middle = (safe + value) // 2
        if middle in (safe, value):
            break
        at_middle = _judge(state, account, window, price_id, middle)
        if _falls(at_middle):
            value, judged = middle, at_middle
        else:
            safe = middle
    value_e18 = rescale(judged.reward_b0, state.pool.decimals_b0, 18)
    return Trigger(price_id, oracle.name, now, value, DECIMALS, judged.reward_b0, value_e18)


def _judge(state: MarketState, account: AccountState, window: Window, price_id: str, value: int) -> Judgement:
    return Outlook(with_price(state, price_id, value), window).judge(account)


def _falls(judged: Judgement) -> bool:
    """Below the requirement; one that only waits for the price-shift guard is."""
    return judged.verdict in (Verdict.LIQUIDATABLE, Verdict.WAITS)


def _distance(trigger: Trigger) -> float:
    return abs(trigger.percent)
