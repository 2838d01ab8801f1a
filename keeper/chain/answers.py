"""What nodes answer when they don't answer: JSON-RPC errors and what their many wordings mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from keeper.errors import ChainError

LONGEST_MESSAGE = 2_000
"""Characters of a node's words that are kept."""

METHOD_NOT_FOUND = -32601
"""JSON-RPC 2.0, section 5.1."""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class UnreachableError(ChainError):
    """No usable answer came from an endpoint: refused, cut, timed out, throttled, or not JSON-RPC."""


class TimedOutError(UnreachableError):
    """An endpoint took the request and no answer came in time."""


class RpcError(ChainError):
    """A node answered a request with a JSON-RPC error."""

    def __init__(self, method: str, endpoint: str, code: int, message: str, data: Json = None) -> None:
        # It goes into logs and into the journal: no longer than anybody reads, and nothing that can't be written.
        message = message[:LONGEST_MESSAGE].encode(errors="replace").decode()
        self.method = method
        self.endpoint = endpoint
        self.code = code
        self.message = message
        self.data = data
        super().__init__(
            f"an answer to {method}", f"{endpoint} said {message!r} (code {code})", "see what the node's text says"
        )

    @property
    def revert_data(self) -> bytes:
        """What a reverting ``eth_call`` returned; empty if the node gave none."""
        found = self.data.get("data") if isinstance(self.data, Mapping) else self.data
        try:
            return octets(found) if isinstance(found, str) and found.startswith("0x") else b""
        except ChainError:
            return b""


_RATE = re.compile(
    r"rate.?limit|too many requests|request (?:limit|rate)|requests per|throttl|capacity|compute units|quota|credits"
    r"|daily request count|retry (?:in|after|later)|overload|server (?:is )?busy|no backend|not healthy",
    re.IGNORECASE,
)
_UNKNOWN_BLOCK = re.compile(
    r"(?:unknown|missing) (?:block|header)|(?:header|block|hash).{0,70}not (?:yet )?(?:found|available|canonical|known"
    r"|imported|processed|currently canonical)|could not find (?:block|header)|resource not found|missing trie node"
    r"|state (?:is )?(?:not available|unavailable|missing)|historical state|distance to target block exceeds",
    re.IGNORECASE,
)


def is_rate_limit(error: RpcError) -> bool:
    """The node wants fewer requests, or has no capacity; another one may do."""
    return error.code == 429 or bool(_RATE.search(error.message))


def is_unknown_block(error: RpcError) -> bool:
    """The node does not have that block or its state (yet, or any more)."""
    return bool(_UNKNOWN_BLOCK.search(error.message))


def asks_for_less(error: RpcError) -> bool:
    """A smaller request may be answered: fewer blocks of logs, fewer calls in a batch.

    Providers word their limits in dozens of ways and reword them at will, so this is what is left when an error is
    none of the others. Taking another kind of error for it costs a few halvings, and then it is raised.
    """
    return not (is_rate_limit(error) or is_unknown_block(error) or error.code == METHOD_NOT_FOUND)


def text(value: Json) -> str:
    """A JSON value as a string, or ``ChainError``."""
    if isinstance(value, str):
        return value
    raise ChainError("a string in a node's answer", f"it held {type(value).__name__}", "check the endpoint")


def quantity(value: Json) -> int:
    """A JSON-RPC quantity (``0x`` and hexadecimal digits)."""
    try:
        return int(text(value), 16)
    except ValueError:
        raise ChainError(
            "a hexadecimal quantity in a node's answer", "it held another text", "check the endpoint"
        ) from (None)


def count(value: Json) -> int:
    """A quantity that counts something (blocks, seconds, gas, transactions): it fits into 63 bits."""
    if 0 <= (found := quantity(value)) < 1 << 63:
        return found
    raise ChainError("a number of 63 bits in a node's answer", "it held another one", "check the endpoint")


def octets(value: Json) -> bytes:
    """JSON-RPC data (``0x`` and an even number of hexadecimal digits)."""
    digits = text(value)
    try:
        return bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise ChainError("hexadecimal data in a node's answer", "it held another text", "check the endpoint") from None


def fields(value: Json) -> Mapping[str, Json]:
    """A JSON object, or ``ChainError``."""
    if isinstance(value, Mapping):
        return value
    raise ChainError("an object in a node's answer", f"it held {type(value).__name__}", "check the endpoint")


def items(value: Json) -> Sequence[Json]:
    """A JSON array, or ``ChainError``."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value
    raise ChainError("a list in a node's answer", f"it held {type(value).__name__}", "check the endpoint")
