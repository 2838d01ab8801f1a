"""Private ways for a transaction: a node or builder that does not gossip, or a bundle relay (Flashbots style)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Sequence
from typing import Literal

import aiohttp
from eth_utils import keccak

from keeper.chain.answers import RpcError, is_rate_limit
from keeper.chain.endpoint import redacted
from keeper.chain.relay import Answer, Delivery, sort_answer
from keeper.chain.signer import LocalSigner

SEND_SECONDS = 3.0
VALID_BLOCKS = 25
"""How long a private transaction is kept by who took it (the longest that the common ones allow)."""

Method = Literal["eth_sendRawTransaction", "eth_sendPrivateTransaction"]


class PrivateRelay:
    """One endpoint that keeps a transaction to itself until it is mined."""

    private = True
    resend_blocks = 2

    def __init__(self, url: str, method: Method, session: aiohttp.ClientSession) -> None:
        self._url, self._method, self._session = url, method, session
        self._ids = itertools.count(1)

    def send_all(self, raws: Sequence[bytes], head_number: int) -> Sequence[Awaitable[Delivery]]:
        return [self.send(raw, head_number) for raw in raws]

    async def send(self, raw: bytes, head_number: int) -> Delivery:
        if self._method == "eth_sendRawTransaction":
            params: list[object] = ["0x" + raw.hex()]
        else:
            params = [
                {
                    "tx": "0x" + raw.hex(),
                    "maxBlockNumber": hex(head_number + VALID_BLOCKS),
                    "preferences": {"fast": True},
                }
            ]
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": self._method, "params": params}
        return await _post(self._session, self._url, json.dumps(body), {})

    def __repr__(self) -> str:
        return f"PrivateRelay({redacted(self._url)})"


class BundleRelay:
    """A bundle of one, for the next block only; it is handed in anew at every head.

    The request is signed with a key that has nothing to do with the money: it only earns a reputation with the relay.
    """

    private = True
    resend_blocks = 1

    def __init__(self, url: str, identity: LocalSigner, session: aiohttp.ClientSession) -> None:
        self._url, self._identity, self._session = url, identity, session
        self._ids = itertools.count(1)

    def send_all(self, raws: Sequence[bytes], head_number: int) -> Sequence[Awaitable[Delivery]]:
        return [self.send(raw, head_number) for raw in raws]

    async def send(self, raw: bytes, head_number: int) -> Delivery:
        bundle = {"txs": ["0x" + raw.hex()], "blockNumber": hex(head_number + 1)}
        body = json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": "eth_sendBundle", "params": [bundle]})
        return await _post(
            self._session, self._url, body, {"X-Flashbots-Signature": signed_header(body, self._identity)}
        )

    def __repr__(self) -> str:
        return f"BundleRelay({redacted(self._url)})"


def signed_header(body: str, identity: LocalSigner) -> str:
    """``address:signature``, the signature being EIP-191 over the hexadecimal text of the body's keccak hash."""
    text = "0x" + keccak(text=body).hex()
    digest = keccak(text=f"\x19Ethereum Signed Message:\n{len(text)}{text}")
    signature = identity.sign_digest(digest)
    return f"{identity.address}:0x{signature[:64].hex()}{signature[64] + 27:02x}"


async def _post(session: aiohttp.ClientSession, url: str, body: str, headers: dict[str, str]) -> Delivery:
    headers = {"Content-Type": "application/json", **headers}
    try:
        timeout = aiohttp.ClientTimeout(total=SEND_SECONDS)
        async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
            answer = json.loads(await response.text())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
        # The error's own text may name the URL, and that may carry a credential.
        return Delivery(
            Answer.UNCERTAIN, f"{redacted(url)} gave no usable answer ({type(error).__name__})", certain=False
        )
    fault = answer.get("error") if isinstance(answer, dict) else "no JSON-RPC answer"
    if not fault:
        return Delivery(Answer.ACCEPTED)
    text = str(fault.get("message", "")) if isinstance(fault, dict) else str(fault)
    refusal = RpcError("a private transaction", redacted(url), 0, text)
    if is_rate_limit(refusal):
        return Delivery(Answer.UNCERTAIN, refusal.message, certain=False)
    return Delivery(sort_answer(refusal.message), refusal.message)
