"""What is done about one transaction when a head comes without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.chain.gas import FeeMarket, FeeSettings
from keeper.chain.nonces import Form, Nonces, Slot
from keeper.chain.tending import Circumstances, Step, cancellation, tend
from keeper.chain.transaction import Fees, Signed
from keeper.store.journal import Intent

GWEI = 10**9
AROUND = Circumstances(
    head=101,
    market=FeeMarket(10 * GWEI),
    settings=FeeSettings(tip_wei=GWEI, max_fee_wei=60 * GWEI),
    patience_blocks=3,
    executable=True,
    blocks_reward_wei=0,
)

DEAR = replace(AROUND, head=103, market=FeeMarket(40 * GWEI))


def form(
    name: str = "7", max_gwei: int = 21, made_at: int = 100, reward_wei: int = 10**18, cancels: bool = False
) -> Form:
    intent = Intent(int(name), 1, "us", "pool", name, "0xto", b"", 1_000_000, 1, reward_wei, 101, "", 0.0)
    signed = Signed(b"\x02", f"0x{name}{max_gwei}")
    return Form(intent, signed, Fees(max_gwei * GWEI, GWEI), cancels=cancels, made_at=made_at)


def slot(*forms: Form, accepted: bool = True, useless: str = "", useless_since: int = 0) -> Slot:
    return Slot(5, list(forms), accepted=accepted, useless=useless, useless_since=useless_since)


@pytest.mark.parametrize(
    ("case", "around", "step"),
    [
        (slot(form()), AROUND, Step.LEAVE),
        (slot(form(), accepted=False), AROUND, Step.RESEND),
        (slot(form()), replace(AROUND, head=102), Step.RESEND),
        (slot(form()), replace(AROUND, head=103), Step.REPLACE),
        (slot(form()), replace(AROUND, head=103, executable=False), Step.LEAVE),
        (slot(form(made_at=101)), replace(AROUND, market=FeeMarket(22 * GWEI)), Step.LEAVE),
        (slot(form()), replace(AROUND, market=FeeMarket(22 * GWEI)), Step.REPLACE),
        # Over the ceiling: wait, and hand over again now and then.
        (slot(form()), replace(AROUND, market=FeeMarket(61 * GWEI)), Step.LEAVE),
        (slot(form()), replace(AROUND, head=104, market=FeeMarket(61 * GWEI)), Step.RESEND),
        # Its own reward does not reach the market, but those behind it are worth the cancellation.
        (slot(form(reward_wei=21 * 10**15)), replace(DEAR, blocks_reward_wei=10**18), Step.CANCEL),
        (slot(form(reward_wei=21 * 10**15)), replace(DEAR, blocks_reward_wei=10**14), Step.LEAVE),
        # Useless: one round to be reused, then cancelled if that is cheaper than a revert.
        (slot(form(), useless="gone", useless_since=101), AROUND, Step.LEAVE),
        (slot(form(), useless="gone", useless_since=100), AROUND, Step.CANCEL),
        (slot(form(max_gwei=58), useless="gone", useless_since=100), AROUND, Step.LEAVE),
        # Too dear to cancel: it is left to be mined or lost, unless others wait behind it.
        (slot(form(max_gwei=58), useless="gone"), replace(AROUND, head=102), Step.LEAVE),
        (slot(form(max_gwei=58), useless="gone"), replace(AROUND, head=102, blocks_reward_wei=1), Step.RESEND),
        # A cancellation is itself replaced when it is stuck.
        (slot(form(), form(max_gwei=24, cancels=True)), replace(AROUND, market=FeeMarket(25 * GWEI)), Step.REPLACE),
    ],
)  # fmt: skip
def test_the_move_for_a_slot(case: Slot, around: Circumstances, step: Step) -> None:
    assert tend(case, around).step is step


def test_a_replacement_beats_everything_ever_offered_at_its_nonce() -> None:
    case = slot(form(max_gwei=40), form("8", max_gwei=21))
    move = tend(case, replace(AROUND, market=FeeMarket(22 * GWEI)))
    assert move.fees == Fees(45 * GWEI, GWEI * 9 // 8)


def test_a_nonce_that_no_node_took_is_filled_at_the_market_s_price_whatever_was_offered_there() -> None:
    assert cancellation(slot(form(max_gwei=58), accepted=False), AROUND) == Fees(21 * GWEI, GWEI)
    assert cancellation(slot(form(max_gwei=58), accepted=True), AROUND) is None


def test_spare_nonces_are_used_before_new_ones_and_gaps_are_found() -> None:
    nonces = Nonces()
    for nonce in range(5):
        nonces.take(Slot(nonce), form(str(nonce)))
    nonces.slots[1].live = False
    nonces.slots[3].useless = "gone"
    assert [found.nonce for found in nonces.spare()] == [1, 3]
    assert [found.nonce for found in nonces.to_fill(0)] == [1]
    del nonces.slots[2]
    assert nonces.missing(0) == [2]
    assert nonces.next == 5


def test_a_spare_nonce_at_the_end_that_no_node_took_needs_no_filling() -> None:
    nonces = Nonces()
    nonces.take(Slot(0), form("0"))
    nonces.slots[0].live = False
    assert nonces.to_fill(0) == []
    nonces.slots[0].accepted = True
    assert [found.nonce for found in nonces.to_fill(0)] == [0]


def test_what_replaces_a_legacy_form_is_legacy_because_its_tip_is_its_whole_price() -> None:
    legacy = replace(form("8", max_gwei=21), fees=Fees(24 * GWEI, None))
    move = tend(slot(form(), legacy), replace(AROUND, head=103))
    assert move.step is Step.REPLACE
    assert move.fees is not None
    assert move.fees.tip_wei is None
    assert move.fees.max_wei >= 27 * GWEI
