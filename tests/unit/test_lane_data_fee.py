"""What an L2 charges for data: the formulas of its own contracts, from answers worked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from eth_utils import keccak

from keeper.chain.answers import Json, RpcError, fields, text
from keeper.chain.data_fee import DATA_FEES, ArbitrumDataFee, NoDataFee, OpStackDataFee
from keeper.chain.transport import Call
from keeper.errors import ChainError

GWEI = 10**9


class Contracts:
    """Answers ``eth_call`` by function signature."""

    def __init__(self, answers: Mapping[str, Sequence[int]]) -> None:
        self._answers = {"0x" + keccak(text=name)[:4].hex(): words for name, words in answers.items()}

    async def batch(self, calls: Sequence[Call]) -> list[Json | RpcError]:
        asked = [text(fields(params[0])["data"]) for _, params in calls]
        return ["0x" + b"".join(word.to_bytes(32, "big") for word in self._answers.get(a, ())).hex() for a in asked]


OP_MAINNET = {
    "l1BaseFee()": [10 * GWEI],
    "baseFeeScalar()": [5_227],
    "blobBaseFee()": [2 * GWEI],
    "blobBaseFeeScalar()": [1_014_213],
}


async def test_an_op_stack_chain_charges_its_upper_bound_on_top_of_the_gas() -> None:
    fee = OpStackDataFee()
    await fee.refresh(Contracts(OP_MAINNET))
    # 1,000 bytes of call data: size 1000 + 80 + 68 = 1148, longest 1148 + 4 + 16 = 1168,
    # estimated 836500 * 1168 - 42585600 = 934446400; scaled 5227 * 10 gwei * 16 + 1014213 * 2 gwei = 2864746 gwei.
    assert fee.on_top_wei(1_000) == 934_446_400 * 2_864_746 * GWEI // 10**12
    assert fee.extra_gas(1_000, GWEI) == 0


async def test_a_short_transaction_pays_for_a_hundred_bytes() -> None:
    fee = OpStackDataFee()
    await fee.refresh(Contracts(OP_MAINNET))
    assert fee.on_top_wei(0) == 100_000_000 * 2_864_746 * GWEI // 10**12


async def test_arbitrum_charges_data_as_gas() -> None:
    fee = ArbitrumDataFee()
    await fee.refresh(Contracts({"getPricesInWei()": [1, 160 * 10**6, 0, 0, 0, 0]}))
    # 1,148 bytes at 0.16 gwei, a quarter more, at a gas price of 0.01 gwei.
    assert fee.extra_gas(1_000, 10**7) == 1_148 * 160 * 10**6 * 125 // 100 // 10**7
    assert fee.on_top_wei(1_000) == 0


@pytest.mark.parametrize("fee", [OpStackDataFee(), ArbitrumDataFee()])
async def test_a_chain_of_another_kind_is_named(fee: OpStackDataFee | ArbitrumDataFee) -> None:
    with pytest.raises(ChainError, match="to answer"):
        await fee.refresh(Contracts({}))
    assert fee.on_top_wei(1_000) + fee.extra_gas(1_000, 1) == 0


def test_a_fee_is_chosen_by_name() -> None:
    assert {name: type(make()) for name, make in DATA_FEES.items()} == {
        "none": NoDataFee,
        "op-stack": OpStackDataFee,
        "arbitrum": ArbitrumDataFee,
    }
