"""Examining a market's private way out: does it answer, for the right chain, and does it know us?

Nothing is sent: a relay is asked for its chain id. Many answer that with an error, since they only take transactions;
then it is there, and whether it takes ours shows with the first.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import aiohttp

from keeper.chain.endpoint import redacted
from keeper.chain.private_relay import signed_header
from keeper.chain.signer import LocalSigner, read_key_file
from keeper.doctor.findings import Finding, fault, fine, refused, warning
from keeper.errors import KeeperError
from keeper.settings import RelaySettings

PATIENCE_S = 5.0
MOST_BYTES = 64 * 1024
"""More of an answer is not read."""
_ALONE = "until it does, nothing of this market is sent"


async def examine_relay(market: str, relay: RelaySettings, chain_id: int) -> AsyncIterator[Finding]:
    """The relay, named without its credentials, and for bundles the key that it knows us by."""
    subject = f"market {market} relay {redacted(relay.url)}"
    identity = None
    if relay.identity_key_file is not None:
        try:
            identity = read_key_file(relay.identity_key_file)
        except KeeperError as error:
            yield refused(f"{subject} identity", error)
            return
        yield fine(f"{subject} identity", identity.address)
    yield await _asked(subject, relay.url, identity, chain_id)


async def _asked(subject: str, url: str, identity: LocalSigner | None, chain_id: int) -> Finding:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    headers = {"Content-Type": "application/json"}
    if identity is not None:
        headers["X-Flashbots-Signature"] = signed_header(body, identity)
    began = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE_S)) as session,
            session.post(url, data=body, headers=headers) as response,
        ):
            status, answer = response.status, _object(await response.content.read(MOST_BYTES))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        # The error's own text may name the URL, and that may carry a credential.
        came = f"no usable answer ({type(error).__name__})"
        return fault(subject, came, f"check its URL (https://...) and the network; {_ALONE}")
    took_ms = (time.monotonic() - began) * 1000
    if status in (401, 403):
        return fault(subject, f"it refuses us (HTTP {status})", f"check the key in its URL; {_ALONE}")
    if status == 429 or status >= 500:
        return warning(subject, f"it is there, but in trouble (HTTP {status})", "try again; else ask who runs it")
    if answer is None:
        return fault(subject, f"it speaks no JSON-RPC (HTTP {status})", f"check its URL; {_ALONE}")
    served = answer.get("result")
    if isinstance(served, str) and served != hex(chain_id):
        return fault(subject, f"it serves another chain ({served[:18]})", f"it has to serve {hex(chain_id)}")
    return fine(subject, f"it answers, {took_ms:.0f} ms")


def _object(body: bytes) -> dict[str, object] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
