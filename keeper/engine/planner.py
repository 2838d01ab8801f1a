"""Which liquidations to send now, in which order, and which to leave: a pure function of one round.

The planner walks the candidates from the most valuable down, asks for the exact verdict on each in the round's
present state, and closes in the round what it takes. So every later verdict already sees the price-shift guard, the
pool and the funding that the earlier ones leave behind, and a block is filled with what will succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from keeper.engine.room import Room
from keeper.model import Liquidation, Verdict, Window
from keeper.protocols.market import Round

_WEI = 10**18


@dataclass(frozen=True, slots=True)
class Terms:
    """What a liquidation has to be worth.

    ``native_price_e18`` is one native coin in the market's unit of account; ``fee_per_gas_wei`` what a unit of gas is
    expected to cost; ``data_fee_wei`` an L2's fee for call data of a given length.
    """

    native_price_e18: int
    min_profit_e18: int
    fee_per_gas_wei: int
    data_fee_wei: Callable[[int], int] = lambda _length: 0

    def value_wei(self, value_e18: int) -> int:
        """A value in the unit of account, converted to wei of the native coin (rounded down)."""
        return value_e18 * _WEI // self.native_price_e18


@dataclass(frozen=True, slots=True)
class Skip:
    """A candidate that is left, and why. ``lasting`` ones are worth a row in the journal."""

    account: str
    reason: str
    reward_b0: int = 0
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An account that is on its way, and whose transaction would revert in the next block: it is healthy again at the
    present prices, or the guard will not let it pass behind those before it."""

    account: str
    reason: str


def decide(
    market: str,
    round_: Round,
    window: Window,
    terms: Terms,
    *,
    in_flight: Iterable[str] = (),
    call_data: Callable[[str], bytes] = lambda _account: b"",
    held_back: Container[str] = (),
    room: Room,
    seen_ns: int,
    now_ns: Callable[[], int],
) -> Iterator[Liquidation | Skip | Withdrawal]:
    """Decide on one block's liquidations, one by one, so that the first can leave before the last is decided.

    ``in_flight`` are the accounts that earlier transactions for the same block will close, oldest first: they are
    closed in the round before anything else is decided. What is healthy again by newer prices is left on its way while
    the prices in its ``call_data`` still count; then what is decided now has to come ``behind`` it. ``held_back``
    accounts (paused after a revert, or waiting for the mirror to see their end) are passed over. What is decided fits
    the block's ``room`` behind what is in flight.
    """
    pending = tuple(in_flight)
    behind = False
    for account in pending:
        assessment = round_.assess(account)
        if assessment.verdict is Verdict.LIQUIDATABLE:
            round_.close(account)
            room.take(assessment.gas)
        elif assessment.verdict is Verdict.WAITS:
            yield Withdrawal(account, assessment.reason)
        elif assessment.verdict is Verdict.HEALTHY:
            sent = round_.assess_sent(account, call_data(account))
            if sent.verdict is Verdict.LIQUIDATABLE:
                behind = True
                room.take(sent.gas)
            else:
                yield Withdrawal(account, assessment.reason)
    for account in round_.candidates():
        if room.full:
            return
        if account in held_back or account in pending:
            continue
        assessment = round_.assess(account)
        if assessment.verdict is Verdict.HEALTHY:
            continue
        if assessment.verdict is not Verdict.LIQUIDATABLE:
            lasting = assessment.verdict is Verdict.UNASSESSABLE
            yield Skip(account, assessment.reason, assessment.reward_b0, lasting)
            continue
        call = round_.call(account)
        if not room.fits(call.gas_limit):
            yield Skip(account, "no room in this block's gas limit", assessment.reward_b0, lasting=False)
            continue
        cost_wei = call.gas_limit * terms.fee_per_gas_wei + terms.data_fee_wei(len(call.data))
        reward_wei = terms.value_wei(assessment.value_e18)
        if reward_wei < cost_wei + terms.value_wei(terms.min_profit_e18):
            yield Skip(account, "the reward does not cover the gas", assessment.reward_b0)
            continue
        round_.close(account)
        room.take(call.gas_limit)
        yield Liquidation(
            market=market,
            account=account,
            to=call.to,
            data=call.data,
            gas_limit=call.gas_limit,
            reward_b0=assessment.reward_b0,
            reward_wei=reward_wei,
            seen_ns=seen_ns,
            decided_ns=now_ns(),
            number=window.number,
            behind=behind,
        )
