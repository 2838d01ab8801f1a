"""What nodes' many wordings mean."""

from __future__ import annotations

import pytest

from keeper.chain.answers import Json, RpcError, asks_for_less, count, is_rate_limit, is_unknown_block, octets, quantity
from keeper.errors import ChainError


def error(message: str, code: int = -32000) -> RpcError:
    return RpcError("eth_getLogs", "http://node.example", code, message)


TOO_MUCH = [
    "query returned more than 10000 results",
    "block range is too wide",
    "exceed maximum block range: 50000",
    "eth_getLogs is limited to a 10,000 range",
    "eth_getLogs and eth_newFilter are limited to a 10,000 blocks range",
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
    "requested too many blocks from 1 to 100000, maximum is set to 2048",
    "query timeout exceeded",
    "query exceeds max results 20000, retry with the range 1-5",
    "Block range limit exceeded. See more details at the provider",
    "logs matched by query exceeds limit of 10000",
    "Max range: 800",
    "Try with this block range [0x1, 0x2]",
    "response size should not greater than 10485760 bytes",
    "limit exceeded",
    "the method eth_getLogs reached the timeout",
    "out of gas",
    "execution aborted (timeout = 5s)",
]
TOO_OFTEN = [
    "Too Many Requests",
    "rate limit exceeded",
    "Your app has exceeded its compute units per second capacity",
    "daily request count exceeded, request rate limited",
    "over request rate limit: retry after 1s",
    "server is busy",
    "no backend is currently healthy to serve traffic",
]
UNKNOWN = [
    "unknown block",
    "header not found",
    "Resource not found",
    "missing trie node 1234 (path )",
    "hash 0xabc is not currently canonical",
    "block with hash 0xabc not found",
    "header for hash not found",
    "historical state 0xabc is not available",
    "Block not found",
    "distance to target block exceeds maximum proof window",
]


@pytest.mark.parametrize("message", TOO_MUCH)
def test_a_limit_asks_for_less(message: str) -> None:
    assert asks_for_less(error(message))


@pytest.mark.parametrize("message", TOO_OFTEN)
def test_a_rate_limit_asks_for_another_endpoint_and_not_for_less(message: str) -> None:
    assert is_rate_limit(error(message))
    assert not asks_for_less(error(message))


@pytest.mark.parametrize("message", UNKNOWN)
def test_a_missing_block_is_missing_in_every_size(message: str) -> None:
    assert is_unknown_block(error(message))
    assert not asks_for_less(error(message))


def test_a_method_that_is_not_there_does_not_come_by_asking_for_less() -> None:
    assert not asks_for_less(error("the method does not exist", -32601))


def test_revert_data_is_found_where_nodes_put_it() -> None:
    assert RpcError("eth_call", "n", 3, "execution reverted", "0x08c379a0").revert_data == bytes.fromhex("08c379a0")
    assert RpcError("eth_call", "n", 3, "execution reverted", {"data": "0x01"}).revert_data == b"\x01"
    assert RpcError("eth_call", "n", 3, "execution reverted").revert_data == b""


@pytest.mark.parametrize("value", [None, 5, "zz", ["0x1"]])
def test_what_is_not_hexadecimal_is_a_chain_error(value: object) -> None:
    with pytest.raises(ChainError):
        quantity(value)  # type: ignore[arg-type]
    with pytest.raises(ChainError):
        octets(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", ["0x0", "0xzz", "revert", 5, {"data": "0x123"}])
def test_revert_data_that_makes_no_sense_is_none(data: Json) -> None:
    assert RpcError("eth_call", "http://node.example", 3, "execution reverted", data).revert_data == b""


def test_what_a_node_says_can_be_written_down() -> None:
    said = RpcError("eth_call", "http://node.example", 3, "\ud800" + "x" * 10_000).message
    assert said.encode()
    assert len(said) <= 2_000


def test_a_number_of_blocks_or_seconds_or_gas_fits_into_63_bits() -> None:
    assert count(hex(2**63 - 1)) == 2**63 - 1
    for odd in (hex(2**63), "-0x1"):
        with pytest.raises(ChainError, match="a number"):
            count(odd)
