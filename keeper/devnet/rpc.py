"""A small JSON-RPC client for a local development node, with Anvil's own methods spelled out.

It has no failover and no throttle, on purpose: what the daemon uses against real nodes lives in ``keeper.chain``.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

import aiohttp

from keeper.errors import ChainError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Call: TypeAlias = "tuple[str, Sequence[Json]]"
"""A method and its parameters."""

BATCH = 500
"""Requests in one HTTP body; Anvil refuses bodies above 2 MB."""


class RpcError(ChainError):
    """The node answered a request with an error; ``data`` holds a reverted call's return data."""

    def __init__(self, method: str, code: int, message: str, data: bytes) -> None:
        super().__init__(f"{method} to succeed", f"the node answered {code}: {message}", "look at the call")
        self.code = code
        self.message = message
        self.data = data


class DevNode:
    """A connection to a development node. Owns an HTTP session; ``connect`` opens and closes it."""

    def __init__(self, http_url: str, session: aiohttp.ClientSession) -> None:
        self.http_url = http_url
        self.ws_url = "ws" + http_url.removeprefix("http")
        self._session = session
        self._ids = itertools.count(1)

    async def rpc(self, method: str, *params: Json) -> Json:
        """One request. Raises ``RpcError`` when the node answers with an error, ``ChainError`` when it does not."""
        body: Json = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        answer = cast("dict[str, Json]", await self._post(body))
        if "error" in answer:
            raise _error(method, answer["error"])
        return answer["result"]

    async def try_batch(self, calls: Sequence[Call]) -> list[Json | RpcError]:
        """Many requests in as few HTTP bodies as allowed, answered in the order asked; an error is an answer."""
        results: list[Json | RpcError] = []
        for start in range(0, len(calls), BATCH):
            chunk = calls[start : start + BATCH]
            body: list[Json] = [
                {"jsonrpc": "2.0", "id": index, "method": method, "params": list(params)}
                for index, (method, params) in enumerate(chunk)
            ]
            answers = cast("list[dict[str, Json]]", await self._post(body))
            by_id = {answer["id"]: answer for answer in answers}
            for index, (method, _) in enumerate(chunk):
                answer = by_id[index]
                results.append(_error(method, answer["error"]) if "error" in answer else answer["result"])
        return results

    async def _post(self, body: Json) -> Json:
        try:
            async with self._session.post(self.http_url, json=body) as response:
                return cast("Json", await response.json(content_type=None))
        except (aiohttp.ClientError, ValueError) as error:
            raise ChainError(
                "an Anvil that answers", f"it does not ({type(error).__name__})", "check that it runs and its URL"
            ) from error

    async def batch(self, calls: Sequence[Call]) -> list[Json]:
        """Like ``try_batch``, but the first error is raised."""
        results: list[Json] = []
        for result in await self.try_batch(calls):
            if isinstance(result, RpcError):
                raise result
            results.append(result)
        return results

    async def quantity(self, method: str, *params: Json) -> int:
        """A request whose answer is a hexadecimal number."""
        return int(cast("str", await self.rpc(method, *params)), 16)

    async def chain_id(self) -> int:
        return await self.quantity("eth_chainId")

    async def block_number(self) -> int:
        return await self.quantity("eth_blockNumber")

    async def block(self, tag: str | int = "latest", *, full: bool = False) -> dict[str, Json]:
        """A block by number or tag, as the node spells it. Raises ``ChainError`` if there is none."""
        name = tag if isinstance(tag, str) else hex(tag)
        block = await self.rpc("eth_getBlockByNumber", name, full)
        if not isinstance(block, dict):
            raise ChainError(f"a block {name}", "the node has none", "ask for a block that exists")
        return block

    async def block_timestamp(self, tag: str | int = "latest") -> int:
        return as_int((await self.block(tag))["timestamp"])

    async def balance_wei(self, address: str, tag: str = "latest") -> int:
        return await self.quantity("eth_getBalance", address, tag)

    async def call(self, to: str, data: bytes, *, sender: str | None = None, tag: str | int = "latest") -> bytes:
        """``eth_call``. A revert raises ``RpcError`` with the revert data."""
        request: dict[str, Json] = {"to": to, "data": "0x" + data.hex()}
        if sender is not None:
            request["from"] = sender
        name = tag if isinstance(tag, str) else hex(tag)
        return as_bytes(await self.rpc("eth_call", request, name))

    async def receipt(self, transaction_hash: str) -> dict[str, Json] | None:
        """The receipt of a mined transaction, else None."""
        return cast("dict[str, Json] | None", await self.rpc("eth_getTransactionReceipt", transaction_hash))

    # What only a development node does.

    async def mine(self, blocks: int = 1, *, interval_seconds: int | None = None) -> None:
        """Mine blocks now, ``interval_seconds`` apart (Anvil's own choice if None)."""
        if interval_seconds is None:
            await self.rpc("anvil_mine", hex(blocks))
        else:
            await self.rpc("anvil_mine", hex(blocks), hex(interval_seconds))

    async def set_automine(self, enabled: bool) -> None:
        await self.rpc("anvil_setAutomine", enabled)

    async def set_interval_mining(self, seconds: int) -> None:
        """Mine a block every so many seconds; 0 stops it."""
        await self.rpc("anvil_setIntervalMining", seconds)

    async def set_next_block_timestamp(self, timestamp: int) -> None:
        """The next block's timestamp in seconds; it must be later than the head's."""
        await self.rpc("anvil_setNextBlockTimestamp", hex(timestamp))

    async def set_next_base_fee(self, base_fee_per_gas_wei: int) -> None:
        await self.rpc("anvil_setNextBlockBaseFeePerGas", hex(base_fee_per_gas_wei))

    async def reorg(self, depth: int, transactions: Sequence[tuple[str, int]] = ()) -> None:
        """Replace the last ``depth`` blocks.

        ``transactions`` are raw transactions and which of the new blocks, counted from 0, each goes to; those of the
        replaced blocks are gone unless given again.
        """
        await self.rpc("anvil_reorg", depth, [[raw, block] for raw, block in transactions])

    async def rollback(self, depth: int) -> None:
        """Take the last ``depth`` blocks away without replacing them."""
        await self.rpc("anvil_rollback", depth)

    async def drop_transaction(self, transaction_hash: str) -> None:
        """Forget a pending transaction."""
        await self.rpc("anvil_dropTransaction", transaction_hash)

    async def set_balance(self, address: str, balance_wei: int) -> None:
        await self.rpc("anvil_setBalance", address, hex(balance_wei))

    async def set_nonce(self, address: str, nonce: int) -> None:
        await self.rpc("anvil_setNonce", address, hex(nonce))

    async def set_code(self, address: str, code: bytes) -> None:
        await self.rpc("anvil_setCode", address, "0x" + code.hex())

    async def set_storage(self, address: str, slot: int, value: int) -> None:
        await self.rpc("anvil_setStorageAt", address, hex(slot), f"0x{value:064x}")

    async def snapshot(self) -> str:
        """Remember the whole state; the answer goes to ``revert``."""
        return cast("str", await self.rpc("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        """Return to a snapshot, which is used up by it."""
        if await self.rpc("evm_revert", snapshot) is not True:
            raise ChainError(f"to return to snapshot {snapshot}", "the node has no such snapshot", "take a new one")

    @asynccontextmanager
    async def impersonate(self, address: str) -> AsyncIterator[str]:
        """Let ``eth_sendTransaction`` send from an address without its key, meanwhile."""
        await self.rpc("anvil_impersonateAccount", address)
        try:
            yield address
        finally:
            await self.rpc("anvil_stopImpersonatingAccount", address)


@asynccontextmanager
async def connect(http_url: str) -> AsyncIterator[DevNode]:
    """A connection to a development node that already runs."""
    async with http_session() as session:
        yield DevNode(http_url, session)


def http_session() -> aiohttp.ClientSession:
    """A session for a node near by: patient, because deploying a large market in one batch takes a while."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))


def as_int(value: Json) -> int:
    """A JSON-RPC quantity as an int."""
    if not isinstance(value, str):
        raise ChainError("a hexadecimal quantity", f"{value!r} came", "look at the node's answer")
    return int(value, 16)


def as_bytes(value: Json) -> bytes:
    """JSON-RPC data as bytes."""
    if not isinstance(value, str):
        raise ChainError("hexadecimal data", f"{value!r} came", "look at the node's answer")
    return bytes.fromhex(value.removeprefix("0x"))


def _error(method: str, error: Json) -> RpcError:
    if not isinstance(error, dict):
        return RpcError(method, 0, str(error), b"")
    data = error.get("data")
    revert = bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
    code = error.get("code")
    return RpcError(method, code if isinstance(code, int) else 0, str(error.get("message")), revert)
