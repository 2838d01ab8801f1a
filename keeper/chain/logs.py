"""Fetching logs whole: by block hash for a block, by adaptive ranges for a stretch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from keeper.chain.answers import Json, RpcError, TimedOutError, UnreachableError, asks_for_less, items
from keeper.chain.blocks import BloomFilter, filter_params, header_of, logs_of
from keeper.chain.portion import Portion
from keeper.chain.rpc import Link, Rpc
from keeper.errors import ChainError
from keeper.model import Header, Log, LogFilter

log = structlog.get_logger(__name__)

FIRST_RANGE = 2_000
LARGEST_RANGE = 100_000
LOGS_S = 3.0


@dataclass(frozen=True, slots=True)
class BlockBloom:
    """A block's hash and its header's bloom filter, with the endpoint that told it."""

    hash: str
    bloom: int | None
    """None if the endpoint gives none."""
    told_by: Link


class LogFetcher:
    """Owns what was learnt about each endpoint: how many blocks it takes at a time, and whether its blooms are true."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._portion: dict[Link, Portion] = {}
        self._bloom_true: dict[Link, bool] = {}
        """By endpoint: its bloom held a log that was there (True), or did not (False)."""

    async def of_blocks(
        self, link: Link, wanted: LogFilter, blocks: Sequence[BlockBloom], bloom_filter: BloomFilter
    ) -> dict[str, tuple[Log, ...]]:
        """The wanted logs of these blocks by hash, as ``link`` tells them.

        A bloom is believed once those of the endpoint that told it were seen to be true: some chains give nothing but
        zeros. Raises ``ChainError`` if the endpoint can't answer.
        """
        asked = [
            block
            for block in blocks
            if block.bloom is None
            or not self._bloom_true.get(block.told_by, False)
            or bloom_filter.may_match(block.bloom)
        ]
        params = filter_params(wanted)
        answers = await self._rpc.batch(
            [("eth_getLogs", [params | {"blockHash": block.hash}]) for block in asked], link=link, timeout_s=LOGS_S
        )
        found: dict[str, tuple[Log, ...]] = {}
        for block, answer in zip(asked, answers, strict=True):
            if isinstance(answer, RpcError):
                raise answer
            logs = logs_of(answer)
            if any(each.block_hash != block.hash for each in logs):
                raise _others(link)
            found[block.hash] = logs
            if logs and block.bloom is not None:
                self._note_bloom(block.told_by, bloom_filter.may_match(block.bloom))
        return found

    def _note_bloom(self, link: Link, held: bool) -> None:
        if not held and self._bloom_true.get(link) is not False:
            log.warning("logs.bloom-untrue", endpoint=link.name, remedy="every block is asked for its logs")
        self._bloom_true[link] = held and self._bloom_true.get(link, True)

    async def between(self, link: Link, wanted: LogFilter, first: int, head: Header) -> tuple[Log, ...]:
        """The wanted logs from block ``first`` to ``head``, in ranges as large as the endpoint takes.

        The endpoint has to name ``head`` at its number afterwards as it did before, so that all the ranges are of one
        chain. Raises ``ChainError`` if it does not, or can't answer for a single block.
        """
        if not wanted.addresses:
            return ()
        params = filter_params(wanted)
        found: list[Json] = []
        portion = self._portion.setdefault(link, Portion(FIRST_RANGE, LARGEST_RANGE))
        at = first
        while at <= head.number:
            last = min(at + portion.size - 1, head.number)
            bounds: dict[str, Json] = {"fromBlock": hex(at), "toBlock": hex(last)}
            try:
                answer = await self._rpc.request("eth_getLogs", [params | bounds], link=link, timeout_s=LOGS_S)
            except (RpcError, TimedOutError) as error:
                if last == at or (isinstance(error, RpcError) and not asks_for_less(error)):
                    raise
                if portion.refused(last - at + 1):
                    log.info("logs.range-shrunk", endpoint=link.name, blocks=portion.size, came=error.came)
                continue
            portion.took(last - at + 1)
            found += items(answer)
            at = last + 1
        logs = logs_of(found)
        if not all(first <= each.block_number <= head.number for each in logs):
            raise _others(link)
        answer = await self._rpc.request("eth_getBlockByNumber", [hex(head.number), False], link=link)
        if not isinstance(answer, dict) or header_of(answer).hash != head.hash:
            raise UnreachableError(
                f"block {head.number} at {link.name} to stay {head.hash}",
                "it has changed meanwhile",
                "it is tried again",
            )
        return logs


def _others(link: Link) -> UnreachableError:
    return UnreachableError(
        f"the logs asked for from {link.name}", "it told those of other blocks", "others are asked meanwhile"
    )


class PastLogs:
    """``keeper.model.History`` over an ``Rpc``: from the best endpoint, else from the next."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._fetcher = LogFetcher(rpc)

    async def logs(self, wanted: LogFilter, first: int, head: Header) -> tuple[Log, ...]:
        """The wanted logs from block ``first`` up to ``head``. Raises the last endpoint's ``ChainError``."""
        refused: ChainError | None = None
        for link in self._rpc.order():
            try:
                return await self._fetcher.between(link, wanted, first, head)
            except ChainError as error:
                log.info("logs.asked-elsewhere", endpoint=link.name, came=error.came)
                refused = error
        raise refused or UnreachableError("an endpoint to ask for past logs", "there is none", "configure one")
