"""A market as a transaction may find it: one block number, every second of a window, and what is closed before it.

Funding runs by the second and the second is not known when a transaction is sent, so an account is liquidatable for
sure only if it is at every second of the window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.fixed import ONE
from keeper.model import Verdict, Window
from keeper.protocols.deri import vault
from keeper.protocols.deri.settle import Closed, Decision, Refused, after, decide, liquidate
from keeper.protocols.deri.state import AccountState, MarketState, OracleState
from keeper.protocols.deri.symbols import Prepared, prepare

LONGEST_SEARCH_S = 120
"""Up to so many inner seconds are looked at one by one when the ends of the window leave a verdict open."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The exact verdict on one account over the window."""

    verdict: Verdict
    reason: str
    """Empty when liquidatable at every second, else the revert at the second that decided."""
    margin: int
    """At the window's end with the larger slack, as in ``Decision``; so is ``required``."""
    required: int
    reward_b0: int = 0
    """In raw B0: exact to the second's funding without a vault, a lower bound with one; 0 unless there is one."""


class Outlook:
    """The market at every second of a window; ``close`` moves it on, as a burst of liquidations in one block does.

    ``market`` carries the oracles as they will be once the transaction's signatures are in. A block is never older
    than the last funding it stored, so seconds before that are left out of the window.
    """

    def __init__(
        self,
        market: MarketState,
        window: Window,
        before: Outlook | None = None,
        on_chain: Mapping[str, OracleState] | None = None,
    ) -> None:
        """``before``, an earlier outlook on the same market, lends what prices did not change.

        ``on_chain`` are the oracles without the signatures: a transaction brings along what its own account's
        symbols read, so collateral may be swapped by either reading.
        """
        newest = max((symbol.state.funding_timestamp for symbol in market.symbols.values()), default=0)
        self.market = market
        self._on_chain = on_chain or {}
        # Where contracts count another chain's blocks, the next one may still have the head's number.
        self.number = window.number if market.block_number is None else market.block_number
        self.earliest = max(window.earliest, newest)
        self.latest = max(window.latest, self.earliest)
        self._closed: list[AccountState] = []
        self._asked: AccountState | None = None
        self._answers: list[tuple[Prepared, Sequence[int], Closed | Refused]] = []
        self._seconds: dict[int, Prepared] = {}
        self._seconds[self.earliest] = prepare(
            market, self.number, self.earliest, before.first if before is not None else None
        )
        self._at(self.latest)

    @property
    def first(self) -> Prepared:
        """The market at the earliest second."""
        return self._seconds[self.earliest]

    @property
    def last(self) -> Prepared:
        """The market at the latest second."""
        return self._seconds[self.latest]

    def judge(self, account: AccountState) -> Judgement:
        """Decide exactly: liquidatable at every second, at some, at none, or not to be assessed."""
        doubt = self._doubt(account)
        if doubt:
            return Judgement(Verdict.UNASSESSABLE, doubt, 0, 0)
        decisions = self._decisions(account)
        shown = max(decisions, key=lambda decision: (decision.settled, _slack(decision)))
        refusals = [decision for decision in decisions if decision.reason]
        if not refusals:
            return Judgement(Verdict.LIQUIDATABLE, "", shown.margin, shown.required, self._reward_b0(account))
        if len(refusals) < len(decisions):
            reason = refusals[0].reason
            return Judgement(Verdict.MARGINAL, reason, shown.margin, shown.required, self._reward_b0(account))
        refusal = next((one for one in refusals if _verdict(one) is Verdict.WAITS), refusals[0])
        return Judgement(_verdict(refusal), refusal.reason, shown.margin, shown.required)

    def close(self, account: AccountState) -> None:
        """Assume the account liquidated first in this block, at whichever second that is."""
        self._closed.append(account)
        for second, prepared in self._seconds.items():
            self._seconds[second] = self._without(prepared, account)

    def _at(self, second: int) -> Prepared:
        prepared = self._seconds.get(second)
        if prepared is None:
            prepared = prepare(self.market, self.number, second, self.first)
            for account in self._closed:
                prepared = self._without(prepared, account)
            self._seconds[second] = prepared
        return prepared

    def _without(self, prepared: Prepared, account: AccountState) -> Prepared:
        result = self._liquidate(prepared, account, self._proceeds(account).expected)
        return after(prepared, result) if isinstance(result, Closed) else prepared

    def _liquidate(self, prepared: Prepared, account: AccountState, received: Sequence[int]) -> Closed | Refused:
        """``settle.liquidate``, remembered for the account asked about last: it is judged first and closed next."""
        if self._asked is not account:
            self._asked, self._answers = account, []
        for at, proceeds, answer in self._answers:
            if at is prepared and proceeds == received:
                return answer
        answer = liquidate(prepared, account, received)
        self._answers.append((prepared, received, answer))
        return answer

    def _decisions(self, account: AccountState) -> list[Decision]:
        """At both ends; at every second where the ends leave open what lies between them.

        Funding is a sum of truncated lines in time, so at an inner second the slack is within ``2e`` of the range of
        its ends, with ``e = sum(|volume| / ONE + 1)`` bounding what one evaluation loses to truncation.
        """
        first = decide(self.first, account)
        if self.latest == self.earliest:
            return [first]
        last = decide(self.last, account)
        if bool(first.reason) != bool(last.reason):
            return [first, last]
        if first.settled and last.settled:
            bend = 2 * sum(abs(position.volume) // ONE + 2 for position in account.positions)
            slacks = (_slack(first), _slack(last))
            if max(slacks) < -bend or min(slacks) >= bend or not (first.required or last.required):
                return [first, last]
        elif first.reason == last.reason:
            return [first, last]
        inner = range(self.earliest + 1, min(self.latest, self.earliest + LONGEST_SEARCH_S))
        return [first, *(decide(self._at(second), account) for second in inner), last]

    def _doubt(self, account: AccountState) -> str:
        for position in account.positions:
            symbol = self.first.symbols.get(position.symbol_id)
            if symbol is not None and symbol.doubt:
                return f"{symbol.params.name}: {symbol.doubt}"
        return ""

    def _reward_b0(self, account: AccountState) -> int:
        """The least reward over the ends of the window at which the call succeeds."""
        received = self._proceeds(account).at_least
        results = (self._liquidate(prepared, account, received) for prepared in (self.first, self.last))
        return min((result.reward_b0 for result in results if isinstance(result, Closed)), default=0)

    def _proceeds(self, account: AccountState) -> vault.Proceeds:
        if account.vault is None:
            return vault.Proceeds((), ())
        market = self.market
        held = [market.symbols[key].params for key in account.active_symbols if key in market.symbols]
        brought = {params.price_id for params in held}
        unsure = {key: oracle for key, oracle in self._on_chain.items() if key not in brought}
        return vault.proceeds(account.vault, market.vault_markets, market.oracles, market.pool.decimals_b0, unsure)


def _slack(decision: Decision) -> int:
    return decision.margin - decision.required


def _verdict(refusal: Decision) -> Verdict:
    if refusal.settled and (refusal.required <= 0 or _slack(refusal) >= 0):
        return Verdict.HEALTHY
    return Verdict.WAITS if refusal.waits else Verdict.UNASSESSABLE
