"""What a unit of gas will cost and what we are ready to pay for it. Pure functions; nothing here asks a node.

A fee policy turns what is known of the market for block space into the fees of one transaction. It is chosen by name
(``POLICIES``); whatever it answers is cut to the ceiling by ``bid``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from keeper.chain.transaction import Fees
from keeper.model import Header

TRANSFER_GAS = 21_000
"""Gas of a plain transfer (yellow paper, G_transaction): what a cancellation costs."""

_BUMP_NUMERATOR, _BUMP_DENOMINATOR = 9, 8
"""A replacement has to raise both fees by 12.5%, the most that any common node demands (geth asks for 10%)."""

_MAX_ESCALATION = 6
"""Escalation ends at 1.125 ** 6, about twice the fees before."""


@dataclass(frozen=True, slots=True)
class FeeRules:
    """How a chain moves its base fee. The defaults are Ethereum's (EIP-1559); OP-stack chains use others."""

    elasticity: int = 2
    denominator: int = 8


ETHEREUM = FeeRules()


@dataclass(frozen=True, slots=True)
class FeeMarket:
    """What is known, without asking, about the price of the next block's gas."""

    base_fee_wei: int | None
    """Of the next block; None on a chain without EIP-1559."""
    recent_tips_wei: tuple[int, ...] = ()
    """Tips that recent blocks paid at the configured percentile (``eth_feeHistory``), oldest first."""
    gas_price_wei: int = 0
    """``eth_gasPrice`` as last seen; only the legacy policy looks at it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Why we want the gas: what the transaction earns, how long it has waited, and how often we have been outbid."""

    reward_wei: int
    gas_limit: int
    age_blocks: int = 0
    losses: int = 0
    """Competitions lost in a row in this market."""


@dataclass(frozen=True, slots=True)
class FeeSettings:
    """The operator's wishes. ``max_fee_wei`` is the ceiling per unit of gas."""

    policy: str = "fixed-tip"
    tip_wei: int = 10**9
    max_fee_wei: int = 50 * 10**9
    tip_percentile: int = 60
    headroom_percent: int = 200
    """``max_wei`` is this share of the next base fee, plus the tip: 200% stays valid for six full blocks in a row."""
    share_percent: int = 30
    """Profit share: the tip takes at most this part of what is left of the reward after the base fee."""
    share_start_percent: int = 5
    share_step_percent: int = 5
    """How much the share rises with each block waited and each competition lost."""


def next_base_fee_wei(header: Header, rules: FeeRules = ETHEREUM) -> int | None:
    """The base fee of the block after ``header`` (EIP-1559, ``calc base fee``); None if the chain has none."""
    base = header.base_fee_per_gas_wei
    if base is None:
        return None
    target = header.gas_limit // rules.elasticity
    if target in (0, header.gas_used):
        return base
    change = base * abs(header.gas_used - target) // target // rules.denominator
    return base + max(change, 1) if header.gas_used > target else base - change


def fixed_tip(settings: FeeSettings, market: FeeMarket, demand: Demand) -> Fees:
    """The configured tip, always."""
    return _dynamic(settings, market, settings.tip_wei)


def percentile_tip(settings: FeeSettings, market: FeeMarket, demand: Demand) -> Fees:
    """The median of what recent blocks paid at the configured percentile, and at least the configured tip."""
    tips = sorted(market.recent_tips_wei)
    return _dynamic(settings, market, max(settings.tip_wei, tips[len(tips) // 2] if tips else 0))


def profit_share(settings: FeeSettings, market: FeeMarket, demand: Demand) -> Fees:
    """A part of the expected profit, rising with age and with losses to competitors; at least the configured tip."""
    share = settings.share_start_percent + settings.share_step_percent * (demand.age_blocks + demand.losses)
    profit_wei = max(0, demand.reward_wei - demand.gas_limit * (market.base_fee_wei or 0))
    tip_wei = profit_wei * min(share, settings.share_percent) // 100 // demand.gas_limit
    return _dynamic(settings, market, max(settings.tip_wei, tip_wei))


def legacy(settings: FeeSettings, market: FeeMarket, demand: Demand) -> Fees:
    """A gas price, for chains without EIP-1559: what the node last said, plus the configured tip."""
    return Fees(market.gas_price_wei + settings.tip_wei, None)


FeePolicy = Callable[[FeeSettings, FeeMarket, Demand], Fees]

POLICIES: Mapping[str, FeePolicy] = {
    "fixed-tip": fixed_tip,
    "percentile-tip": percentile_tip,
    "profit-share": profit_share,
    "legacy": legacy,
}


def bid(settings: FeeSettings, market: FeeMarket, demand: Demand, floor: Fees | None = None) -> Fees | None:
    """The fees to send with: the policy's answer, at least ``floor``, at most the ceiling.

    None when the next block can't be reached under the ceiling. The ceiling is the operator's, or what a unit of gas
    may cost for the reward to cover the whole gas limit, whichever is lower.
    """
    ceiling_wei = ceiling(settings, demand)
    fees = POLICIES[settings.policy](settings, market, demand)
    if floor is not None:
        fees = _at_least(fees, floor)
        if floor.max_wei > ceiling_wei:
            return None
    fees = _at_most(fees, ceiling_wei)
    return fees if reaches(fees, market) else None


def ceiling(settings: FeeSettings, demand: Demand) -> int:
    """The most that a unit of gas may cost this transaction, in wei."""
    return min(settings.max_fee_wei, demand.reward_wei // demand.gas_limit)


def reaches(fees: Fees, market: FeeMarket) -> bool:
    """Whether a transaction with these fees can be mined in the next block at all."""
    if market.base_fee_wei is None or fees.tip_wei is None:
        return fees.max_wei > 0
    return fees.max_wei >= market.base_fee_wei


def next_fees(previous: Fees, market: Fees, age_blocks: int, ceiling_wei: int) -> Fees | None:
    """The fees of a replacement: no less than a node demands, than the market asks, than its age deserves.

    ``previous`` is what the nonce was last offered with, ``market`` what a fresh transaction would offer now,
    ``age_blocks`` how long the last offer has stood. Every block of age is one more bump of 12.5%, up to six. None if
    even the least replacement that a node accepts is over the ceiling: then waiting is all that is left.
    """
    floor = bumped(previous)
    if floor.max_wei > ceiling_wei:
        return None
    wanted = previous
    for _ in range(min(max(age_blocks, 1), _MAX_ESCALATION)):
        wanted = bumped(wanted)
    return _at_least(_at_most(_at_least(wanted, market), ceiling_wei), floor)


def bumped(fees: Fees) -> Fees:
    """The least fees that replace ``fees`` at every common node."""
    return Fees(_bump(fees.max_wei), None if fees.tip_wei is None else _bump(fees.tip_wei))


def cheaper_to_cancel(pending: Fees, gas_limit: int, cancellation: Fees, base_fee_wei: int) -> bool:
    """Whether a transfer to oneself costs less than letting a useless transaction revert.

    A revert late in a liquidation burns nearly as much as a success, so it is priced at its whole gas limit.
    """
    return TRANSFER_GAS * cancellation.price_at(base_fee_wei) < gas_limit * pending.price_at(base_fee_wei)


def tips_of_history(reward: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tips in the ``reward`` field of ``eth_feeHistory`` asked with one percentile; empty blocks are left out."""
    return tuple(row[0] for row in reward if row and row[0] > 0)


def _dynamic(settings: FeeSettings, market: FeeMarket, tip_wei: int) -> Fees:
    base_wei = market.base_fee_wei or 0
    return Fees(base_wei * settings.headroom_percent // 100 + tip_wei, tip_wei)


def _bump(value: int) -> int:
    # At least one wei more: a tip of zero has to rise as well.
    return max(value + 1, -(-value * _BUMP_NUMERATOR // _BUMP_DENOMINATOR))


def _at_least(fees: Fees, floor: Fees) -> Fees:
    tip = None if fees.tip_wei is None or floor.tip_wei is None else max(fees.tip_wei, floor.tip_wei)
    return Fees(max(fees.max_wei, floor.max_wei), tip)


def _at_most(fees: Fees, ceiling_wei: int) -> Fees:
    maximum = min(fees.max_wei, ceiling_wei)
    return Fees(maximum, None if fees.tip_wei is None else min(fees.tip_wei, maximum))
