"""Our own encoding of transactions is eth-account's, byte for byte."""

from __future__ import annotations

import asyncio

import pytest
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.chain.eth_accounts import Account
from keeper.chain.signer import LocalSigner
from keeper.chain.transaction import Fees, Transaction, signature_of

KEY = bytes(range(1, 33))
SIGNER = LocalSigner(KEY)
ACCOUNT = Account.from_key(KEY)
WEI = st.integers(0, 2**96)

transactions = st.builds(
    Transaction,
    chain_id=st.integers(1, 2**40),
    nonce=st.integers(0, 2**63),
    to=st.binary(min_size=20, max_size=20).map(to_checksum_address),
    data=st.binary(max_size=200) | st.binary(min_size=250, max_size=300) | st.binary(min_size=1, max_size=1),
    gas_limit=st.integers(0, 2**32),
    fees=st.builds(Fees, WEI, st.none() | WEI),
    value_wei=WEI,
)


def by_eth_account(transaction: Transaction) -> bytes:
    fields: dict[str, object] = {
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": transaction.to,
        "data": transaction.data,
        "gas": transaction.gas_limit,
        "value": transaction.value_wei,
    }
    if transaction.fees.tip_wei is None:
        fields["gasPrice"] = transaction.fees.max_wei
    else:
        fields |= {
            "type": 2,
            "maxFeePerGas": transaction.fees.max_wei,
            "maxPriorityFeePerGas": transaction.fees.tip_wei,
        }
    return bytes(ACCOUNT.sign_transaction(fields).raw_transaction)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(transactions)
def test_a_signed_transaction_equals_eth_account_s(transaction: Transaction) -> None:
    signed = asyncio.run(SIGNER.sign(transaction))
    assert signed.raw == by_eth_account(transaction)
    assert signature_of(signed.raw, transaction) == SIGNER.sign_digest(transaction.digest())


@settings(max_examples=50, deadline=None, derandomize=True)
@given(transactions, transactions)
def test_a_signature_for_another_transaction_is_not_taken(asked: Transaction, given: Transaction) -> None:
    signed = asyncio.run(SIGNER.sign(given))
    if asked != given:
        with pytest.raises(ValueError, match="a different transaction"):
            signature_of(signed.raw, asked)


def test_the_address_is_eth_account_s() -> None:
    assert SIGNER.address == ACCOUNT.address
