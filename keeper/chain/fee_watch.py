"""What is known of the price of block space, asked for between blocks so that the hot path doesn't have to."""

from __future__ import annotations

import structlog

from keeper.chain.answers import RpcError, fields, items, quantity
from keeper.chain.data_fee import DataFee
from keeper.chain.gas import POLICIES, TRANSFER_GAS, Demand, FeeMarket, FeeSettings, tips_of_history
from keeper.chain.receipts import Node
from keeper.errors import ChainError

log = structlog.get_logger(__name__)

HISTORY_BLOCKS = 10


class FeeWatch:
    """Owns the last tips or gas price seen, whichever the policy looks at."""

    def __init__(self, node: Node, settings: FeeSettings, data_fee: DataFee) -> None:
        self._node = node
        self._settings = settings
        self._data_fee = data_fee
        self._tips_wei: tuple[int, ...] = ()
        self._gas_price_wei = 0
        self._failing = False

    def market(self, base_fee_wei: int | None) -> FeeMarket:
        """What to bid in, given the next block's base fee."""
        return FeeMarket(base_fee_wei, self._tips_wei, self._gas_price_wei)

    def price_wei(self, base_fee_wei: int | None) -> int:
        """What a unit of gas is expected to cost a fresh transaction in a block with that base fee."""
        fees = POLICIES[self._settings.policy](self._settings, self.market(base_fee_wei), Demand(0, TRANSFER_GAS))
        return fees.price_at(base_fee_wei or 0)

    def data_fee_wei(self, length: int, base_fee_wei: int | None) -> int:
        """What an L2 charges for call data of that length besides the gas, in wei; an upper bound."""
        price = base_fee_wei or 0
        return self._data_fee.on_top_wei(length) + self._data_fee.extra_gas(length, price) * price

    def transfer_gas(self, base_fee_wei: int | None) -> int:
        """The gas limit that a transfer needs: on some L2s its bytes are charged as gas too."""
        return TRANSFER_GAS + self._data_fee.extra_gas(0, base_fee_wei or self._gas_price_wei)

    async def refresh(self) -> None:
        """Ask again, if the policy wants to know. What was known stays when the node doesn't answer."""
        try:
            await self._data_fee.refresh(self._node)
            if self._settings.policy == "percentile-tip":
                self._tips_wei = await self._recent_tips()
            elif self._settings.policy == "legacy":
                [answer] = await self._node.batch([("eth_gasPrice", [])])
                if isinstance(answer, RpcError):
                    raise answer
                self._gas_price_wei = quantity(answer)
        except ChainError as error:
            if not self._failing:
                log.warning("fees.unknown", policy=self._settings.policy, error=str(error))
            self._failing = True
            return
        self._failing = False

    async def _recent_tips(self) -> tuple[int, ...]:
        [answer] = await self._node.batch(
            [("eth_feeHistory", [hex(HISTORY_BLOCKS), "latest", [self._settings.tip_percentile]])]
        )
        if isinstance(answer, RpcError):
            raise answer
        rows = fields(answer).get("reward")
        return tips_of_history([[quantity(tip) for tip in items(row)] for row in items(rows or [])])
