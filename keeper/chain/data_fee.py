"""What an L2 charges for putting a transaction's bytes on L1. One seam; a chain without such a fee has ``NoDataFee``.

The prices are read from the chain's own contracts between blocks; on the hot path the fee is arithmetic. Both
estimates are upper bounds: they don't count on compression.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from keeper.chain.receipts import Node, words
from keeper.errors import ChainError

ENVELOPE_BYTES = 80
"""An unsigned EIP-1559 transaction without its call data is never longer."""


class DataFee(Protocol):
    """An L2's data fee, by the length of the call data in bytes."""

    def on_top_wei(self, length: int) -> int:
        """Wei charged besides the gas."""
        ...

    def extra_gas(self, length: int, base_fee_wei: int) -> int:
        """Gas that the fee is charged as: it has to be added to the gas limit."""
        ...

    async def refresh(self, node: Node) -> None:
        """Read the prices anew. Raises ``ChainError``; what was known then stays."""
        ...


class NoDataFee:
    """The chain charges gas alone."""

    def on_top_wei(self, length: int) -> int:
        return 0

    def extra_gas(self, length: int, base_fee_wei: int) -> int:
        return 0

    async def refresh(self, node: Node) -> None:
        """There is nothing to know."""


class OpStackDataFee:
    """OP-stack chains since Fjord: charged on top of the gas (``GasPriceOracle.getL1FeeUpperBound``)."""

    ORACLE = "0x420000000000000000000000000000000000000F"
    _GETTERS = ("l1BaseFee()", "baseFeeScalar()", "blobBaseFee()", "blobBaseFeeScalar()")
    _INTERCEPT, _COEFFICIENT, _LEAST = -42_585_600, 836_500, 100_000_000
    """``costIntercept``, ``costFastlzCoef`` and ``minTransactionSize``, all with six decimals (Fjord)."""
    _SIGNATURE_BYTES = 68

    def __init__(self) -> None:
        self._scaled_wei = 0

    def on_top_wei(self, length: int) -> int:
        size = length + ENVELOPE_BYTES + self._SIGNATURE_BYTES
        longest = size + size // 255 + 16
        estimated = max(self._INTERCEPT + self._COEFFICIENT * longest, self._LEAST)
        return estimated * self._scaled_wei // 10**12

    def extra_gas(self, length: int, base_fee_wei: int) -> int:
        return 0

    async def refresh(self, node: Node) -> None:
        base, base_scalar, blob, blob_scalar = await _read(node, self.ORACLE, self._GETTERS)
        self._scaled_wei = base_scalar * base * 16 + blob_scalar * blob


class ArbitrumDataFee:
    """Arbitrum: charged as gas, priced by ``ArbGasInfo.getPricesInWei`` (its second figure, wei per call data byte)."""

    GAS_INFO = "0x000000000000000000000000000000000000006C"
    _MARGIN_PERCENT = 125
    """The price of gas and of data may both move before the transaction is mined; what is not used is given back."""
    _SIGNATURE_BYTES = 68

    def __init__(self) -> None:
        self._per_byte_wei = 0

    def on_top_wei(self, length: int) -> int:
        return 0

    def extra_gas(self, length: int, base_fee_wei: int) -> int:
        size = length + ENVELOPE_BYTES + self._SIGNATURE_BYTES
        return size * self._per_byte_wei * self._MARGIN_PERCENT // 100 // max(base_fee_wei, 1)

    async def refresh(self, node: Node) -> None:
        [prices] = await words(node, self.GAS_INFO, ("getPricesInWei()",))
        if len(prices) < 2:
            raise ChainError(
                "ArbGasInfo.getPricesInWei to answer", "it did not", "check that this is an Arbitrum chain"
            )
        self._per_byte_wei = prices[1]


DATA_FEES: Mapping[str, Callable[[], DataFee]] = {
    "none": NoDataFee,
    "op-stack": OpStackDataFee,
    "arbitrum": ArbitrumDataFee,
}


async def _read(node: Node, to: str, signatures: Sequence[str]) -> list[int]:
    """The first word that each getter answers."""
    answers = await words(node, to, signatures)
    for signature, answer in zip(signatures, answers, strict=True):
        if not answer:
            raise ChainError(f"{to} to answer {signature}", "it did not", "check data_fee against the kind of chain")
    return [answer[0] for answer in answers]
