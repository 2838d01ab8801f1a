"""Transactions that wait to be mined, seen on a real node."""

from __future__ import annotations

import asyncio

from keeper.chain.endpoint import Endpoint
from keeper.chain.mempool import Waiting, waiting_of, watch
from keeper.chain.rpc import Rpc
from keeper.chain.transaction import Fees
from keeper.devnet.anvil import AnvilOptions
from tests.conftest import StartAnvil

GWEI = 10**9
TARGET = "0x00000000000000000000000000000000000Ace55"


async def test_transactions_to_a_target_are_told_of_and_no_others(start_anvil: StartAnvil) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    accounts = await anvil.rpc("eth_accounts")
    assert isinstance(accounts, list)
    seen: asyncio.Queue[Waiting] = asyncio.Queue()
    async with Rpc([Endpoint(anvil.ws_url), Endpoint(anvil.http_url)], 31337) as rpc:
        task = asyncio.create_task(watch(rpc, {TARGET}, seen.put_nowait))
        try:
            async with asyncio.timeout(20):
                number = 0
                while seen.empty():  # the subscription may not be there yet
                    for to in (accounts[1], TARGET):
                        number += 1
                        await anvil.rpc(
                            "eth_sendTransaction",
                            {
                                "from": accounts[0],
                                "to": to,
                                "data": f"0x{number:04x}",
                                "maxFeePerGas": hex(50 * GWEI),
                                "maxPriorityFeePerGas": hex(3 * GWEI),
                            },
                        )
                    await asyncio.sleep(0.05)
            waiting = seen.get_nowait()
            assert waiting.to == TARGET
            assert waiting.fees == Fees(50 * GWEI, 3 * GWEI)
            assert int.from_bytes(waiting.data) % 2 == 0, "every second one goes to the target"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_without_a_websocket_it_says_so_and_ends(start_anvil: StartAnvil) -> None:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    async with Rpc([Endpoint(anvil.http_url)], 31337) as rpc, asyncio.timeout(5):
        await watch(rpc, {TARGET}, lambda waiting: None)


def test_a_creation_goes_nowhere_and_a_legacy_price_has_no_tip() -> None:
    assert waiting_of({"to": None, "hash": "0x01", "input": "0x"}, {TARGET}) is None
    legacy = waiting_of({"to": TARGET.lower(), "hash": "0xAB", "input": "0x07", "gasPrice": "0x5"}, {TARGET})
    assert legacy == Waiting("0xab", TARGET, b"\x07", Fees(5, None))
