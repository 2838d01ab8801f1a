"""The dry end of a plan: every transaction is tried on a fork of the live head, and nothing is ever sent.

What it tries is what the planner decided, to the byte. The live chain does not know of it, so at the next head the
account is still there: it is then left alone, and what became of it for real is noted beside what we would have earned.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from keeper.chain.answers import RpcError, fields, quantity
from keeper.chain.blocks import address_of
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.fork import Call, Executed, GasPrice
from keeper.chain.gas import ETHEREUM, FeeRules, next_base_fee_wei
from keeper.chain.proving import ProvingGround
from keeper.chain.reverts import Pauses, action_of
from keeper.chain.rpc import Rpc
from keeper.engine.executors import Listener
from keeper.engine.loop import DecisionLog
from keeper.errors import ChainError, KeeperError
from keeper.model import Header, Liquidation, Outcome, OutcomeState, Window

_log = structlog.get_logger(__name__)

Realised = Callable[[Outcome], int | None]
"""What a liquidation's logs say was paid, in raw units of the reward token; None: that can't be told."""

CLOSE_S = 5.0
"""A fork of a distant node may take longer over what it is asked; then it is not waited for."""
DONE = "liquidated already in this dry run"


@dataclass(frozen=True, slots=True)
class Taken:
    """An account that somebody else liquidated for real."""

    market: str
    account: str
    transaction_hash: str
    block_number: int | None = None
    """None: no node told."""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A liquidation that was tried."""

    market: str
    account: str
    block_number: int
    """The block in which it would have been."""
    ok: bool
    reason: str
    """Why it failed."""
    reward_b0: int
    promised_b0: int
    """What the plan expected."""
    value_wei: int
    """The reward in the native coin."""
    gas_used: int
    fee_wei: int
    executed: bool
    """False: it was only simulated, so gas is its limit and the reward the promised one."""

    @property
    def profit_wei(self) -> int:
        return self.value_wei - self.fee_wei


@dataclass(slots=True)
class DryRunRecord:
    """What a dry run has shown so far."""

    trials: list[Trial] = field(default_factory=list)
    taken: dict[tuple[str, str], Taken] = field(default_factory=dict)
    """By market and account, its first liquidation by somebody else."""
    skips: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """By market and account: the last reason for leaving it, and the reward it would have paid (raw)."""

    def reasons(self) -> Counter[str]:
        """How many accounts were left for which reason."""
        return Counter(reason for reason, _ in self.skips.values())

    def missed(self) -> list[Taken]:
        """What somebody else liquidated and we did not try."""
        tried = {(trial.market, trial.account) for trial in self.trials if trial.ok}
        return [taken for key, taken in self.taken.items() if key not in tried]


@dataclass(frozen=True, slots=True)
class NotedDecisions:
    """A ``DecisionLog`` that also tells a record."""

    record: DryRunRecord
    inner: DecisionLog

    async def skip(
        self, lane: str, market: str, account: str, reason: str, reward_b0: int = 0, for_block: int = 0
    ) -> bool:
        self.record.skips[market, account] = reason, reward_b0
        return await self.inner.skip(lane, market, account, reason, reward_b0, for_block)


class DryRunExecutor:
    """Owns what is being tried. It has no signer and no relay: there is no way from here to the network."""

    def __init__(
        self,
        liquidator: str,
        ground: ProvingGround,
        live: Rpc,
        window: Callable[[], Window],
        fees: FeeWatch,
        realised: Realised,
        listener: Listener,
        record: DryRunRecord,
        rules: FeeRules = ETHEREUM,
    ) -> None:
        """``live`` is asked at the end who was first where somebody was; ``window`` when the next block may come."""
        self._liquidator = liquidator
        self._ground = ground
        self._live = live
        self._window = window
        self._fees = fees
        self._realised = realised
        self._listener = listener
        self._record = record
        self._rules = rules
        self._pauses = Pauses()
        self._waiting: list[tuple[Liquidation, Header]] = []
        self._worker: asyncio.Task[None] | None = None
        self._tried: dict[tuple[str, str], int] = {}
        """Accounts that are gone in this dry run, and the block they were tried for."""
        self._head: Header | None = None

    def senders(self) -> Sequence[str]:
        return (self._liquidator,)

    def in_flight(self, market: str) -> Sequence[str]:
        """What is tried for the block that comes next: later decisions for it count with that."""
        number = self._head.number if self._head is not None else 0
        return [account for (name, account), at in self._tried.items() if name == market and at > number]

    def call_data(self, market: str, account: str) -> bytes:
        """Nothing that is tried has to be judged again."""
        return b""

    def fee_per_gas_wei(self, head: Header) -> int:
        return self._fees.price_wei(self._base_fee_wei(head))

    def data_fee_wei(self, length: int) -> int:
        return self._fees.data_fee_wei(length, self._base_fee_wei(self._head) if self._head is not None else None)

    async def submit(self, batch: Sequence[Liquidation], sender: str, head: Header) -> None:
        self._saw(head)
        for item in batch:
            self._tried[item.market, item.account] = head.number + 1
            self._waiting.append((item, head))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="dry-run")

    def held_back(self, sender: str, market: str, account: str, number: int) -> str:
        if (market, account) in self._tried:
            return DONE
        return self._pauses.why(market, account, number)

    def withdraw(self, market: str, account: str, reason: str) -> None:
        """It has been tried already; a fork keeps no secrets."""

    def sweep(self) -> None:
        """Nothing is on its way."""

    def closed(self, market: str, account: str, transaction_hash: str) -> bool:
        self._record.taken.setdefault((market, account), Taken(market, account, transaction_hash))
        self._tried.pop((market, account), None)
        return False

    async def on_head(self, head: Header) -> None:
        self._saw(head)
        await self._fees.refresh()

    async def close(self) -> None:
        """Finish what is being tried, if that is soon, and find out who was first where somebody was."""
        if self._worker is not None:
            _, pending = await asyncio.wait({self._worker}, timeout=CLOSE_S)
            if pending:
                _log.warning("what was being tried is given up", count=len(self._waiting) or None)
                self._worker.cancel()
                await asyncio.gather(self._worker, return_exceptions=True)
        await self._ground.close()
        await self._look_up()

    def _saw(self, head: Header) -> None:
        if self._head is None or head.number >= self._head.number:
            self._head = head

    def _base_fee_wei(self, head: Header) -> int | None:
        return next_base_fee_wei(head, self._rules)

    async def _work(self) -> None:
        while self._waiting:
            head = self._waiting[0][1]
            batch = [item for item, at in self._waiting if at is head or at.hash == head.hash]
            self._waiting = [(item, at) for item, at in self._waiting if at.hash != head.hash]
            calls = [Call(item.to, item.data, item.gas_limit) for item in batch]
            timestamp = max(head.timestamp + 1, self._window().earliest)
            gas = GasPrice(self._base_fee_wei(head), self.fee_per_gas_wei(head))
            try:
                results = await self._ground.try_out(calls, self._liquidator, head, timestamp, gas)
            except ChainError as error:
                _log.warning("liquidations could not be tried", number=head.number, count=len(batch), came=error.came)
                for item in batch:
                    self._tried.pop((item.market, item.account), None)
                continue
            for item, result in zip(batch, results, strict=True):
                self._note(item, head, result)

    def _note(self, item: Liquidation, head: Header, result: Executed) -> None:
        number = head.number + 1
        outcome = Outcome(
            market=item.market,
            account=item.account,
            state=OutcomeState.MINED if result.ok else OutcomeState.REVERTED,
            reason=result.reason or "dry run: tried on a fork, nothing was sent",
            transaction_hash=result.transaction_hash,
            block_number=number,
            gas_limit=item.gas_limit,
            gas_used=result.gas_used,
            fee_wei=result.fee_wei + self.data_fee_wei(len(item.data)),
            logs=result.logs,
        )
        reward_b0 = self._reward_b0(item, outcome, result)
        if not result.ok:
            self._tried.pop((item.market, item.account), None)
            self._pauses.reverted(item.market, item.account, action_of(result.reason), number)
        self._record.trials.append(
            Trial(
                market=item.market,
                account=item.account,
                block_number=number,
                ok=result.ok,
                reason=result.reason,
                reward_b0=reward_b0,
                promised_b0=item.reward_b0,
                value_wei=item.reward_wei * reward_b0 // item.reward_b0 if item.reward_b0 else 0,
                gas_used=result.gas_used,
                fee_wei=outcome.fee_wei,
                executed=result.executed,
            )
        )
        _log.info(
            "tried",
            market=item.market,
            account=item.account,
            block=number,
            ok=result.ok,
            reason=result.reason or None,
            reward_b0=reward_b0,
            gas_used=outcome.gas_used,
            fee_wei=outcome.fee_wei,
        )
        self._listener(replace(outcome, reward_b0=reward_b0))

    def _reward_b0(self, item: Liquidation, outcome: Outcome, result: Executed) -> int:
        if not result.ok:
            return 0
        try:
            realised_b0 = self._realised(outcome) if result.executed else None
        except (KeeperError, LookupError, ValueError) as error:
            _log.warning("the reward could not be read", account=item.account, came=repr(error))
            realised_b0 = None
        return item.reward_b0 if realised_b0 is None else realised_b0

    async def _look_up(self) -> None:
        """Ask for the receipts of what others did."""
        asked = [taken for taken in self._record.taken.values() if taken.block_number is None]
        try:
            answers = await self._live.batch(
                [("eth_getTransactionReceipt", [taken.transaction_hash]) for taken in asked], patience_s=0
            )
        except ChainError as error:
            _log.warning("who was first is not known", count=len(asked), came=error.came)
            return
        for taken, answer in zip(asked, answers, strict=True):
            if answer is None or isinstance(answer, RpcError):
                continue
            try:
                receipt = fields(answer)
                number, by = quantity(receipt.get("blockNumber")), address_of(receipt.get("from"))
            except ChainError as error:
                _log.warning("who was first is not known", transaction=taken.transaction_hash, came=error.came)
                continue
            self._record.taken[taken.market, taken.account] = replace(taken, block_number=number, by=by)
