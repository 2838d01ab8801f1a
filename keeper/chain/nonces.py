"""Nonces and what each was used for. No I/O: the lane asks, signs and sends.

A nonce is a slot. What is signed for it are its forms: a first one, dearer ones, one for another account, a transfer to
ourselves. At most one of them is ever mined. A slot is *live* while its last form is meant to be mined, *spare* when
nobody wants it any more: spare slots are used first, so that no gap stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from keeper.chain.gas import TRANSFER_GAS, bumped
from keeper.chain.transaction import Fees, Signed
from keeper.store.journal import Intent


@dataclass(slots=True)
class Form:
    """One signed form that a nonce took: made at head number ``made_at``, first handed over at ``handed_ns``."""

    intent: Intent
    signed: Signed
    fees: Fees
    cancels: bool
    made_at: int
    transfer_gas: int = TRANSFER_GAS
    """The gas limit, if it cancels."""
    handed_ns: int = 0
    acknowledged: bool = False
    """An endpoint said that it took it."""
    unanswered: int = 0
    """How often it was handed over without an answer so far."""

    @property
    def gas_limit(self) -> int:
        return self.transfer_gas if self.cancels else self.intent.gas_limit


@dataclass(slots=True)
class Slot:
    """One nonce and all its forms, oldest first."""

    nonce: int
    forms: list[Form] = field(default_factory=list)
    live: bool = True
    useless: str = ""
    """Why what it does is wanted no longer; empty while it is wanted."""
    useless_since: int = 0
    swept: bool = False
    """A round has ended since, and nobody took its place."""
    accepted: bool = False
    """Some endpoint took one of its forms (or may have): it can be mined without us."""
    too_cheap: bool = False
    """A node said so, or a block came whose base fee it does not reach."""
    last_refusal: str = ""
    """The answer that was logged last, so that a streak is logged once."""
    too_low: bool = False
    """A node said that this nonce is used."""
    refusals: int = 0
    """In a row, for reasons that are none of price, funds or nonce."""
    unexplained: int = 0
    """Heads in a row at which the chain counts this nonce as used while none of its forms has a receipt."""

    @property
    def current(self) -> Form:
        return self.forms[-1]

    @property
    def offered(self) -> Fees | None:
        """The dearest fees it was ever offered with: a node may still hold them."""
        if not self.forms:
            return None
        tips = [form.fees.tip_wei for form in self.forms if form.fees.tip_wei is not None]
        # The tip of a legacy form is its whole price: only another legacy form is sure to be dear enough.
        tip_wei = max(tips) if len(tips) == len(self.forms) else None
        return Fees(max(form.fees.max_wei for form in self.forms), tip_wei)

    @property
    def may_be_held(self) -> bool:
        """A node has one of its forms, or an answer is still to come that may say so."""
        return self.accepted or any(form.unanswered for form in self.forms)

    @property
    def floor(self) -> Fees | None:
        """The least that replaces what a node may hold; None if it holds nothing."""
        return bumped(self.offered) if self.may_be_held and self.offered else None

    @property
    def is_spare(self) -> bool:
        return not self.live or bool(self.useless and not self.current.cancels)

    @property
    def at_risk_wei(self) -> int:
        """The most that this nonce's gas can still cost."""
        if not self.live and not self.accepted:
            return 0
        return max((form.gas_limit * form.fees.max_wei for form in self.forms), default=0)

    def intents(self) -> Iterator[Intent]:
        """Every intent it was ever used for, once, oldest first."""
        seen: set[int] = set()
        for form in self.forms:
            if form.intent.id not in seen:
                seen.add(form.intent.id)
                yield form.intent

    def first_of(self, intent: Intent) -> Form:
        return next(form for form in self.forms if form.intent.id == intent.id)

    def by_hash(self, transaction_hash: str) -> Form | None:
        """The last form with that hash: an account given up and taken on again may have the same bytes twice."""
        return next((form for form in reversed(self.forms) if form.signed.hash == transaction_hash), None)


class Nonces:
    """The slots of one signer that are not settled on chain, and the nonce that comes next."""

    def __init__(self, data_fee_wei: Callable[[int], int] = lambda length: 0) -> None:
        """``data_fee_wei`` is what a transaction costs besides its gas, by the length of its call data."""
        self._data_fee_wei = data_fee_wei
        self.slots: dict[int, Slot] = {}
        self.next = 0
        """The nonce that comes after all in use."""

    def spare(self, *, behind: bool = False) -> list[Slot]:
        """Slots that the next transactions should use before a new nonce, lowest first.

        With ``behind`` only those that come after all that is wanted and under way.
        """
        wanted = (nonce for nonce, slot in self.slots.items() if not slot.is_spare and not slot.current.cancels)
        after = max(wanted, default=-1) if behind else -1
        return [slot for nonce, slot in sorted(self.slots.items()) if slot.is_spare and after < nonce < self.next]

    def at(self, nonce: int) -> Slot:
        """The slot of a nonce; a new one if it was never used."""
        return self.slots.get(nonce) or Slot(nonce)

    def take(self, slot: Slot, form: Form) -> None:
        """The slot now stands for that form."""
        slot.forms.append(form)
        slot.live, slot.useless, slot.swept = True, "", False
        slot.too_cheap, slot.too_low, slot.refusals = False, False, 0
        self.slots[slot.nonce] = slot
        self.next = max(self.next, slot.nonce + 1)

    def settle(self, slot: Slot) -> None:
        self.slots.pop(slot.nonce, None)

    def is_settled(self, slot: Slot) -> bool:
        """Whether a slot that was going to be taken is past by now: the chain has used its nonce meanwhile."""
        return slot.nonce < self.next and self.slots.get(slot.nonce) is not slot

    def live(self) -> list[Slot]:
        """Lowest nonce first."""
        return [self.slots[nonce] for nonce in sorted(self.slots) if self.slots[nonce].live]

    def to_fill(self, count: int) -> list[Slot]:
        """Spare slots that hold something up, or that may still be mined as they are: they want a cancellation.

        ``count`` is the chain's count of this signer's transactions.
        """
        live = [slot.nonce for slot in self.slots.values() if slot.live]
        highest_live = max(live, default=-1)
        wanted: list[Slot] = []
        reachable = count
        for nonce in sorted(self.slots):
            slot = self.slots[nonce]
            if nonce == reachable:
                reachable += 1
            if not slot.live and (nonce < highest_live or (slot.accepted and nonce < reachable)):
                wanted.append(slot)
        return wanted

    def missing(self, count: int) -> list[int]:
        """Nonces from the chain's count up to the highest in a slot that are in none themselves: a gap."""
        highest = max((nonce for nonce in self.slots if nonce < self.next), default=-1)
        return [nonce for nonce in range(count, highest) if nonce not in self.slots]

    def at_risk_wei(self) -> int:
        """The most that all that is in flight can still cost."""
        return sum(
            at_risk_wei + self._data_fee_wei(max(len(form.intent.data) for form in slot.forms))
            for slot in self.slots.values()
            if (at_risk_wei := slot.at_risk_wei)
        )
