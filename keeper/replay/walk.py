"""Walking through the past block by block: decide for the next block, then see what it really held.

At each block the planner decides with what a keeper could know then: the state after the block before, the prices that
were signed ``REACTION_S`` before, the block's own time. It is not told what others are about to do. A price that was
never handed in to the chain is unknown, so what is found is the least that a keeper would have seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from keeper.chain.calls import PinnedReader
from keeper.chain.gas import FeeRules, next_base_fee_wei
from keeper.engine.planner import Skip, Terms, decide
from keeper.engine.room import GasUse, Room
from keeper.errors import ChainError
from keeper.model import Advance, Block, Header, Liquidation, LogFilter, Row, Verdict, Window
from keeper.protocols.market import Market, Worth
from keeper.protocols.registry import is_liquidation, past_prices_of
from keeper.replay.findings import Finding, Ours, Theirs, dump, load
from keeper.replay.history import STRETCH, History, pruned
from keeper.store.mirror import MirrorStore

REACTION_S = 1
"""A reading is known that many seconds after it was signed."""
SAVE_BLOCKS = 500
_ROW = "replay"


@dataclass(frozen=True, slots=True)
class Price:
    """What a liquidation has to be worth, and what its gas costs."""

    worth: Worth
    tip_wei: int
    rules: FeeRules


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is."""

    number: int
    findings: Sequence[Finding]


class Replay:
    """Owns the market as it walks. ``findings`` grows; ``run`` goes on where the store left off."""

    def __init__(
        self, market: Market, liquidator: str, history: History, price: Price, first: int, store: MirrorStore
    ) -> None:
        self.findings: list[Finding] = []
        self._market = market
        self._liquidator = liquidator
        self._history = history
        self._price = price
        self._first = first
        self._store = store
        self._reader = PinnedReader(history.rpc)
        self._past = past_prices_of(market)
        self._open: dict[str, int] = {}
        """Where the finding of an account stands whose fall has not ended."""
        self._unsaved: list[Row] = []
        self._ahead: list[Block] = []
        """Blocks that are fetched and not walked through."""
        self._wanted = LogFilter(frozenset())

    async def run(self, last: int) -> AsyncIterator[Progress]:
        """Walk up to block ``last``. Raises ``ChainError`` if the archive fails; what was walked is kept."""
        head = await self._start(last)
        try:
            while head.number < last:
                for block in await self._stretch(head, last):
                    try:
                        await self._step(head, block)
                    except ChainError as error:
                        raise pruned(error, block.header.number) from None
                    head = block.header
                    if (head.number - self._first) % SAVE_BLOCKS == 0:
                        await self._save(head)
                    yield Progress(head.number, self.findings)
                    if self._market.log_filter() != self._wanted:
                        self._ahead = []  # Something new is to be listened to, in the very next block.
                        break
        finally:
            await self._save(head)

    async def _start(self, last: int) -> Header:
        stored = await self._store.load()
        if stored is not None:
            kept = [row for row in stored.rows if row.kind == _ROW and row.payload is not None and row.key == "state"]
            rows = [row for row in stored.rows if row.kind != _ROW]
            began = next((row.payload for row in stored.rows if row.kind == _ROW and row.key == "first"), None)
            if kept and began == str(self._first).encode() and stored.head.number <= last:
                await self._market.restore(rows, stored.head)
                await self._market.apply(Advance(stored.head), self._reader)
                assert kept[0].payload is not None
                self.findings = load(kept[0].payload)
                self._open = {
                    each.account: at
                    for at, each in enumerate(self.findings)
                    if each.ours is not None and each.theirs is None and not each.reason
                }
                return stored.head
            await self._store.renew("it is of another range")
        before = await self._history.header(self._first - 1)
        try:
            await self._market.bootstrap(self._reader, before)
        except ChainError as error:
            raise pruned(error, before.number) from None
        self._unsaved = [Row(_ROW, "first", str(self._first).encode())]
        return before

    async def _stretch(self, head: Header, last: int) -> list[Block]:
        """The next blocks. Readings are looked for further ahead: they were signed before they were handed in."""
        self._wanted = self._market.log_filter()
        blocks = self._ahead or await self._fetch(head.number + 1, min(head.number + STRETCH, last))
        reached = blocks[-1].header.number
        self._ahead = await self._fetch(reached + 1, min(reached + STRETCH, last)) if reached < last else []
        if self._past is not None:
            logs = [log for block in (*blocks, *self._ahead) for log in block.logs]
            for sent in (await self._history.transactions(self._past.transactions(logs))).values():
                self._past.learn(sent.data)
        return blocks

    async def _fetch(self, first: int, last: int) -> list[Block]:
        return await self._history.blocks(self._wanted, await self._history.headers(first, last))

    async def _step(self, head: Header, block: Block) -> None:
        """Decide at ``head`` for the block after it, then take that block in. If that fails, nothing was noted."""
        second = block.header.timestamp
        if self._past is not None:
            self._past.tell(second - REACTION_S)
        window = Window(block.header.number, second, second)
        decided, left = self._decide(head, window)
        closed = await self._closures(block)
        unseen = {account: left.get(account) or self._unseen(account, window) for account, _ in closed}
        await self._market.apply(Advance(block.header, block.logs), self._reader)
        self._unsaved += self._market.rows()
        for finding in decided:
            self._open[finding.account] = len(self.findings)
            self.findings.append(finding)
        for account, theirs in closed:
            self._ended(account, theirs, unseen[account])

    def _decide(self, head: Header, window: Window) -> tuple[list[Finding], dict[str, str]]:
        """What would be sent for the next block; the candidates that are left, with the reasons."""
        price = self._price
        fee_wei = (next_base_fee_wei(head, price.rules) or 0) + price.tip_wei
        terms = Terms(price.worth.native_price_e18, price.worth.min_profit_e18, fee_wei)
        decided: list[Finding] = []
        left: dict[str, str] = {}
        for decision in decide(
            self._market.name,
            self._market.round(window),
            window,
            terms,
            held_back=self._open,
            room=Room(head.gas_limit, GasUse()),
            seen_ns=0,
            now_ns=lambda: 0,
        ):
            if isinstance(decision, Skip):
                left[decision.account] = decision.reason
            elif isinstance(decision, Liquidation):
                decided.append(Finding(decision.account, self._ours(decision, window, fee_wei)))
        return decided, left

    def _ours(self, decision: Liquidation, window: Window, fee_wei: int) -> Ours:
        right = self._market.eligibility(self._liquidator, window.latest)
        return Ours(
            block=window.number,
            timestamp=window.latest,
            reward_b0=decision.reward_b0,
            value_wei=decision.reward_wei,
            gas_limit=decision.gas_limit,
            fee_wei=decision.gas_limit * fee_wei,
            refusal="" if right.allowed else right.reason,
        )

    async def _closures(self, block: Block) -> list[tuple[str, Theirs | None]]:
        """The accounts that this block closed; None for one that was closed without a liquidation."""
        closures = self._market.closures(block.logs)
        sent = await self._history.transactions(list(dict.fromkeys(each for _, each in closures)))
        header = block.header
        found: dict[str, Theirs | None] = {}
        for account, transaction_hash in closures:
            logs = [log for log in block.logs if log.transaction_hash == transaction_hash]
            by = sent.get(transaction_hash)
            liquidated = is_liquidation(self._market, account, logs, by.data if by else b"")
            theirs = Theirs(header.number, header.timestamp, transaction_hash, by.by if by else "")
            found[account] = theirs if liquidated else None
        return list(found.items())

    def _ended(self, account: str, theirs: Theirs | None, unseen: str) -> None:
        at = self._open.pop(account, None)
        if at is not None:
            reason = "" if theirs is not None else "closed by its owner"
            self.findings[at] = replace(self.findings[at], theirs=theirs, reason=reason)
        elif theirs is not None:
            self.findings.append(Finding(account, None, theirs, unseen))

    def _unseen(self, account: str, window: Window) -> str:
        """Why an account was no candidate: at the prices that were known it was not liquidatable."""
        assessment = self._market.round(window).assess(account)
        if assessment.verdict is Verdict.LIQUIDATABLE:
            return "the block had no room for it"
        return f"at the prices known then: {assessment.reason or assessment.verdict.value}"

    async def _save(self, head: Header) -> None:
        rows = [*self._unsaved, Row(_ROW, "state", dump(self.findings))]
        await self._store.save(rows, [Block(head)])
        self._unsaved = []
