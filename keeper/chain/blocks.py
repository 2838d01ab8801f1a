"""Blocks and logs as nodes write them, a header's bloom filter, and the window of blocks that a reorg may undo."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eth_utils import keccak
from eth_utils import to_checksum_address as checksummed

from keeper.chain.answers import Json, count, fields, items, octets, quantity, text
from keeper.errors import ChainError
from keeper.model import Block, Header, Log, LogFilter

KEPT_BLOCKS = 256
_BLOOM_BITS = 2048

to_checksum_address = lru_cache(maxsize=4096)(checksummed)
"""Cached: it hashes, and the same few contracts log again and again."""


def address_of(value: Json) -> str:
    """An address as a node writes it, checksummed. Raises ``ChainError`` if it is none."""
    try:
        return to_checksum_address(text(value))
    except ValueError:
        raise ChainError("an address in a node's answer", "it held another text", "check the endpoint") from None


def header_of(block: Mapping[str, Json]) -> Header:
    """A header from ``eth_getBlockBy...`` or ``newHeads``. Raises ``ChainError`` if a field is missing or odd."""
    fee = block.get("baseFeePerGas")
    return Header(
        number=count(block.get("number")),
        hash=text(block.get("hash")).lower(),
        parent_hash=text(block.get("parentHash")).lower(),
        timestamp=count(block.get("timestamp")),
        gas_limit=count(block.get("gasLimit")),
        gas_used=count(block.get("gasUsed")),
        base_fee_per_gas_wei=None if fee is None else quantity(fee),
    )


def log_of(value: Json) -> Log:
    """A log from ``eth_getLogs``, a receipt or a ``logs`` subscription."""
    log = fields(value)
    return Log(
        address=address_of(log.get("address")),
        topics=tuple(octets(topic) for topic in items(log.get("topics"))),
        data=octets(log.get("data")),
        block_number=count(log.get("blockNumber")),
        block_hash=text(log.get("blockHash")).lower(),
        transaction_hash=text(log.get("transactionHash")).lower(),
        log_index=count(log.get("logIndex")),
    )


def logs_of(value: Json) -> tuple[Log, ...]:
    """The logs of an answer, each once and in chain order, whatever order and however often the node gave them."""
    return in_order(map(log_of, items(value)))


def in_order(logs: Iterable[Log]) -> tuple[Log, ...]:
    """Logs in chain order, each once."""
    found = {(log.block_hash, log.transaction_hash, log.log_index): log for log in logs}
    return tuple(sorted(found.values(), key=lambda log: (log.block_number, log.log_index)))


def filter_params(wanted: LogFilter) -> dict[str, Json]:
    """The filter object of ``eth_getLogs`` and of a ``logs`` subscription, without its blocks."""
    params: dict[str, Json] = {"address": sorted(wanted.addresses)}
    if wanted.topics0:
        params["topics"] = [["0x" + topic.hex() for topic in sorted(wanted.topics0)]]
    return params


def bloom_mask(entry: bytes) -> int:
    """The bits that an address or a topic sets in a header's ``logsBloom`` (Yellow Paper, 4.3.1, ``M3:2048``)."""
    digest = keccak(entry)
    mask = 0
    for at in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[at : at + 2], "big") % _BLOOM_BITS)
    return mask


def joined_filter(filters: Iterable[LogFilter]) -> LogFilter:
    """What any of the filters wants, and maybe more."""
    wanted = tuple(filters)
    topics = frozenset[bytes]() if any(not each.topics0 for each in wanted) else None
    return LogFilter(
        frozenset(address for each in wanted for address in each.addresses),
        frozenset(topic for each in wanted for topic in each.topics0) if topics is None else topics,
    )


@dataclass(frozen=True, slots=True)
class BloomFilter:
    """A log filter's bits, to ask a header whether its block can hold a log that the filter wants."""

    addresses: tuple[int, ...]
    topics0: tuple[int, ...]

    @classmethod
    def of(cls, wanted: LogFilter) -> BloomFilter:
        return cls(
            tuple(bloom_mask(bytes.fromhex(address[2:])) for address in wanted.addresses),
            tuple(map(bloom_mask, wanted.topics0)),
        )

    def may_match(self, bloom: int) -> bool:
        """False only if no log of the block can match."""
        if not any(mask & bloom == mask for mask in self.addresses):
            return False
        return not self.topics0 or any(mask & bloom == mask for mask in self.topics0)


class RecentBlocks:
    """The last blocks of the chain that was followed, oldest first, the head last.

    Numbers may have holes: a stretch that was caught up with in one go is kept as its last block with all its logs. A
    reorg that goes back into it undoes the whole stretch, which dirties more than it must and is still right.
    """

    def __init__(self, blocks: Iterable[Block] = (), kept: int = KEPT_BLOCKS) -> None:
        self._kept = kept
        self._blocks = list(blocks)[-kept:]
        self._at = {block.header.hash: index for index, block in enumerate(self._blocks)}
        self._orphans: dict[str, tuple[str, Block]] = {}
        """Blocks that a reorg took away, each with the hash of what it followed."""

    def __contains__(self, block_hash: object) -> bool:
        return block_hash in self._at

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def blocks(self) -> Sequence[Block]:
        return self._blocks

    @property
    def head(self) -> Header:
        return self._blocks[-1].header

    @property
    def oldest(self) -> Header:
        return self._blocks[0].header

    def passed_over(self, number: int) -> bool:
        """A number below the head whose block is not among these: too old, or within a stretch."""
        return number < self.head.number and all(block.header.number != number for block in self._blocks)

    def number_of(self, block_hash: str) -> int:
        return self._blocks[self._at[block_hash]].header.number

    def after(self, ancestor_hash: str) -> Sequence[Block]:
        """The blocks above the one with that hash."""
        return self._blocks[self._at[ancestor_hash] + 1 :]

    def replace_after(self, ancestor_hash: str, blocks: Sequence[Block]) -> None:
        """Let ``blocks`` follow the one with that hash, in place of what did."""
        gone = self.after(ancestor_hash)
        for parent, block in zip([ancestor_hash, *(each.header.hash for each in gone)], gone, strict=False):
            self._orphans[block.header.hash] = (parent, block)
        while len(self._orphans) > self._kept:
            del self._orphans[next(iter(self._orphans))]
        self._blocks[self._at[ancestor_hash] + 1 :] = blocks
        del self._blocks[: -self._kept]
        self._at = {block.header.hash: index for index, block in enumerate(self._blocks)}

    def add_logs(self, logs: Sequence[Log]) -> None:
        """Let the blocks hold these logs too, which a filter did not want before."""
        numbers = [block.header.number for block in self._blocks]
        found: dict[int, list[Log]] = {}
        for log in logs:
            found.setdefault(bisect_left(numbers, log.block_number), []).append(log)
        for index, more in found.items():
            block = self._blocks[index]
            self._blocks[index] = Block(block.header, in_order([*block.logs, *more]))

    def up_to(self, block_hash: str) -> list[Block]:
        """The window that ends with that block, also if a reorg took it away since; empty if it is unknown."""
        orphaned: list[Block] = []
        while block_hash not in self._at:
            if block_hash not in self._orphans:
                return []
            block_hash, block = self._orphans[block_hash]
            orphaned.append(block)
        return [*self._blocks[: self._at[block_hash] + 1], *reversed(orphaned)]
