"""Moving a Meridian market's prices on a fork, so that a position becomes liquidatable there.

The fast prices are switched off by the feed's governor, whom a fork lets us be; then a price is its primary source's,
and that is replaced by a contract that answers what we want.
"""

from __future__ import annotations

from keeper.chain.fork import Call, Fork, GasPrice
from keeper.chain.stub import answering
from keeper.errors import ProtocolError
from keeper.model import Advance, Header, Log
from keeper.protocols.market import Trigger
from keeper.protocols.meridian import events
from keeper.protocols.meridian.market import MeridianMarket
from keeper.protocols.meridian.reads import Batch, call_data

_GAS = 200_000


class MeridianStage:
    """Owns what has to be known of the price feed."""

    def __init__(self, market: MeridianMarket, fork: Fork) -> None:
        self._market = market
        self._fork = fork
        self._price_decimals: dict[str, int] = {}

    async def prepare(self, head: Header) -> Header:
        """Switch the fast prices off. The head of the fork at which the market then stands."""
        wiring = self._market.mirror.wiring
        batch = Batch()
        governor = batch.ask(wiring.price_feed, "gov()")
        asked = {token: batch.ask(wiring.price_feed, "priceDecimals(address)", token) for token in wiring.sources}
        await batch.read(self._fork.reader, head.hash)
        self._price_decimals = {token: answer.uint() for token, answer in asked.items() if answer.ok}
        if wiring.secondary_feed is not None:
            await self._switch_off_fast_prices(wiring.price_feed, governor.address(), head)
        head = await self._fork.head()
        # As if a right had changed: it has the settings read, and with them which feeds there are.
        topics = (events.SET_LIQUIDATOR, bytes(32))
        news = Log(wiring.vault, topics, bytes(32), head.number, head.hash, "0x" + "00" * 32, 0)
        await self._market.apply(Advance(head, (news,)), self._fork.reader)
        return head

    async def move(self, trigger: Trigger, value: int, head: Header) -> Header:
        """Let a token's price be ``value``, in the trigger's decimals. The head to act on."""
        source, decimals = self._market.mirror.wiring.sources[trigger.price], self._price_decimals[trigger.price]
        await self._fork.set_code(source.address, answering(value * 10**decimals // 10**trigger.decimals))
        head = await self._fork.mine(head.timestamp + 1)
        await self._market.apply(Advance(head), self._fork.reader)
        return head

    async def restore(self, head: Header) -> None:
        """The fork was taken back to ``head``: the prices are read again."""
        await self._market.apply(Advance(head), self._fork.reader)

    def preferred(self, trigger: Trigger) -> bool:
        """The price at which somebody is paid, rather than the one at which the position is closed for nothing."""
        return trigger.value_e18 > 0

    async def _switch_off_fast_prices(self, feed: str, governor: str, head: Header) -> None:
        off = Call(feed, call_data("setIsSecondaryPriceEnabled(bool)", 0), _GAS)
        price = GasPrice(head.base_fee_per_gas_wei, head.base_fee_per_gas_wei or 1)
        [done] = await self._fork.execute([off], governor, timestamp=head.timestamp + 1, gas=price)
        if not done.ok:
            raise ProtocolError(
                f"the governor {governor} to switch the fast prices of {feed} off on the fork",
                done.reason,
                "this market's positions can't be rehearsed",
            )
