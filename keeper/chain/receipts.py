"""What the chain says when it is asked directly: counts, receipts, plain getters, and why a call would revert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eth_utils import keccak

from keeper.chain.answers import Json, RpcError, count, fields, items, octets, quantity, text
from keeper.chain.blocks import address_of
from keeper.chain.reverts import error_data
from keeper.chain.transport import Call
from keeper.errors import ChainError
from keeper.model import Log
from keeper.store.journal import Intent


class Node(Protocol):
    """As much of ``keeper.chain.rpc.Rpc`` as looking needs."""

    async def batch(self, calls: Sequence[Call]) -> list[Json | RpcError]: ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. ``fee_wei`` is everything it cost, an L2's data fee included."""

    hash: str
    ok: bool
    block_number: int
    block_hash: str
    gas_used: int
    fee_wei: int
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the chain knows of a signer: transactions mined, and the wallet's balance."""

    count: int
    balance_wei: int


async def tally(node: Node, address: str, block: str = "latest") -> Tally:
    """Raises ``ChainError`` if the node doesn't say."""
    mined, balance = await node.batch(
        [("eth_getTransactionCount", [address, block]), ("eth_getBalance", [address, "latest"])]
    )
    return Tally(count(_answer(mined)), quantity(_answer(balance)))


async def genesis(node: Node) -> str | None:
    """The hash of the chain's first block; None if the node no longer has it. Raises ``ChainError``."""
    [answer] = await node.batch([("eth_getBlockByNumber", ["0x0", False])])
    return None if answer is None or isinstance(answer, RpcError) else text(fields(answer).get("hash")).lower()


async def receipts(node: Node, hashes: Sequence[str]) -> dict[str, Receipt]:
    """The receipts that there are, by transaction hash. Raises ``ChainError``."""
    if not hashes:
        return {}
    answers = await node.batch([("eth_getTransactionReceipt", [value]) for value in hashes])
    found = [_receipt(answer) for answer in answers if not isinstance(answer, RpcError) and answer is not None]
    return {receipt.hash: receipt for receipt in found}


async def known(node: Node, hashes: Sequence[str]) -> set[str]:
    """Those transactions that the node knows, mined or pending, or can't tell of. Raises ``ChainError``."""
    if not hashes:
        return set()
    answers = await node.batch([("eth_getTransactionByHash", [value]) for value in hashes])
    return {value for value, answer in zip(hashes, answers, strict=True) if answer is not None}


async def revert_data(node: Node, sender: str, intent: Intent, receipt: Receipt) -> bytes:
    """Replay a reverted call and return what it reverts with; empty if it does not revert, or nobody can tell.

    First on the state after its block, which holds what a competitor did before us in it, then on the state before.
    """
    call: dict[str, Json] = {
        "from": sender,
        "to": intent.target,
        "data": "0x" + intent.data.hex(),
        "gas": hex(intent.gas_limit),
    }
    numbers = (receipt.block_number, receipt.block_number - 1)
    for answer in await node.batch([("eth_call", [call, hex(number)]) for number in numbers]):
        if isinstance(answer, RpcError):
            return answer.revert_data or error_data(answer.message)
    return b""


async def words(node: Node, to: str, signatures: Sequence[str]) -> list[list[int]]:
    """What getters answer now, as unsigned words; none from an address without code. Raises ``ChainError``."""
    calls: list[Call] = [
        ("eth_call", [{"to": to, "data": "0x" + keccak(text=signature)[:4].hex()}, "latest"])
        for signature in signatures
    ]
    data = [octets(_answer(answer)) for answer in await node.batch(calls)]
    return [[int.from_bytes(each[at : at + 32], "big") for at in range(0, len(each), 32)] for each in data]


def _answer(answer: Json | RpcError) -> Json:
    if isinstance(answer, RpcError):
        raise answer
    return answer


def _receipt(answer: Json) -> Receipt:
    found = fields(answer)
    gas_used = count(found.get("gasUsed"))
    try:
        price = found["effectiveGasPrice"]
    except KeyError:
        raise ChainError("effectiveGasPrice in a receipt", "it is missing", "use a node from after London") from None
    data_fee = found.get("l1Fee")
    block_number, block_hash = count(found.get("blockNumber")), text(found.get("blockHash")).lower()
    transaction_hash = text(found.get("transactionHash")).lower()
    return Receipt(
        transaction_hash,
        quantity(found.get("status")) == 1,
        block_number,
        block_hash,
        gas_used,
        gas_used * quantity(price) + (quantity(data_fee) if data_fee is not None else 0),
        tuple(_log(entry, block_number, block_hash, transaction_hash) for entry in items(found.get("logs"))),
    )


def _log(entry: Json, block_number: int, block_hash: str, transaction_hash: str) -> Log:
    found = fields(entry)
    return Log(
        address_of(found.get("address")),
        tuple(octets(topic) for topic in items(found.get("topics"))),
        octets(found.get("data")),
        block_number,
        block_hash,
        transaction_hash,
        count(found.get("logIndex")),
    )
