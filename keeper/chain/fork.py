"""A fork of the live chain: an Anvil of our own that stands at a live block, and on which anything may be tried.

Whatever is sent here is sent to a process of this machine that listens on the loopback alone. The live chain is only
read, and its URL reaches Anvil in a request's body, never on a command line.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keeper.chain.answers import Json, RpcError, fields, octets, quantity, text
from keeper.chain.anvil import AnvilOptions, anvil_process
from keeper.chain.blocks import header_of, logs_of
from keeper.chain.calls import PinnedReader
from keeper.chain.endpoint import Endpoint, redacted
from keeper.chain.reverts import OUT_OF_GAS, reason_of
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError, ConfigError
from keeper.model import Header, Log

PATIENCE_S = 60.0
"""A fork fetches what it has not seen yet from the live node, slot by slot."""
FUNDS_WEI = 10**22
"""What whoever sends on a fork is given, unless they have more: an unfunded key is no reason to learn nothing."""
MOST_BLOCKS = 16
"""Transactions that don't fit into so many blocks are given up."""


@dataclass(frozen=True, slots=True)
class Call:
    """A transaction to try."""

    to: str
    data: bytes
    gas_limit: int


@dataclass(frozen=True, slots=True)
class GasPrice:
    """What gas costs in the block in which something is tried."""

    base_fee_wei: int | None
    """None on a chain without EIP-1559."""
    price_wei: int
    """Base fee and tip."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What a transaction did where it was tried."""

    ok: bool
    reason: str
    """Why it reverted, in the contract's words; empty if it did not."""
    gas_used: int
    price_wei: int
    """Per unit of gas."""
    logs: tuple[Log, ...]
    transaction_hash: str | None
    executed: bool = True
    """False: only its success is known, and ``gas_used`` is its gas limit."""

    @property
    def fee_wei(self) -> int:
        return self.gas_used * self.price_wei


class Fork:
    """Owns where the fork stands. ``open_fork`` makes one. Everything raises ``ChainError`` if Anvil is gone."""

    def __init__(self, rpc: Rpc, upstreams: Sequence[str], pid: int) -> None:
        self.pid = pid
        self.rpc = rpc
        self.reader = PinnedReader(rpc)
        self.origin: Header | None = None
        """The live block that it was forked from."""
        self._upstreams = tuple(upstreams)
        self._impersonated: set[str] = set()

    async def ask(self, method: str, *params: Json) -> Json:
        """One request, asked once."""
        return await self.rpc.request(method, params, link=self.rpc.links[0], timeout_s=PATIENCE_S)

    async def stand_at(self, head: Header) -> None:
        """Forget everything and stand at a live block. The next upstream is tried where one can't be forked."""
        came = ""
        self.origin = None
        self._impersonated.clear()
        for url in self._upstreams:
            try:
                await self.ask("anvil_reset", {"forking": {"jsonRpcUrl": url, "blockNumber": head.number}})
                here = await self.head()
            except RpcError as error:
                # Anvil quotes the URL, which may hold a credential.
                came = f"{redacted(url)}: {error.message.replace(url, redacted(url))}"
                continue
            if here.hash == head.hash:
                self.origin = head
                return
            came = f"{redacted(url)} has {here.hash} there"
        raise ChainError(
            f"to fork the chain at block {head.number} ({head.hash})", came, "see whether the endpoints keep up"
        )

    async def head(self) -> Header:
        return header_of(fields(await self.ask("eth_getBlockByNumber", "latest", False)))

    async def snapshot(self) -> str:
        """Remember everything; the answer goes to ``revert``, once."""
        return text(await self.ask("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        if await self.ask("evm_revert", snapshot) is not True:
            raise ChainError(f"to return to snapshot {snapshot}", "the fork has none", "start the fork anew")

    async def code(self, address: str) -> bytes:
        return octets(await self.ask("eth_getCode", address, "latest"))

    async def set_code(self, address: str, code: bytes) -> None:
        await self.ask("anvil_setCode", address, "0x" + code.hex())

    async def storage(self, address: str, slot: int) -> bytes:
        """One word."""
        return octets(await self.ask("eth_getStorageAt", address, hex(slot), "latest")).rjust(32, b"\0")

    async def set_storage(self, address: str, slot: int, word: bytes) -> None:
        await self.ask("anvil_setStorageAt", address, hex(slot), "0x" + word.hex())

    async def mine(self, timestamp: int) -> Header:
        """An empty block, or one with what is pending, at that second."""
        await self.ask("evm_setNextBlockTimestamp", hex(timestamp))
        await self.ask("evm_mine")
        return await self.head()

    async def execute(self, calls: Sequence[Call], sender: str, *, timestamp: int, gas: GasPrice) -> list[Executed]:
        """Send these in their order from an address without its key, all in a block at that second if they fit."""
        await self._impersonate(sender)
        if gas.base_fee_wei is not None:
            await self.ask("anvil_setNextBlockBaseFeePerGas", hex(gas.base_fee_wei))
        await self.ask("evm_setNextBlockTimestamp", hex(timestamp))
        sent: list[str | RpcError] = []
        for call in calls:
            request: dict[str, Json] = {"from": sender, "to": call.to, "data": "0x" + call.data.hex()}
            request |= {"gas": hex(call.gas_limit), "gasPrice": hex(gas.price_wei)}
            try:
                sent.append(text(await self.ask("eth_sendTransaction", request)))
            except RpcError as error:
                sent.append(error)
        receipts: dict[str, Json] = {}
        waiting = [entry for entry in sent if isinstance(entry, str)]
        for _ in range(MOST_BLOCKS):
            if not waiting:
                break
            await self.ask("evm_mine")
            for entry in waiting:
                if (receipt := await self.ask("eth_getTransactionReceipt", entry)) is not None:
                    receipts[entry] = receipt
            waiting = [entry for entry in waiting if entry not in receipts]
        return [await self._outcome(entry, receipts, gas.price_wei) for entry in sent]

    async def _outcome(self, sent: str | RpcError, receipts: dict[str, Json], price_wei: int) -> Executed:
        if isinstance(sent, RpcError):
            return Executed(False, f"refused: {sent.message}", 0, price_wei, (), None)
        if sent not in receipts:
            return Executed(False, "no block of the fork had room for it", 0, price_wei, (), sent)
        receipt = fields(receipts[sent])
        ok = quantity(receipt.get("status")) == 1
        gas_used = quantity(receipt.get("gasUsed"))
        reason = "" if ok else await self._reason(sent, gas_used)
        return Executed(ok, reason, gas_used, price_wei, logs_of(receipt.get("logs")), sent)

    async def _reason(self, transaction_hash: str, gas_used: int) -> str:
        trace = fields(await self.ask("debug_traceTransaction", transaction_hash, {"tracer": "callTracer"}))
        if (output := trace.get("output")) is not None and (reason := reason_of(octets(output))):
            return reason
        return OUT_OF_GAS if gas_used * 100 >= quantity(trace.get("gas")) * 98 else "reverted without a reason"

    async def _impersonate(self, sender: str) -> None:
        if sender in self._impersonated:
            return
        await self.ask("anvil_impersonateAccount", sender)
        if quantity(await self.ask("eth_getBalance", sender, "latest")) < FUNDS_WEI:
            await self.ask("anvil_setBalance", sender, hex(FUNDS_WEI))
        self._impersonated.add(sender)


@asynccontextmanager
async def open_fork(binary: Path, upstreams: Sequence[str], chain_id: int) -> AsyncIterator[Fork]:
    """Start an Anvil that can stand at blocks of the chain behind ``upstreams``; stopped when the block is left.

    Raises ``ConfigError`` or ``ChainError`` if it can't be started.
    """
    if not upstreams:
        raise ConfigError("an endpoint to fork", "there is none", "configure one")
    ordered = sorted(upstreams, key=lambda url: not url.startswith("http"))
    options = AnvilOptions(no_mining=True, chain_id=chain_id, accounts=0)
    async with anvil_process(binary, options) as process, Rpc([Endpoint(process.http_url)], chain_id) as rpc:
        fork = Fork(rpc, ordered, process.pid)
        await fork.ask("anvil_setLoggingEnabled", False)
        yield fork
