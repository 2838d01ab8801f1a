"""A running check: a few accounts each block are read and judged by the chain itself, and compared with the mirror.

The chain's verdict is ``eth_call`` of ``liquidate`` in the block that comes next, by a caller whom a privileger with
other code lets through. What differs is logged with both states and counted; by policy nothing is sent any more until
the market was read anew or an operator has cleared it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Protocol

import structlog

from keeper.errors import ChainError, ProtocolError
from keeper.model import Assessment, Header, ReadCall, Reader, ReadResult, Window
from keeper.protocols.deri import abi, plans, settle, vault, vault_plans
from keeper.protocols.deri.mirror import Mirror
from keeper.protocols.deri.plans import Plan, Wiring, run, together
from keeper.protocols.deri.round import DeriRound
from keeper.protocols.deri.state import ZERO_ADDRESS, AccountState, MarketState, PoolState, SymbolState

_log = structlog.get_logger(__name__)

ANYBODY = bytes.fromhex("600160005260206000f3")
"""A privileger that answers true to everything: PUSH1 1, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN."""
CALLER = "0x" + "00" * 18 + "C0DE"
"""Who calls in a simulation: nobody."""
NEAREST_EVERY = 16
"""Blocks between two looks at who is nearest to liquidation; half of the sample is taken from them."""
NEAREST = 16
VAULT_ROUNDING_PPM = 1
"""A vault that can't be taken apart earns interest within the block; so near the requirement it proves nothing."""


class Simulator(Protocol):
    """``keeper.chain.simulate.Simulator``."""

    async def simulate(
        self,
        calls: Sequence[ReadCall],
        *,
        sender: str,
        block_hash: str,
        number: int,
        timestamp: int,
        code: Mapping[str, bytes],
    ) -> list[ReadResult]: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """What the keeper holds to be true of a few accounts at one block, taken at one instant."""

    head: Header
    number: int
    """``block.number`` for which the verdicts are."""
    parts: Wiring
    pool: PoolState
    accounts: tuple[AccountState, ...]
    symbols: Mapping[str, SymbolState]
    """By address: the symbols that those accounts hold."""
    ids: Mapping[str, str]
    vaults: Mapping[str, int | None]
    """By address: what the accounts' vaults count for, where that is computed; None if it can't be."""
    assessments: tuple[Assessment, ...]
    calls: tuple[ReadCall, ...]


class Shadow:
    """Owns the check of one market over time. ``notice`` at every head; ``run`` compares in the background."""

    def __init__(
        self,
        market: str,
        mirror: Mirror,
        open_round: Callable[[Window], DeriRound],
        nearest: Callable[[int], list[int]],
        simulator: Simulator | None,
        accounts: int,
        *,
        stops_sending: bool = True,
    ) -> None:
        """``open_round`` makes a what-if copy, ``nearest`` names the accounts nearest to liquidation."""
        self.checked = 0
        """Accounts compared so far."""
        self.mismatches = 0
        self.stopped = ""
        """Why nothing is sent; empty while all is well."""
        self._mirror = mirror
        self._open_round = open_round
        self._nearest = nearest
        self._simulator = simulator
        self._count = accounts
        self._stops_sending = stops_sending
        self._due: asyncio.Queue[Reader] = asyncio.Queue(1)
        self._near: list[int] = []
        self._blocks = 0
        self._at = 0
        self._unread = False
        self._log = _log.bind(market=market)

    def ask(self, simulator: Simulator) -> None:
        """Have this simulator give the chain's verdicts from now on."""
        self._simulator = simulator

    def notice(self, reader: Reader) -> None:
        """The mirror stands at a new head. No I/O; a check that is still under way lets this one pass."""
        if self._simulator is not None and self._count and self._due.empty():
            self._due.put_nowait(reader)

    def clear(self, why: str) -> None:
        """Let sending go on."""
        if self.stopped:
            self._log.warning("sending resumes", was=self.stopped, because=why)
        self.stopped = ""

    async def run(self) -> None:
        """Check whenever a head was noticed, until cancelled."""
        while True:
            reader = await self._due.get()
            try:
                await self.check(reader)
            except (ChainError, ProtocolError) as error:
                if not self._unread:
                    self._log.warning("the chain can't be asked for its verdicts", error=str(error))
                self._unread = True
            else:
                self._unread = False

    async def check(self, reader: Reader) -> int:
        """Compare one sample; how many of its accounts, or of what they rest on, are not as the chain has them.

        Raises ``ChainError`` if the chain can't be asked (a reorg may have taken the block away meanwhile).
        """
        sample = self.sample()
        if self._simulator is None or not sample.accounts:
            return 0
        pool, symbols, accounts, vaults = await run(_reading(sample), reader, sample.head.hash)
        answers = await self._simulator.simulate(
            sample.calls,
            sender=CALLER,
            block_hash=sample.head.hash,
            number=sample.number,
            timestamp=sample.head.timestamp + 1,
            code={sample.parts.privileger: ANYBODY} if sample.parts.privileger != ZERO_ADDRESS else {},
        )
        wrong = self._compare_mirror(sample, pool, symbols, accounts, vaults)
        wrong += sum(
            self._compare_verdict(sample, account, assessment, answer)
            for account, assessment, answer in zip(sample.accounts, sample.assessments, answers, strict=True)
        )
        self.checked += len(sample.accounts)
        return wrong

    def sample(self) -> Sample:
        """Choose accounts, half of them near to liquidation and the others in turn, and note what we say of them."""
        mirror, state, head = self._mirror, self._mirror.state, self._mirror.head
        chosen = [state.accounts[key] for key in self._chosen() if key in state.accounts]
        round_ = self._open_round(Window(head.number + 1, head.timestamp + 1, head.timestamp + 1))
        keys = [str(account.p_token_id) for account in chosen]
        held = {symbol_id for account in chosen for symbol_id in account.active_symbols if symbol_id in state.symbols}
        return Sample(
            head=head,
            number=head.number + 1 if state.block_number is None else state.block_number,
            parts=mirror.wiring,
            pool=state.pool,
            accounts=tuple(chosen),
            symbols={state.symbols[key].params.address: state.symbols[key].state for key in held},
            ids={symbol.params.address: key for key, symbol in state.symbols.items()},
            vaults=_taken_apart(chosen, state),
            assessments=tuple(round_.assess(key) for key in keys),
            calls=tuple(ReadCall(call.to, call.data) for call in map(round_.call, keys)),
        )

    def _chosen(self) -> list[int]:
        if self._blocks % NEAREST_EVERY == 0:
            self._near = self._nearest(NEAREST)
        near = list(islice(cycle(self._near), self._blocks, self._blocks + self._count // 2)) if self._near else []
        self._blocks += 1
        everybody = list(self._mirror.state.accounts)
        in_turn = [everybody[(self._at + i) % len(everybody)] for i in range(self._count - len(near)) if everybody]
        self._at += len(in_turn)
        return list(dict.fromkeys(near + in_turn))

    def _compare_mirror(
        self,
        sample: Sample,
        pool: PoolState,
        symbols: Mapping[str, SymbolState],
        accounts: Sequence[AccountState | None],
        vaults: Mapping[str, int | None],
    ) -> int:
        wrong: list[tuple[str, object, object]] = []
        if pool != sample.pool:
            wrong.append(("pool", sample.pool, pool))
        wrong += [
            (address, ours, symbols[address]) for address, ours in sample.symbols.items() if symbols[address] != ours
        ]
        wrong += [
            (f"the vault {address}", ours, vaults[address])
            for address, ours in sample.vaults.items()
            if vaults[address] != ours
        ]
        for ours, theirs in zip(sample.accounts, accounts, strict=True):
            if theirs is None or (ours.owner, ours.amount_b0, ours.positions) != (
                theirs.owner,
                theirs.amount_b0,
                theirs.positions,
            ):
                wrong.append((f"account {ours.p_token_id}", ours, theirs))
        for what, held, found in wrong:
            self._mismatch(f"the mirror of {what} is wrong", sample, ours=str(held), chain=str(found))
        if wrong:
            self._mirror.distrust()
        return len(wrong)

    def _compare_verdict(
        self, sample: Sample, account: AccountState, assessment: Assessment, answer: ReadResult
    ) -> bool:
        theirs = "" if answer.ok else abi.revert_reason(answer.data)
        if _agree(account, assessment, theirs):
            return False
        self._mismatch(
            f"the verdict on account {account.p_token_id} is wrong",
            sample,
            ours=assessment.reason or "liquidatable",
            chain=theirs or "liquidatable",
            margin_e18=assessment.margin_e18,
            required_e18=assessment.required_e18,
            account=str(account),
        )
        return True

    def _mismatch(self, what: str, sample: Sample, **states: object) -> None:
        self.mismatches += 1
        self._log.error("shadow check: " + what, block=sample.head.number, block_hash=sample.head.hash, **states)
        if self._stops_sending and not self.stopped:
            self.stopped = what
            self._log.error(
                "sending stops", because=what, remedy="once it is understood, have the market read anew in the console"
            )


def _reading(
    sample: Sample,
) -> Plan[tuple[PoolState, dict[str, SymbolState], list[AccountState | None], dict[str, int | None]]]:
    """The records of a sample as the chain has them, and what its vaults say of themselves."""
    pool, rest = yield from plans.both(
        plans.pool_state(sample.parts),
        plans.both(
            together(map(plans.symbol_state, sample.symbols)),
            plans.both(
                together(
                    plans.account(sample.parts, one.p_token_id, sample.ids, _held(sample, one))
                    for one in sample.accounts
                ),
                together(map(vault_plans.liquidity, sample.vaults)),
            ),
        ),
    )
    symbols, (accounts, worth) = rest
    return (
        pool,
        dict(zip(sample.symbols, symbols, strict=True)),
        [None if read is None else read.state for read in accounts],
        dict(zip(sample.vaults, worth, strict=True)),
    )


def _taken_apart(accounts: Sequence[AccountState], state: MarketState) -> dict[str, int | None]:
    units, multiplier = vault.units(state.vault_markets), state.pool.vault_liquidity_multiplier
    held = [one.vault for one in accounts if one.vault is not None and one.vault.liquidity is None]
    return {one.address: vault.liquidity(one, units, multiplier) for one in held}


def _held(sample: Sample, account: AccountState) -> list[str]:
    active = set(account.active_symbols)
    return [address for address, symbol_id in sample.ids.items() if symbol_id in active]


def _agree(account: AccountState, assessment: Assessment, theirs: str) -> bool:
    """Whether the chain's revert (empty: none) is what was said, or is none that could have been.

    Implementations may start their strings differently, so the ends count.
    """
    ours, held = assessment.reason, account.vault
    if not ours and not theirs:
        return True
    if ours and theirs and theirs.endswith(ours.rsplit(": ", 1)[-1]):
        return True
    if ours and not _is_predicted(ours):
        return True  # the keeper leaves the account alone for a reason of its own: that errs on the safe side
    if held is not None and held.liquidity is not None:
        gap = abs(assessment.margin_e18 - assessment.required_e18)
        return gap * 10**6 <= VAULT_ROUNDING_PPM * abs(assessment.required_e18)
    # What a swapper or a lending market refuses is not predicted.
    return not ours and held is not None and len(held.balances) > 0 and not _is_predicted(theirs)


def _is_predicted(reason: str) -> bool:
    """Whether a reason is one of the protocol's own reverts, which are predicted exactly."""
    known = (settle.CANNOT_LIQUIDATE, settle.NO_POSITION, settle.NONEXISTENT, " expired")
    return reason.endswith(known) or reason.startswith("Panic(") or ".settleOnLiquidate: " in reason
