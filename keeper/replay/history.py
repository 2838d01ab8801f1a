"""The blocks of the past as a replay walks them: headers, logs, and who sent what, from an archive node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.chain.answers import RpcError, fields, octets, text
from keeper.chain.blocks import header_of, to_checksum_address
from keeper.chain.logs import PastLogs
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError, ConfigError
from keeper.model import Block, Header, Log, LogFilter

STRETCH = 100
"""Blocks that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction of the past."""

    by: str
    data: bytes


class History:
    """Owns the way to the archive."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self._logs = PastLogs(rpc)

    async def header(self, number: int) -> Header:
        """Raises ``ChainError`` if no node has the block."""
        return (await self.headers(number, number))[0]

    async def headers(self, first: int, last: int) -> list[Header]:
        """The headers from ``first`` to ``last``, one after the other of the same chain. Raises ``ChainError``."""
        answers = await self.rpc.batch(
            [("eth_getBlockByNumber", [hex(number), False]) for number in range(first, last + 1)]
        )
        found: list[Header] = []
        for number, answer in enumerate(answers, first):
            if answer is None or isinstance(answer, RpcError):
                came = answer.came if isinstance(answer, RpcError) else "the node has none"
                raise ChainError(f"block {number}", came, "check the range and the endpoint")
            header = header_of(fields(answer))
            if found and header.parent_hash != found[-1].hash:
                raise ChainError(
                    f"block {number} to follow {found[-1].hash}",
                    f"its parent is {header.parent_hash}",
                    "the nodes disagree, or the chain was reorganised: run it again",
                )
            found.append(header)
        return found

    async def blocks(self, wanted: LogFilter, headers: Sequence[Header]) -> list[Block]:
        """The blocks of these headers with the wanted logs."""
        logs = await self._logs.logs(wanted, headers[0].number, headers[-1])
        by_number: dict[int, list[Log]] = {}
        for log in logs:
            by_number.setdefault(log.block_number, []).append(log)
        return [Block(header, tuple(by_number.get(header.number, ()))) for header in headers]

    async def transactions(self, hashes: Sequence[str]) -> dict[str, Sent]:
        """Those transactions that a node knows, by hash."""
        answers = await self.rpc.batch([("eth_getTransactionByHash", [each]) for each in hashes])
        found = {}
        for transaction_hash, answer in zip(hashes, answers, strict=True):
            if isinstance(answer, RpcError):
                raise answer
            if answer is not None:
                sent = fields(answer)
                by = to_checksum_address(text(sent.get("from")))
                found[transaction_hash] = Sent(by, octets(sent.get("input")))
        return found


async def check_range(history: History, first: int, last: int) -> None:
    """Raise ``ConfigError`` unless the chain has these blocks."""
    head = header_of(fields(await history.rpc.request("eth_getBlockByNumber", ["latest", False])))
    if first < 1 or last < first:
        raise ConfigError("a range of blocks from 1 on", f"{first} to {last} came", "correct --from and --to")
    if last > head.number:
        raise ConfigError(f"blocks up to the head, {head.number}", f"--to is {last}", "wait, or end sooner")


def pruned(error: ChainError, number: int) -> ChainError:
    """What to say when a node refuses to read the state of a past block: there is next to no other reason."""
    if not isinstance(error, RpcError):
        return error
    return ChainError(
        f"a node with the state of block {number}",
        f"{error.endpoint} does not give it ({error.message!r})",
        "name an archive node by `archive` in the chain's settings, or start later",
    )
