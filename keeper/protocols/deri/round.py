"""A what-if copy of a Deri market for the block that comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from keeper.errors import ProtocolError
from keeper.fixed import rescale
from keeper.model import Assessment, Verdict, Window
from keeper.protocols.deri import settle, vault
from keeper.protocols.deri.abi import encode_liquidate
from keeper.protocols.deri.gas import gas_limit
from keeper.protocols.deri.price_server import SignedReading
from keeper.protocols.deri.settle import Closed, Decision
from keeper.protocols.deri.state import AccountState, MarketState
from keeper.protocols.deri.symbols import Prepared, prepare
from keeper.protocols.market import ContractCall

T = TypeVar("T")

ROUNDING = 10**6
"""Wei by which an account's margin may be off between the ends of the window: every product truncates once."""


class DeriRound:
    """Owns the scratch state of one round: the market at every second that its block may carry.

    ``state`` is the market with the signed prices already in it, ``fresher`` the readings that make it so.
    """

    def __init__(
        self,
        pool: str,
        state: MarketState,
        fresher: Mapping[str, SignedReading],
        window: Window,
        before: Prepared | None = None,
    ) -> None:
        self._pool = pool
        self._state = state
        self._fresher = fresher
        self._prepared: dict[int, Prepared] = {}
        for timestamp in range(window.earliest, window.latest + 1):
            self._prepared[timestamp] = before = prepare(state, window.number, timestamp, before)
        self._closed: set[str] = set()

    @property
    def prepared(self) -> Prepared:
        """The market at the earliest second of the window."""
        return next(iter(self._prepared.values()))

    def candidates(self) -> Sequence[str]:
        """Accounts that may be liquidatable in the window, the one with the most left first: rewards rise with it."""
        ends = self._ends()
        found: list[tuple[int, str]] = []
        for p_token_id, account in self._state.accounts.items():
            if not account.positions:
                continue
            decisions = [settle.decide(prepared, account) for prepared in ends]
            if any(_near(decision) for decision in decisions):
                found.append((-decisions[0].margin, str(p_token_id)))
        return [account for _, account in sorted(found)]

    def assess(self, account: str) -> Assessment:
        """The exact verdict: the contract's own answer at every second of the window."""
        holder = self._account(account)
        if holder is None:
            reason = settle.pool_revert(self._state.pool.flavour, settle.NONEXISTENT)
            return Assessment(account, Verdict.UNASSESSABLE, reason)
        if account in self._closed:
            return Assessment(
                account, Verdict.HEALTHY, settle.pool_revert(self._state.pool.flavour, settle.NO_POSITION)
            )
        if doubt := self._doubt(holder):
            return Assessment(account, Verdict.UNASSESSABLE, doubt)
        decisions = [settle.decide(prepared, holder) for prepared in self._prepared.values()]
        verdict, reason = _verdict(decisions)
        worst = min(decisions, key=lambda decision: decision.required - decision.margin)
        reward_b0 = self._reward_b0(holder) if verdict is Verdict.LIQUIDATABLE else 0
        return Assessment(
            account=account,
            verdict=verdict,
            reason=reason,
            margin_e18=worst.margin,
            required_e18=worst.required,
            reward_b0=reward_b0,
            value_e18=rescale(reward_b0, self._state.pool.decimals_b0, 18),
            gas=gas_limit(self._state.pool.flavour, holder, len(self._signatures(holder))),
        )

    def close(self, account: str) -> None:
        """Assume the account liquidated: pool, symbols and guard move as the contract would move them."""
        holder = self._account(account)
        if holder is None or account in self._closed:
            return
        for timestamp, prepared in self._prepared.items():
            closed = settle.liquidate(prepared, holder, self._proceeds(holder))
            if isinstance(closed, Closed):
                self._prepared[timestamp] = settle.after(prepared, closed)
        self._closed.add(account)

    def call(self, account: str) -> ContractCall:
        """``liquidate`` with the signatures that bring the account's own oracles up to the prices assumed here."""
        holder = self._account(account)
        if holder is None:
            raise ProtocolError("an account of this market", f"{account} came", "ask for one of the candidates")
        signatures = self._signatures(holder)
        return ContractCall(
            to=self._pool,
            data=encode_liquidate(holder.p_token_id, signatures),
            gas_limit=gas_limit(self._state.pool.flavour, holder, len(signatures)),
        )

    def _account(self, account: str) -> AccountState | None:
        return self._state.accounts.get(int(account))

    def _ends(self) -> list[Prepared]:
        prepared = list(self._prepared.values())
        return prepared if len(prepared) == 1 else [prepared[0], prepared[-1]]

    def _doubt(self, holder: AccountState) -> str:
        """Why figures that can be computed are not to be acted on."""
        symbols = self.prepared.symbols
        for position in holder.positions:
            symbol = symbols.get(position.symbol_id)
            if symbol is not None and symbol.doubt:
                return symbol.doubt
        return ""

    def _signatures(self, holder: AccountState) -> list[bytes]:
        """One for every price and volatility that the account's settlement reads and that is newer than the chain's."""
        needed: dict[str, None] = {}
        for position in holder.positions:
            symbol = self._state.symbols.get(position.symbol_id)
            if symbol is not None:
                needed[symbol.params.price_id] = None
                if symbol.params.volatility_id is not None:
                    needed[symbol.params.volatility_id] = None
        return [self._fresher[oracle_id].encoded for oracle_id in needed if oracle_id in self._fresher]

    def _proceeds(self, holder: AccountState) -> Sequence[int]:
        state = self._state
        return vault.proceeds(holder.vault, state.vault_markets, state.oracles, state.pool.decimals_b0).at_least

    def _reward_b0(self, holder: AccountState) -> int:
        """What the call pays at least: the lower of the window's ends, between which funding runs straight."""
        proceeds = self._proceeds(holder)
        closed = [settle.liquidate(prepared, holder, proceeds) for prepared in self._ends()]
        return min((end.reward_b0 for end in closed if isinstance(end, Closed)), default=0)


def _near(decision: Decision) -> bool:
    """Liquidatable, waiting for the guard, or so near that only another second of the window can tell."""
    return decision.waits or not decision.reason or 0 < decision.required >= decision.margin - ROUNDING


def _verdict(decisions: Sequence[Decision]) -> tuple[Verdict, str]:
    """One verdict from the contract's answers at every second of the window."""
    refused = [decision for decision in decisions if decision.reason]
    if not refused:
        return Verdict.LIQUIDATABLE, ""
    reason = refused[0].reason
    if len(refused) < len(decisions):
        return Verdict.MARGINAL, reason
    if any(decision.waits for decision in refused):
        waiting = next(decision for decision in refused if decision.waits)
        return Verdict.WAITS, waiting.reason
    if all(reason.endswith((settle.CANNOT_LIQUIDATE, settle.NO_POSITION)) for reason in (d.reason for d in refused)):
        return Verdict.HEALTHY, reason
    return Verdict.UNASSESSABLE, reason


def with_readings(state: MarketState, fresher: Mapping[str, SignedReading]) -> MarketState:
    """The market once the oracles have taken these readings."""
    if not fresher:
        return state
    oracles = dict(state.oracles)
    for oracle_id, reading in fresher.items():
        oracles[oracle_id] = replace(oracles[oracle_id], value=reading.value, timestamp=reading.timestamp)
    return replace(state, oracles=oracles)
