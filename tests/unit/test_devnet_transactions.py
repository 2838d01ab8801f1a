"""Where contracts will land, and what revert data says."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_typing import HexAddress, HexStr
from eth_utils.crypto import keccak
from web3.types import Nonce
from web3.utils import get_create_address

from keeper.devnet.transactions import created_address, reason_text

SENDER = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_a_contract_lands_where_sender_and_nonce_say(nonce: int) -> None:
    assert created_address(SENDER, nonce) == get_create_address(HexAddress(HexStr(SENDER)), Nonce(nonce))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (keccak(text="Error(string)")[:4] + encode(["string"], ["no position"]), "no position"),
        (keccak(text="Panic(uint256)")[:4] + encode(["uint256"], [0x12]), "Panic(0x12)"),
        (b"", "without a reason"),
        (bytes.fromhex("deadbeef"), "0xdeadbeef"),
    ],
)
def test_revert_data_is_told(data: bytes, said: str) -> None:
    assert reason_text(data) == said
