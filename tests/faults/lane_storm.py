"""A process with nothing but a lane in it, to be killed: it takes every account of the target that is still free.

Arguments: the node's URL, the journal's path, how many accounts there are. It prints ``up`` once it is imported, and
ends by itself when no account is free and nothing is in flight.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from keeper.chain.answers import RpcError, fields
from keeper.chain.blocks import header_of
from keeper.chain.endpoint import Endpoint
from keeper.chain.lane import Lane
from keeper.chain.relay import PublicRelay
from keeper.chain.rpc import Rpc
from keeper.model import Header
from keeper.store.journal import Journal
from tests.chain.lane_world import MARKET, SETTINGS, SIGNER, TARGET, account, liquidation, realised

PER_BLOCK = 3
FREE = "0x" + "00" * 32


async def main(url: str, path: Path, accounts: int) -> None:
    async with Rpc([Endpoint(url)], SETTINGS.chain_id) as rpc:
        journal = await Journal.open(path)
        lane = Lane(SIGNER, rpc, PublicRelay(rpc), journal, SETTINGS, realised=realised)
        last = await _head(rpc)
        await lane.start(last)
        done = False
        while not done:
            free = await _free(rpc, accounts)
            wanted = [name for name in free if not lane.in_flight(MARKET, name)][:PER_BLOCK]
            await lane.submit([liquidation(name, head=last) for name in wanted], last)
            last = await _head_after(rpc, last)
            await lane.on_head(last)
            done = not free and not lane.accounts_in_flight(MARKET)
        await lane.close()
        await journal.close()


async def _head(rpc: Rpc) -> Header:
    return header_of(fields(await rpc.request("eth_getBlockByNumber", ["latest", False])))


async def _head_after(rpc: Rpc, last: Header) -> Header:
    while True:
        head = await _head(rpc)
        if head.hash != last.hash:
            return head
        await asyncio.sleep(0.01)


async def _free(rpc: Rpc, accounts: int) -> list[str]:
    names = [account(number) for number in range(accounts)]
    words = await rpc.batch([("eth_getStorageAt", [TARGET, name, "latest"]) for name in names])
    return [name for name, word in zip(names, words, strict=True) if not isinstance(word, RpcError) and word == FREE]


if __name__ == "__main__":
    print("up", flush=True)  # noqa: T201
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
