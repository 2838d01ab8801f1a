"""A rehearsal: each account is brought past its trigger on a fork of the head, and liquidated there.

It proves that today's configuration, rights, gas model and call data work against today's contracts. Nothing leaves
this machine.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from keeper.chain.anvil import find_anvil
from keeper.chain.calls import PinnedReader
from keeper.chain.configured import endpoints_of, lane_settings_of, liquidators_of
from keeper.chain.fork import Call, Executed, Fork, GasPrice, open_fork
from keeper.chain.gas import next_base_fee_wei
from keeper.chain.logs import PastLogs
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError, KeeperError
from keeper.market_desk import LISTEN_S, head_of, hear_prices
from keeper.model import Header, Outcome, OutcomeState, Verdict, Window
from keeper.protocols.market import Market, Trigger
from keeper.protocols.registry import Stage, figures_of, make_market, nearest_of, stage_of, triggers_of, unassessable_of
from keeper.settings import ChainSettings, Settings

BEYOND_PERCENT = 1
"""How far past its trigger a price is moved, in percent of the way there; and at least ``BEYOND_PPM`` of the price."""
BEYOND_PPM = 500
_MILLION = 10**6


class Result(enum.StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    """No price makes the account liquidatable: there is nothing to rehearse."""


@dataclass(frozen=True, slots=True)
class Act:
    """What became of one account; or, with an empty ``account``, why many could not be rehearsed."""

    market: str
    account: str
    result: Result
    reason: str = ""
    trigger: Trigger | None = None
    promised_b0: int = 0
    reward_b0: int = 0
    reward_decimals: int = 18
    gas_limit: int = 0
    gas_used: int = 0


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who takes part in a rehearsal."""

    name: str
    market: Market
    stage: Stage
    fork: Fork
    liquidator: str
    head: Header
    gas: GasPrice
    reward_decimals: int


def _untold(_count: int) -> None:
    """Nobody wants to know how many there are."""


async def rehearse(
    settings: Settings, name: str, count: int, expect: Callable[[int], None] = _untold
) -> AsyncIterator[Act]:
    """Rehearse the accounts nearest to liquidation of one market. ``expect`` is told how many once that is known.

    Raises ``ConfigError`` without Anvil, ``ChainError`` if the fork is lost meanwhile.
    """
    wanted = settings.markets[name]
    chain = settings.chains[wanted.chain]
    liquidators = liquidators_of(wanted.chain, chain)
    anvil = find_anvil(settings.fork.anvil)
    async with (
        Rpc(endpoints_of(chain), chain.chain_id) as rpc,
        open_fork(anvil, chain.endpoints, chain.chain_id) as fork,
    ):
        # The market is read from the node: a fork would fetch it slot by slot. What is moved is read from the fork.
        head = await head_of(rpc)
        market = make_market(name, wanted, liquidators, None, PastLogs(rpc))
        try:
            await market.bootstrap(PinnedReader(rpc), head)
            await hear_prices(market, LISTEN_S)
            standing = nearest_of(market, _next(head), count)
            await fork.stand_at(head)
            stage = stage_of(market, fork)
            ready = await stage.prepare(head)
        except KeeperError as error:
            yield Act(name, "", Result.FAILED, str(error))
            return
        figures = figures_of(market)
        decimals = figures.decimals if figures is not None else 18
        cast = _Cast(name, market, stage, fork, liquidators[0], ready, _gas_price(chain, ready), decimals)
        for reason, accounts in unassessable_of(market).items():
            yield Act(name, "", Result.FAILED, f"{accounts} accounts can't be assessed: {reason}")
        expect(len(standing))
        for _, account in standing:
            try:
                act = await _act(cast, account)
            except ChainError as error:
                raise ChainError(
                    f"the fork to answer while {account} was rehearsed",
                    error.came,
                    "Anvil has ended, or the node behind it does not answer: run it again",
                ) from None
            yield act


async def _act(cast: _Cast, account: str) -> Act:
    """Bring one account down on the fork, and take the fork back."""
    window = _next(cast.head)
    right = cast.market.eligibility(cast.liquidator, window.latest)
    if not right.allowed:
        reason = f"{cast.liquidator} may not liquidate: {right.reason}, {right.detail}"
        return Act(cast.name, account, Result.FAILED, reason)
    found = triggers_of(cast.market, account, window)
    trigger = next((each for each in found if cast.stage.preferred(each)), found[0] if found else None)
    if trigger is None:
        return Act(cast.name, account, Result.UNREACHABLE, "no price alone makes it liquidatable")
    snapshot = await cast.fork.snapshot()
    try:
        return await _bring_down(cast, account, trigger)
    except ChainError:
        raise
    except KeeperError as error:
        return Act(cast.name, account, Result.FAILED, str(error), trigger)
    finally:
        await cast.fork.revert(snapshot)
        await cast.stage.restore(cast.head)


async def _bring_down(cast: _Cast, account: str, trigger: Trigger) -> Act:
    head = await cast.stage.move(trigger, beyond(trigger), cast.head)
    window = _next(head)
    opened = cast.market.round(window)
    assessment = opened.assess(account)
    if assessment.verdict is not Verdict.LIQUIDATABLE:
        reason = f"past its trigger it is {assessment.verdict.value}: {assessment.reason}"
        return Act(cast.name, account, Result.FAILED, reason, trigger)
    call = opened.call(account)
    [executed] = await cast.fork.execute(
        [Call(call.to, call.data, call.gas_limit)], cast.liquidator, timestamp=window.latest, gas=cast.gas
    )
    reward_b0 = _reward_b0(cast.market, cast.name, account, executed) if executed.ok else 0
    reason = ""
    if not executed.ok:
        reason = f"{executed.reason} (gas limit {call.gas_limit:,}, used {executed.gas_used:,})"
    elif reward_b0 < assessment.reward_b0:
        reason = f"it paid {reward_b0}, and at least {assessment.reward_b0} was promised"
    return Act(
        market=cast.name,
        account=account,
        result=Result.FAILED if reason else Result.PASSED,
        reason=reason,
        trigger=trigger,
        promised_b0=assessment.reward_b0,
        reward_b0=reward_b0,
        reward_decimals=cast.reward_decimals,
        gas_limit=call.gas_limit,
        gas_used=executed.gas_used,
    )


def _reward_b0(market: Market, name: str, account: str, executed: Executed) -> int:
    outcome = Outcome(name, account, OutcomeState.MINED, logs=executed.logs, gas_used=executed.gas_used)
    return market.realised_reward_b0(outcome, executed.logs)


def beyond(trigger: Trigger) -> int:
    """A value some way past the trigger: funding moves it by the second. What is past it already stays."""
    way = trigger.value - trigger.now
    if not way:
        return trigger.value
    further = max(abs(way) * BEYOND_PERCENT // 100, trigger.value * BEYOND_PPM // _MILLION)
    return trigger.value + further if way > 0 else trigger.value - further


def _next(head: Header) -> Window:
    return Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)


def _gas_price(chain: ChainSettings, head: Header) -> GasPrice:
    lane = lane_settings_of(chain)
    base_fee_wei = next_base_fee_wei(head, lane.fee_rules)
    return GasPrice(base_fee_wei, (base_fee_wei or 0) + lane.fees.tip_wei)
