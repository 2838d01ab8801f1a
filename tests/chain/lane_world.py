"""A lane on a real Anvil, with a target that behaves like something to liquidate.

The target's call data is one word, the account. It
- takes the account: remembers the caller and logs one word, the account, with the caller as topic;
- reverts ``no position`` if the account is taken already;
- reverts with the custom error ``0xdeadbeef`` if the account's first byte is 0xff;
- burns all its gas if that byte is 0xfe.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils import keccak

from keeper.chain.answers import fields, quantity, text
from keeper.chain.blocks import header_of
from keeper.chain.books import Claims, Realised
from keeper.chain.budget import Limits
from keeper.chain.endpoint import Endpoint
from keeper.chain.gas import FeeSettings
from keeper.chain.lane import Lane, LaneSettings
from keeper.chain.relay import PublicRelay, Relay
from keeper.chain.rpc import Rpc
from keeper.chain.signer import LocalSigner, Signer
from keeper.chain.transaction import Fees, Transaction
from keeper.devnet.anvil import Anvil
from keeper.model import Header, Liquidation, Outcome, OutcomeState
from keeper.store.journal import Journal, Standing

GWEI = 10**9
COIN = 10**18
TARGET = "0x00000000000000000000000000000000000Ace55"
MARKET = "target"
GAS = 120_000
REWARD_B0 = 1_000_000
REWARD_WEI = COIN // 10
SIGNER = LocalSigner(keccak(text="the keeper of the lane tests"))
RIVAL = LocalSigner(keccak(text="the rival of the lane tests"))

_CODE = (
    "600035"  # the account
    "8060f81c8060ff14602757"  # first byte 0xff: to 0x27
    "60fe14603857"  # first byte 0xfe: to 0x38
    "8054603a57"  # taken: to 0x3a
    "80339055"  # take it
    "6000523360206000a100"  # log it, stop
    "5b63deadbeef60e01b60005260046000fd"  # 0x27: revert 0xdeadbeef
    "5bfe"  # 0x38: invalid instruction
    "5b6064604760003960646000fd"  # 0x3a: revert with the 100 bytes that follow
    "08c379a0" + f"{32:064x}" + f"{11:064x}" + b"no position".ljust(32, b"\0").hex()
)


def account(number: int, first_byte: int = 0) -> str:
    return f"0x{first_byte:02x}{number:062x}"


def liquidation(name: str, *, head: Header, reward_wei: int = REWARD_WEI, gas: int = GAS) -> Liquidation:
    now = time.perf_counter_ns()
    return Liquidation(
        MARKET, name, TARGET, bytes.fromhex(name[2:]), gas, REWARD_B0, reward_wei, now, now, head.number + 1
    )


def realised(outcome: Outcome) -> int:
    """The target pays ``REWARD_B0`` for every account, and says so in its one log."""
    return REWARD_B0 * len(outcome.logs)


@dataclass
class World:
    """A lane, its node, and everything it said."""

    anvil: Anvil
    rpc: Rpc
    journal: Journal
    lane: Lane
    told: list[Outcome] = field(default_factory=list)
    alerts: dict[str, str | None] = field(default_factory=dict)

    async def head(self) -> Header:
        return header_of(fields(await self.rpc.request("eth_getBlockByNumber", ["latest", False])))

    async def mine(self) -> Header:
        """One block more, told to the lane."""
        await self.anvil.rpc("evm_mine")
        return await self.turn()

    async def turn(self) -> Header:
        """Tell the lane of the newest head."""
        head = await self.head()
        await self.lane.on_head(head)
        await self.lane.answered()
        return head

    async def send(self, *names: str, reward_wei: int = REWARD_WEI) -> None:
        """Submit and wait until the node has answered for all of them."""
        head = await self.head()
        await self.lane.submit([liquidation(name, head=head, reward_wei=reward_wei) for name in names], head)
        await self.lane.answered()

    async def taker(self, name: str) -> str:
        """Who took the account, as a lower-case address; zero if nobody has."""
        word = text(await self.rpc.request("eth_getStorageAt", [TARGET, name, "latest"]))
        return "0x" + word[-40:]

    async def chain_nonce(self) -> int:
        """What the chain itself counts, whatever the lane's node says."""
        return await self.anvil.quantity("eth_getTransactionCount", self.lane.address, "latest")

    async def pool(self) -> dict[int, Mapping[str, object]]:
        """The lane's transactions in the node's pool, by nonce."""
        content = fields(await self.rpc.request("txpool_content"))
        found: dict[int, Mapping[str, object]] = {}
        for part in ("pending", "queued"):
            for sender, transactions in fields(content[part]).items():
                if sender.lower() == self.lane.address.lower():
                    found |= {int(nonce): fields(body) for nonce, body in fields(transactions).items()}
        return found

    async def rival_takes(self, *names: str, tip_wei: int = 10 * GWEI) -> None:
        """Another liquidator hands in the same accounts, with a better tip."""
        nonce = quantity(await self.rpc.request("eth_getTransactionCount", [RIVAL.address, "pending"]))
        for offset, name in enumerate(names):
            fees = Fees(200 * GWEI, tip_wei)
            data = bytes.fromhex(name[2:])
            signed = await RIVAL.sign(Transaction(self.rpc.chain_id, nonce + offset, TARGET, data, GAS, fees))
            await self.rpc.request("eth_sendRawTransaction", ["0x" + signed.raw.hex()])

    async def standings(self) -> list[Standing]:
        """Where every intent stands, once all that was noted is on disk."""
        await self.journal.drain()
        return await self.journal.unsettled(self.rpc.chain_id, self.lane.address, 0, 0)

    async def spent(self) -> list[tuple[float, int]]:
        """What was paid, once all that was noted is on disk."""
        await self.journal.drain()
        return await self.journal.spent(self.rpc.chain_id, self.lane.address, 0)

    def states(self, name: str) -> list[OutcomeState]:
        """The states told about an account, oldest first."""
        return [outcome.state for outcome in self.told if outcome.account == name]

    def last(self, name: str) -> Outcome:
        return [outcome for outcome in self.told if outcome.account == name][-1]


SETTINGS = LaneSettings(
    chain_id=31337,
    fees=FeeSettings(tip_wei=GWEI, max_fee_wei=100 * GWEI),
    limits=Limits(hour_wei=10 * COIN, day_wei=50 * COIN),
)


async def prepare(anvil: Anvil) -> None:
    """The target in its place, and money for us and the rival."""
    await anvil.rpc("anvil_setCode", TARGET, "0x" + _CODE)
    for address in (SIGNER.address, RIVAL.address):
        await anvil.rpc("anvil_setBalance", address, hex(1000 * COIN))


@asynccontextmanager
async def lane_world(
    anvil: Anvil,
    path: Path,
    *,
    settings: LaneSettings = SETTINGS,
    signer: Signer = SIGNER,
    urls: tuple[str, ...] = (),
    relays: Mapping[str, Relay] | None = None,
    claims: Claims | None = None,
    realised: Realised = realised,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[World]:
    """A started lane on a prepared Anvil; ``urls`` are the endpoints to use instead of Anvil's own."""
    endpoints = [Endpoint(url) for url in urls or (anvil.http_url,)]
    async with Rpc(endpoints, settings.chain_id) as rpc:
        journal = await Journal.open(path)
        told: list[Outcome] = []
        alerts: dict[str, str | None] = {}
        lane = Lane(
            signer,
            rpc,
            PublicRelay(rpc),
            journal,
            settings,
            relays=relays,
            claims=claims,
            realised=realised,
            outcomes=told.append,
            alert=alerts.__setitem__,
            clock=clock,
        )
        world = World(anvil, rpc, journal, lane, told, alerts)
        try:
            await lane.start(await world.head())
            yield world
        finally:
            await lane.close()
            await journal.close()
