"""A lane on a chain that is a few figures: every answer comes when the test says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils import keccak

from keeper.chain.answers import Json, RpcError, UnreachableError
from keeper.chain.books import Realised
from keeper.chain.budget import Limits
from keeper.chain.data_fee import DataFee
from keeper.chain.gas import FeeSettings
from keeper.chain.lane import Lane, LaneSettings
from keeper.chain.relay import Answer, Delivery
from keeper.chain.signer import LocalSigner
from keeper.chain.transport import Call
from keeper.model import Header, Liquidation, Outcome
from keeper.store.journal import Journal

GWEI, COIN = 10**9, 10**18
MARKET = "pool"
TARGET = "0x00000000000000000000000000000000000Ace55"
GAS = 100_000
SIGNER = LocalSigner(keccak(text="the keeper of the lane tests"))
SETTINGS = LaneSettings(
    chain_id=31337,
    fees=FeeSettings(tip_wei=GWEI, max_fee_wei=100 * GWEI),
    limits=Limits(hour_wei=10 * COIN, day_wei=50 * COIN),
)


def header(number: int, base_fee_wei: int = 10 * GWEI) -> Header:
    return Header(
        number, f"0x{number:064x}", f"0x{number - 1:064x}", 1000 + number, 30_000_000, 15_000_000, base_fee_wei
    )


def liquidation(account: str, number: int = 101) -> Liquidation:
    now = time.perf_counter_ns()
    return Liquidation(MARKET, account, TARGET, account.encode(), GAS, 5, COIN, now, now, number)


class Figures:
    """The chain's side: what it has mined, what it counts, and whether it answers."""

    def __init__(self) -> None:
        self.counts = {"latest": 0, "pending": 0}
        self.receipts: dict[str, Json] = {}
        self.balance_wei = 1000 * COIN
        self.silent_about: str = ""
        """A method, or a method and its last parameter, that nobody answers."""
        self.failing: set[str] = set()
        """Methods that a node answers with an error of its own."""
        self.holds: dict[str, asyncio.Event] = {}
        """Methods whose answers wait for an event."""

    def mine(self, transaction_hash: str, block: int, *, ok: bool = True, gas_used: int = GAS // 2) -> None:
        """The next of our transactions is in a block."""
        self.counts["latest"] += 1
        self.counts["pending"] = max(self.counts.values())
        self.receipts[transaction_hash] = {
            "transactionHash": transaction_hash,
            "status": hex(ok),
            "blockNumber": hex(block),
            "blockHash": header(block).hash,
            "gasUsed": hex(gas_used),
            "effectiveGasPrice": hex(11 * GWEI),
            "logs": [],
        }

    async def batch(self, calls: Sequence[Call]) -> list[Json | RpcError]:
        answers = [self._answer(method, params) for method, params in calls]
        for method, _ in calls:
            if method in self.holds:
                await self.holds[method].wait()
        return answers

    def _answer(self, method: str, params: Sequence[Json]) -> Json | RpcError:
        if self.silent_about in (method, f"{method} {params[-1]}"):
            raise UnreachableError("an answer", "there was none", "wait")
        if method in self.failing:
            return RpcError(method, "node", -32000, "transaction indexing is in progress")
        match method:
            case "eth_getTransactionCount":
                return hex(self.counts[str(params[1])])
            case "eth_getBalance":
                return hex(self.balance_wei)
            case "eth_getTransactionReceipt":
                return self.receipts.get(str(params[0]))
            case "eth_call":
                return RpcError(method, "node", 3, "execution reverted", "0x")
            case _:
                return None


class Door:
    """A relay that takes everything, or answers what the test puts in ``answers``, in that order."""

    private = False
    resend_blocks = 2

    def __init__(self) -> None:
        self.handed: list[bytes] = []
        self.answers: list[Awaitable[Delivery]] = []

    def send_all(self, raws: Sequence[bytes], head_number: int) -> Sequence[Awaitable[Delivery]]:
        self.handed += raws
        return [self.answers.pop(0) if self.answers else _taken() for _ in raws]

    @property
    def hashes(self) -> list[str]:
        return ["0x" + keccak(raw).hex() for raw in self.handed]


async def _taken() -> Delivery:
    return Delivery(Answer.ACCEPTED)


@dataclass
class Alone:
    """A lane, its chain, its relay and all that it told."""

    lane: Lane
    chain: Figures
    door: Door
    journal: Journal
    told: list[Outcome] = field(default_factory=list)

    async def send(self, *accounts: str, number: int = 100) -> None:
        await self.lane.submit([liquidation(account, number + 1) for account in accounts], header(number))
        await self.lane.answered()

    async def turn(self, number: int, base_fee_wei: int = 10 * GWEI) -> None:
        await self.lane.on_head(header(number, base_fee_wei))
        await self.lane.answered()

    def states(self, account: str) -> list[str]:
        return [outcome.state.value for outcome in self.told if outcome.account == account]


@asynccontextmanager
async def lane_alone(
    path: Path,
    *,
    settings: LaneSettings = SETTINGS,
    data_fee: DataFee | None = None,
    chain: Figures | None = None,
    realised: Realised = lambda outcome: 5,
) -> AsyncIterator[Alone]:
    """A started lane at block 100."""
    journal = await Journal.open(path / "journal")
    chain, door, told = chain or Figures(), Door(), list[Outcome]()
    lane = Lane(SIGNER, chain, door, journal, settings, data_fee=data_fee, realised=realised, outcomes=told.append)
    try:
        await lane.start(header(100))
        yield Alone(lane, chain, door, journal, told)
    finally:
        await lane.close(0.1)
        await journal.close()
