"""What to do about a transaction in flight when a new head came without it. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from keeper.chain.gas import (
    POLICIES,
    TRANSFER_GAS,
    Demand,
    FeeMarket,
    FeeSettings,
    ceiling,
    cheaper_to_cancel,
    next_fees,
    reaches,
)
from keeper.chain.nonces import Slot
from keeper.chain.transaction import Fees


class Step(enum.Enum):
    LEAVE = "leave"
    RESEND = "resend"
    REPLACE = "replace"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Move:
    """``fees`` is what a replacement or a cancellation offers."""

    step: Step
    fees: Fees | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a slot finds around it at a new head."""

    head: int
    market: FeeMarket
    settings: FeeSettings
    patience_blocks: int
    executable: bool
    """Every lower nonce is used: it is this one's turn."""
    blocks_reward_wei: int
    """What the live transactions behind it are expected to earn."""
    losses: int = 0
    resend_blocks: int = 2


def tend(slot: Slot, around: Circumstances) -> Move:
    """The move for a live slot that no receipt settled."""
    form, settings = slot.current, around.settings
    age = around.head - form.made_at
    if slot.useless and not form.cancels:
        # One round passes first: the next liquidation may take the nonce, which costs nothing extra.
        if slot.useless_since >= around.head:
            return Move(Step.LEAVE)
        fees = cancellation(slot, around)
        worthwhile = fees and cheaper_to_cancel(form.fees, form.gas_limit, fees, around.market.base_fee_wei or 0)
        if worthwhile:
            return Move(Step.CANCEL, fees)
        # It may revert, but a nonce that others wait behind has to be used, and nodes lose transactions.
        return Move(Step.RESEND if around.blocks_reward_wei and age % around.resend_blocks == 0 else Step.LEAVE)
    out_of_reach = slot.too_cheap or not reaches(form.fees, around.market)
    overdue = around.executable and age >= around.patience_blocks
    if age >= 1 and (out_of_reach or overdue):
        demand = demand_of(slot, around)
        limit = settings.max_fee_wei if form.cancels else ceiling(settings, demand)
        offer = next_fees(_offered(slot), POLICIES[settings.policy](settings, around.market, demand), age, limit)
        if offer is not None and reaches(offer, around.market):
            return Move(Step.REPLACE, offer)
        if out_of_reach and overdue and not form.cancels:
            fees = cancellation(slot, around)
            price = fees.price_at(around.market.base_fee_wei or 0) if fees else 0
            if fees and TRANSFER_GAS * price < around.blocks_reward_wei:
                return Move(Step.CANCEL, fees)
    if age >= 1 and (not slot.accepted or age % around.resend_blocks == 0):
        return Move(Step.RESEND)
    return Move(Step.LEAVE)


def cancellation(slot: Slot, around: Circumstances) -> Fees | None:
    """What a transfer to ourselves has to offer at this nonce; None if that is over the ceiling or out of reach."""
    settings = around.settings
    plain = POLICIES[settings.policy](settings, around.market, Demand(0, TRANSFER_GAS))
    if not slot.may_be_held:
        fees: Fees | None = plain if plain.max_wei <= settings.max_fee_wei else None
    else:
        fees = next_fees(_offered(slot), plain, 1, settings.max_fee_wei)
    return fees if fees is not None and reaches(fees, around.market) else None


def demand_of(slot: Slot, around: Circumstances) -> Demand:
    form = slot.current
    first = slot.first_of(form.intent)
    return Demand(form.intent.reward_wei, form.gas_limit, around.head - first.made_at, around.losses)


def _offered(slot: Slot) -> Fees:
    offered = slot.offered
    assert offered is not None  # a live slot has a form
    return offered
