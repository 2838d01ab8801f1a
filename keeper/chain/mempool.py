"""What waits to be mined, as far as one endpoint tells: transactions to a few contracts, as they come in.

Asked for in full; a node that pushes hashes only is asked for each. Nothing depends on it: while no websocket tells,
nothing is seen, and what is seen may never be mined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from keeper.chain.answers import Json, octets, quantity, text
from keeper.chain.blocks import address_of
from keeper.chain.rpc import Link, Rpc
from keeper.chain.transaction import Fees
from keeper.chain.transport import Subscription
from keeper.errors import ChainError

log = structlog.get_logger(__name__)

AGAIN_S = 1.0
"""Between attempts to subscribe."""
SILENCE_S = 3600.0
"""A mempool may be silent; a connection that is lost ends the subscription by itself."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction that waits to be mined."""

    hash: str
    to: str
    data: bytes
    fees: Fees


def waiting_of(value: Mapping[str, Json], targets: Collection[str]) -> Waiting | None:
    """A pending transaction as a node tells of it; None if it goes elsewhere. ``ChainError`` if it makes no sense."""
    to = value.get("to")
    if to is None or (target := address_of(to)) not in targets:
        return None
    tip = value.get("maxPriorityFeePerGas")
    price = value.get("maxFeePerGas", value.get("gasPrice"))
    fees = Fees(quantity(price), None if tip is None else quantity(tip))
    return Waiting(text(value.get("hash")).lower(), target, octets(value.get("input", value.get("data"))), fees)


async def watch(rpc: Rpc, targets: Collection[str], tell: Callable[[Waiting], None]) -> None:
    """Tell of every transaction to one of ``targets`` that a websocket endpoint hears of, until cancelled.

    Returns at once if there is no websocket endpoint.
    """
    failing = False
    while True:
        link = next((link for link in rpc.order() if link.endpoint.websocket), None)
        if link is None:
            log.warning("mempool.unseen", came="no endpoint is a websocket", remedy="add one, or set watch_mempool off")
            return
        try:
            subscription = await rpc.subscribe(link, ["newPendingTransactions", True])
            if failing:
                log.info("mempool.seen", endpoint=link.name)
            failing = False
            await _listen(rpc, link, subscription, targets, tell)
        except ChainError as error:
            if not failing:
                log.warning("mempool.unseen", endpoint=link.name, came=error.came)
            failing = True
        await asyncio.sleep(AGAIN_S)


async def _listen(
    rpc: Rpc,
    link: Link,
    subscription: Subscription,
    targets: Collection[str],
    tell: Callable[[Waiting], None],
) -> None:
    unread = False
    while True:
        try:
            told = await subscription.next(SILENCE_S)
        except TimeoutError:
            continue
        try:
            waiting = await _read(rpc, link, told, targets)
        except ChainError as error:
            # The next one is read again: to subscribe anew would have the node push everything twice.
            if not unread:
                log.info("mempool.unread", endpoint=link.name, came=error.came)
            unread = True
            continue
        unread = False
        if waiting is not None:
            tell(waiting)


async def _read(rpc: Rpc, link: Link, told: Json, targets: Collection[str]) -> Waiting | None:
    if isinstance(told, str):
        told = await rpc.request("eth_getTransactionByHash", [told], link=link)
    return waiting_of(told, targets) if isinstance(told, Mapping) else None
