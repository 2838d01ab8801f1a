"""Transactions on a development node, sent from accounts that it impersonates: no keys, no signing, many at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from eth_abi.abi import decode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.devnet.rpc import DevNode, Json, as_int
from keeper.errors import ChainError

GWEI = 10**9
_ERROR_SELECTOR = keccak(text="Error(string)")[:4]
_PANIC_SELECTOR = keccak(text="Panic(uint256)")[:4]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What to send. ``to`` None creates a contract."""

    sender: str
    to: str | None
    data: bytes = b""
    gas: int = 3_000_000
    value_wei: int = 0
    max_fee_per_gas_wei: int = 100 * GWEI
    tip_per_gas_wei: int = GWEI


def created_address(sender: str, nonce: int) -> str:
    """Where a contract lands that ``sender`` creates with that nonce (the RLP list of both, hashed)."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = number if 0 < nonce < 0x80 else bytes([0x80 + len(number)]) + number
    payload = b"\x94" + bytes.fromhex(sender[2:]) + item
    return to_checksum_address(keccak(bytes([0xC0 + len(payload)]) + payload)[-20:])


async def send(node: DevNode, transactions: Sequence[Transaction]) -> list[str]:
    """Hand transactions to the node in one go, in this order for each sender; their hashes, not waited for.

    The node has to impersonate the senders (``anvil_autoImpersonateAccount``).
    """
    nonces = await next_nonces(node, {transaction.sender for transaction in transactions})
    sent: Counter[str] = Counter()
    calls: list[tuple[str, list[Json]]] = []
    for transaction in transactions:
        nonce = nonces[transaction.sender] + sent[transaction.sender]
        sent[transaction.sender] += 1
        calls.append(("eth_sendTransaction", [_request(transaction, nonce)]))
    return [cast("str", answer) for answer in await node.batch(calls)]


async def next_nonces(node: DevNode, senders: set[str]) -> dict[str, int]:
    """The next nonce of each sender, pending transactions counted."""
    ordered = sorted(senders)
    answers = await node.batch([("eth_getTransactionCount", [sender, "pending"]) for sender in ordered])
    return {sender: as_int(answer) for sender, answer in zip(ordered, answers, strict=True)}


async def confirm(node: DevNode, hashes: Sequence[str], *, within_seconds: float = 30.0) -> list[Mapping[str, Json]]:
    """Wait until all are mined; their receipts. Raises ``ChainError`` for the first that reverted, or on time-out."""
    receipts: dict[str, Mapping[str, Json]] = {}
    try:
        async with asyncio.timeout(within_seconds):
            while missing := [hash_ for hash_ in hashes if hash_ not in receipts]:
                answers = await node.batch([("eth_getTransactionReceipt", [hash_]) for hash_ in missing])
                receipts |= {h: answer for h, answer in zip(missing, answers, strict=True) if isinstance(answer, dict)}
                if len(receipts) < len(hashes):
                    await asyncio.sleep(0.02)
    except TimeoutError:
        raise ChainError(
            f"{len(hashes)} transactions to be mined within {within_seconds:.0f} s",
            f"{len(receipts)} were",
            "check that the node mines",
        ) from None
    for hash_ in hashes:
        if receipts[hash_]["status"] != "0x1":
            raise ChainError(
                f"transaction {hash_} to succeed", f"it reverted: {await revert_reason(node, hash_)}", "correct it"
            )
    return [receipts[hash_] for hash_ in hashes]


async def revert_reason(node: DevNode, transaction_hash: str) -> str:
    """Why a mined transaction reverted, found by tracing it."""
    trace = await node.rpc("debug_traceTransaction", transaction_hash, {"disableStorage": True, "disableStack": True})
    answer = trace.get("returnValue") if isinstance(trace, dict) else None
    return reason_text(bytes.fromhex(answer.removeprefix("0x")) if isinstance(answer, str) else b"")


def reason_text(data: bytes) -> str:
    """What revert data says: the string of ``Error``, a ``Panic`` with its code, or the data in hexadecimal."""
    if data[:4] == _ERROR_SELECTOR:
        return str(decode(["string"], data[4:])[0])
    if data[:4] == _PANIC_SELECTOR:
        return f"Panic({int.from_bytes(data[4:36], 'big'):#04x})"
    return "0x" + data.hex() if data else "without a reason"


@asynccontextmanager
async def mined_by_hand(node: DevNode) -> AsyncIterator[None]:
    """No block is mined but by ``DevNode.mine`` meanwhile; afterwards the node mines as it did before."""
    automine = await node.rpc("anvil_getAutomine")
    interval = await node.rpc("anvil_getIntervalMining")
    await node.set_automine(False)
    await node.set_interval_mining(0)
    try:
        yield
    finally:
        if isinstance(interval, int) and interval > 0:
            await node.set_interval_mining(interval)
        elif automine is True:
            await node.set_automine(True)


def _request(transaction: Transaction, nonce: int) -> dict[str, Json]:
    request: dict[str, Json] = {
        "from": transaction.sender,
        "nonce": hex(nonce),
        "gas": hex(transaction.gas),
        "value": hex(transaction.value_wei),
        "data": "0x" + transaction.data.hex(),
        "maxFeePerGas": hex(transaction.max_fee_per_gas_wei),
        "maxPriorityFeePerGas": hex(transaction.tip_per_gas_wei),
    }
    if transaction.to is not None:
        request["to"] = transaction.to
    return request
