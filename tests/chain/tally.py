"""The smallest market: accounts with a value each, in branches that open while it runs (contracts/devnet/Tally.sol)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import cast

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.devnet.artifacts import load_artifact
from keeper.devnet.rpc import DevNode
from keeper.devnet.transactions import Transaction, confirm, created_address, next_nonces, send
from keeper.errors import ChainError, StoreError
from keeper.model import Advance, Header, LogFilter, ReadCall, Reader, Row

_GETTERS = {"branchCount": "", "count": "", "branches": "uint256", "accounts": "uint256", "values": "address"}

ARTIFACT = load_artifact("TallyMarket", "Tally.sol")
CHANGED = ARTIFACT.topic("Changed")
OPENED = ARTIFACT.topic("Opened")
SELECTORS = {name: keccak(text=f"{name}({takes})")[:4] for name, takes in _GETTERS.items()}


class TallyMirror:
    """The mirror of a ``TallyMarket``."""

    def __init__(self, address: str) -> None:
        self.name = "tally"
        self.head: Header | None = None
        self.values: dict[tuple[str, str], int] = {}
        """By branch and account."""
        self._address = address
        self._branches: set[str] = {address}
        self._unread: set[str] = set()
        """Branches whose accounts are still to be read: an ``apply`` may fail half-way and is then tried again."""
        self._changed: set[tuple[str, str]] = set()

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        self.values = {}
        self._changed = set()
        self._branches = {self._address}
        self._unread = set()
        await self._read_branches(reader, head)
        for branch in sorted(self._branches):
            await self._read_branch(branch, reader, head)
        self.head = head

    def log_filter(self) -> LogFilter:
        return LogFilter(frozenset(self._branches), frozenset({CHANGED, OPENED}))

    async def apply(self, advance: Advance, reader: Reader) -> None:
        logs = (*advance.undone, *advance.logs)
        if any(each.topics[0] == OPENED for each in logs):
            await self._read_branches(reader, advance.head)
        for branch in sorted(self._unread & self._branches):
            await self._read_branch(branch, reader, advance.head)
        self._unread = set()
        dirty = {(each.address, _account(each.topics[1])) for each in logs if each.topics[0] == CHANGED}
        await self._read_values(sorted(dirty), reader, advance.head)
        self.head = advance.head

    def rows(self) -> Sequence[Row]:
        rows = [Row("branches", "", "\n".join(sorted(self._branches)).encode())]
        for key in sorted(self._changed):
            value = self.values.get(key)
            rows.append(Row("value", "/".join(key), None if value is None else str(value).encode()))
        self._changed = set()
        return rows

    async def restore(self, rows: Sequence[Row], head: Header) -> None:
        values = {}
        branches: set[str] = set()
        for row in rows:
            payload = (row.payload or b"").decode()
            if row.kind == "branches":
                branches = set(payload.split())
            else:
                branch, account = row.key.split("/")
                values[branch, account] = int(payload)
        if self._address not in branches:
            raise StoreError("rows of this market", "its own branch is missing", "it is read anew")
        self.values, self._branches, self.head = values, branches, head

    @property
    def branches(self) -> Sequence[str]:
        return sorted(self._branches)

    def digest(self) -> str:
        text = repr((sorted(self._branches), sorted(self.values.items())))
        return hashlib.sha256(text.encode()).hexdigest()

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        assert self.head is not None
        keys = sorted(self.values)[:accounts]
        found = await _numbers(reader, self.head, [_getter(key[0], "values", int(key[1], 16)) for key in keys])
        return [key[1] for key, value in zip(keys, found, strict=True) if value != self.values[key]]

    def accounts_watched(self) -> int:
        return len(self.values)

    async def _read_branches(self, reader: Reader, head: Header) -> None:
        count = await _numbers(reader, head, [_getter(self._address, "branchCount")])
        calls = [_getter(self._address, "branches", index) for index in range(count[0])]
        found = {to_checksum_address(number.to_bytes(20, "big")) for number in await _numbers(reader, head, calls)}
        self._unread |= found - self._branches
        gone = self._branches - found - {self._address}
        self._branches = found | {self._address}
        for key in [key for key in self.values if key[0] in gone]:
            del self.values[key]
            self._changed.add(key)

    async def _read_branch(self, branch: str, reader: Reader, head: Header) -> None:
        [count] = await _numbers(reader, head, [_getter(branch, "count")])
        calls = [_getter(branch, "accounts", index) for index in range(count)]
        accounts = [to_checksum_address(number.to_bytes(20, "big")) for number in await _numbers(reader, head, calls)]
        await self._read_values([(branch, account) for account in accounts], reader, head)

    async def _read_values(self, keys: Sequence[tuple[str, str]], reader: Reader, head: Header) -> None:
        calls = [_getter(branch, "values", int(account, 16)) for branch, account in keys]
        for key, value in zip(keys, await _numbers(reader, head, calls), strict=True):
            if value and key[0] in self._branches:
                self.values[key] = value
            else:
                self.values.pop(key, None)
            self._changed.add(key)


def _getter(to: str, name: str, argument: int = 0) -> ReadCall:
    return ReadCall(to, SELECTORS[name] + argument.to_bytes(32, "big"))


async def _numbers(reader: Reader, head: Header, calls: Sequence[ReadCall]) -> list[int]:
    """Each call's word; 0 where there is no contract (any more)."""
    results = await reader.read(calls, head.hash)
    if not all(result.ok for result in results):
        # Anvil resolves the hash before it takes the state: a reorg between the two shows another block's.
        raise ChainError("getters to answer", f"one reverted at block {head.number}", "it is read again")
    return [int.from_bytes(result.data, "big") for result in results]


def _account(topic: bytes) -> str:
    return str(to_checksum_address(topic[-20:]))


@dataclass(frozen=True, slots=True)
class TallyDevnet:
    """A ``TallyMarket`` on a node, and people who use it."""

    node: DevNode
    address: str
    senders: tuple[str, ...]

    def some_call(self, draw: Random, branches: Sequence[str]) -> tuple[str, bytes]:
        """What somebody might do: a target and its call data."""
        if draw.random() < 0.03:
            return self.address, ARTIFACT.encode("open")
        account = to_checksum_address(draw.randrange(1, 300).to_bytes(20, "big"))
        return draw.choice(branches), ARTIFACT.encode("add", account, draw.randrange(100))

    async def open(self) -> None:
        """Send what opens a branch; it waits for a block."""
        await send(self.node, [Transaction(self.senders[0], self.address, ARTIFACT.encode("open"))])

    async def act(self, draw: Random, branches: Sequence[str], count: int) -> None:
        """Send so many random transactions; they wait for a block."""
        calls = [self.some_call(draw, branches) for _ in range(count)]
        await send(self.node, [Transaction(draw.choice(self.senders), to, data) for to, data in calls])

    async def reorg(self, draw: Random, branches: Sequence[str], depth: int) -> None:
        """Replace the last ``depth`` blocks by others with random transactions of their own."""
        old = await self.node.block_number() - depth
        nonces = {
            sender: int(cast("str", await self.node.rpc("eth_getTransactionCount", sender, hex(old))), 16)
            for sender in self.senders
        }
        replacing = []
        for at in sorted(draw.randrange(depth) for _ in range(draw.randrange(2 * depth + 1))):
            sender = draw.choice(self.senders)
            to, data = self.some_call(draw, branches)
            request = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(3_000_000)}
            replacing.append([request | {"nonce": hex(nonces[sender]), "gasPrice": hex(10**11)}, at])
            nonces[sender] += 1
        await self.node.rpc("anvil_reorg", depth, replacing)  # type: ignore[arg-type]


async def deploy_tally(node: DevNode) -> TallyDevnet:
    """Deploy a market; the node mines for every transaction at this point."""
    senders = tuple(to_checksum_address(each) for each in cast("list[str]", await node.rpc("eth_accounts")))[:4]
    nonce = (await next_nonces(node, {senders[0]}))[senders[0]]
    await confirm(node, await send(node, [Transaction(senders[0], None, ARTIFACT.deployment())]))
    return TallyDevnet(node, created_address(senders[0], nonce), senders)
