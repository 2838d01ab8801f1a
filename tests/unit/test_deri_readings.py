"""Which signed readings an oracle takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from coincurve import PrivateKey
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from keeper.protocols.deri.readings import Unread, accepts, apply_signatures, get_value, recover_signer, signing_hash
from keeper.protocols.deri.state import OracleKind, OracleSignature, OracleState

KEY = PrivateKey(bytes(31) + b"\x07")
SIGNER = to_checksum_address("0x" + keccak(KEY.public_key.format(compressed=False)[1:])[-20:].hex())
ID = "0x" + keccak(text="BTCUSD").hex()
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
STORED = OracleState(OracleKind.OFFCHAIN, ID, "BTCUSD", "", 100, timestamp=1_000, delay_allowance_s=600, signer=SIGNER)


def _signed(timestamp: int, value: int = 200, key: PrivateKey = KEY) -> OracleSignature:
    raw = key.sign_recoverable(signing_hash(ID, timestamp, value), hasher=None)
    return OracleSignature(ID, timestamp, value, raw[64] + 27, raw[:32], raw[32:64])


def _value_after(*signatures: OracleSignature) -> int:
    after = apply_signatures({ID: STORED}, signatures)
    assert isinstance(after, dict)
    return after[ID].value


def test_a_newer_reading_by_the_signer_counts() -> None:
    assert recover_signer(_signed(1_001)) == SIGNER.lower()
    assert _value_after(_signed(1_001)) == 200


def test_a_reading_from_the_future_counts() -> None:
    assert _value_after(_signed(10**12)) == 200


def test_a_reading_no_newer_than_the_stored_one_is_ignored() -> None:
    assert _value_after(_signed(1_000)) == 100
    assert _value_after(_signed(1_005, 300), _signed(1_004, 200)) == 300


def test_a_foreign_or_altered_reading_is_ignored() -> None:
    assert _value_after(_signed(1_001, key=PrivateKey(bytes(31) + b"\x08"))) == 100
    assert _value_after(replace(_signed(1_001), value=201)) == 100


@pytest.mark.parametrize("v", [0, 1, 26, 29, 35])
def test_v_must_be_27_or_28(v: int) -> None:
    assert not accepts(STORED, replace(_signed(1_001), v=v))


def test_a_signature_with_a_high_s_is_good_as_for_the_precompile() -> None:
    low = _signed(1_001)
    s = ORDER - int.from_bytes(low.s, "big")
    assert _value_after(replace(low, v=55 - low.v, s=s.to_bytes(32, "big"))) == 200


def test_nonsense_in_r_and_s_is_ignored() -> None:
    assert _value_after(replace(_signed(1_001), r=bytes(32), s=bytes(32))) == 100
    assert _value_after(replace(_signed(1_001), r=b"\xff" * 32)) == 100


def test_an_oracle_that_takes_no_readings_reverts_the_call() -> None:
    feed = replace(STORED, kind=OracleKind.CHAINLINK)
    assert isinstance(apply_signatures({ID: feed}, [_signed(1_001)]), Unread)
    assert isinstance(apply_signatures({}, [_signed(1_001)]), Unread)


def test_values_are_read_until_they_expire() -> None:
    assert get_value({ID: STORED}, ID, 1_599) == 100
    assert get_value({ID: STORED}, ID, 1_600) == Unread("OracleOffChain.getValue: BTCUSD expired")
    assert get_value({ID: replace(STORED, kind=OracleKind.WOO)}, ID, 10**9) == 100
