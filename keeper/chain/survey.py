"""Comparing endpoints by height and hash: which of them lag, and which follow a fork of their own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from keeper.chain.answers import quantity, text
from keeper.chain.rpc import Link, Rpc
from keeper.errors import ChainError

log = structlog.get_logger(__name__)

ANSWER_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """An endpoint's view of the chain: its head's number, and the hash it has at a height common to all."""

    priority: int
    height: int
    common_hash: str


def chosen_hash(standings: Sequence[Standing]) -> str:
    """The fork to follow: what most say; between equals the one with the higher head, then of the first priority."""

    def weight(block_hash: str) -> tuple[int, int, int]:
        group = [standing for standing in standings if standing.common_hash == block_hash]
        return len(group), max(each.height for each in group), -min(each.priority for each in group)

    return max({standing.common_hash for standing in standings}, key=weight)


def present_height(heights: Sequence[int], tolerated_lag: int) -> int:
    """Where the chain is: the highest head that is near another one's. One alone may be far ahead on a fork of its own;
    between two nobody can tell, and the higher one counts.
    """
    ordered = sorted(heights, reverse=True)
    pairs = itertools.pairwise(ordered)
    return next((high for high, low in pairs if len(ordered) > 2 and high - low <= tolerated_lag), ordered[0])


async def survey(rpc: Rpc, tolerated_lag: int, is_known: Callable[[str], bool]) -> None:
    """Ask every endpoint for its head, and leave those out of decisions that lag or follow a fork of their own.

    ``is_known`` tells the blocks of the chain that is followed: while every head is one, there is no second question.
    An endpoint that does not answer keeps the standing it had.
    """
    links = [link for link in rpc.links if link.chain_id == rpc.chain_id]
    if len(links) < 2:
        return
    heads = await _blocks(rpc, links, "latest")
    if not heads:
        return
    height = present_height([number for number, _ in heads.values()], tolerated_lag)
    near = [link for link, (number, _) in heads.items() if abs(height - number) <= tolerated_lag]
    forked: set[Link] = set()
    if not all(is_known(heads[link][1]) for link in near):
        blocks = await _blocks(rpc, near, hex(min(heads[link][0] for link in near)))
        standings = {link: Standing(link.endpoint.priority, heads[link][0], blocks[link][1]) for link in blocks}
        if standings:
            chosen = chosen_hash(list(standings.values()))
            forked = {link for link, standing in standings.items() if standing.common_hash != chosen}
    for link, (number, _) in heads.items():
        _place(link, lagging=link not in near, forked=link in forked, behind=height - number)


async def _blocks(rpc: Rpc, links: Sequence[Link], number: str) -> dict[Link, tuple[int, str]]:
    """Number and hash of a block as each endpoint knows it, of those that answer with one."""

    async def ask(link: Link) -> tuple[int, str] | None:
        try:
            answer = await rpc.request("eth_getBlockByNumber", [number, False], link=link, timeout_s=ANSWER_S)
            return (quantity(answer.get("number")), text(answer.get("hash"))) if isinstance(answer, Mapping) else None
        except ChainError:
            return None  # Its failure is on record already.

    answers = await asyncio.gather(*map(ask, links))
    return {link: answer for link, answer in zip(links, answers, strict=True) if answer is not None}


def _place(link: Link, *, lagging: bool, forked: bool, behind: int) -> None:
    before = link.health.trusted
    link.health.lagging, link.health.forked = lagging, forked
    if before and not link.health.trusted:
        log.warning("endpoint.left-out", endpoint=link.name, lagging=lagging, forked=forked, behind=behind)
    elif link.health.trusted and not before:
        log.info("endpoint.fit-again", endpoint=link.name)
