"""Multicall3's encoding by hand equals that of eth-abi, and the injected code is what the compiler made."""

from __future__ import annotations

import json

import pytest
from eth_abi.abi import decode, encode

from keeper.chain.multicall import AGGREGATE3_CODE, decode_aggregate3, encode_aggregate3
from keeper.devnet.anvil import CONTRACTS
from keeper.errors import ChainError
from keeper.model import ReadCall, ReadResult

TARGET = "0x" + "ab" * 20
RESULTS = [(True, b""), (False, b"why"), (True, bytes(range(64))), (True, b"x" * 33)]


@pytest.mark.parametrize("data", [[], [b""], [b"abcd"], [b"abcd", b"", bytes(32), bytes(100)]])
def test_calls_are_encoded_as_by_eth_abi(data: list[bytes]) -> None:
    expected = encode(["(address,bool,bytes)[]"], [[(TARGET, True, each) for each in data]])
    assert encode_aggregate3([ReadCall(TARGET, each) for each in data]) == bytes.fromhex("82ad56cb") + expected


def test_results_are_decoded_as_by_eth_abi() -> None:
    answer = encode(["(bool,bytes)[]"], [RESULTS])
    assert decode_aggregate3(answer, 4) == [ReadResult(ok, data) for ok, data in decode(["(bool,bytes)[]"], answer)[0]]


def test_an_answer_that_is_cut_short_or_of_another_length_is_refused() -> None:
    answer = encode(["(bool,bytes)[]"], [RESULTS])
    with pytest.raises(ChainError, match="gave 4"):
        decode_aggregate3(answer, 3)
    for length in (0, 31, 64, 200, len(answer) - 32):
        with pytest.raises(ChainError, match="cut short"):
            decode_aggregate3(answer[:length], 4)


def test_the_injected_code_is_the_compiled_contract() -> None:
    artifact = json.loads((CONTRACTS / "out" / "Aggregate3.sol" / "Aggregate3.json").read_text())
    code = bytes.fromhex(artifact["deployedBytecode"]["object"].removeprefix("0x"))
    metadata = int.from_bytes(code[-2:], "big") + 2
    assert code[:-metadata].hex() == AGGREGATE3_CODE
