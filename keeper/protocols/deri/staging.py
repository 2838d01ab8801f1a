"""Moving a Deri market's prices on a fork, so that an account becomes liquidatable there.

A signed price is moved by a reading of our own: on the fork the oracle's signer is replaced by a key that is made for
the occasion. A price that comes from a feed on the chain is moved by replacing the feed.
"""

from __future__ import annotations

from collections.abc import Iterable

from coincurve import PrivateKey
from eth_utils.crypto import keccak

from keeper.chain.fork import Fork
from keeper.chain.stub import answering
from keeper.errors import ProtocolError
from keeper.fixed import ONE
from keeper.model import Advance, Header, Log
from keeper.protocols.deri import abi
from keeper.protocols.deri.abi import Getter
from keeper.protocols.deri.market import DeriMarket
from keeper.protocols.deri.price_server import Record, SignedPrices
from keeper.protocols.deri.readings import signing_hash
from keeper.protocols.deri.state import OracleKind, OracleState
from keeper.protocols.market import Trigger

_WOO_PRICE = Getter("_I_()", lambda data: abi.uint_at(data, 0))
_SLOTS = 16
"""Storage slots in which an oracle that is no plain contract may keep its signer."""


class DeriStage:
    """Owns the throwaway key, and what the prices were."""

    def __init__(self, market: DeriMarket, fork: Fork) -> None:
        self._market = market
        self._fork = fork
        self._key = PrivateKey()
        self._base: dict[str, int] = {}

    async def prepare(self, head: Header) -> Header:
        """Take over the signed oracles. The head of the fork at which the market then stands."""
        state = self._market.state()
        self._base = {oracle_id: oracle.value for oracle_id, oracle in state.oracles.items()}
        ours = keccak(self._key.public_key.format(compressed=False)[1:])[-20:]
        signed = [oracle for oracle in state.oracles.values() if oracle.kind is OracleKind.OFFCHAIN]
        for oracle in signed:
            await self._replace_signer(oracle, ours)
        head = await self._fork.mine(head.timestamp + 1)
        self._market.prices = SignedPrices()
        news = self._news([oracle.oracle_id for oracle in signed], head)
        await self._market.apply(Advance(head, news), self._fork.reader)
        self._sign(head, {})
        return head

    async def move(self, trigger: Trigger, value: int, head: Header) -> Header:
        """Let one price be ``value``, in the trigger's decimals; all others as they were. The head to act on."""
        oracle = self._market.mirror.state.oracles[trigger.price]
        self._market.prices = SignedPrices()
        if oracle.kind is not OracleKind.OFFCHAIN:
            head = await self._replace_feed(oracle, value, head)
        self._sign(head, {trigger.price: value})
        return head

    async def restore(self, head: Header) -> None:
        """The fork was taken back to ``head``: what was moved is read again."""
        self._market.prices = SignedPrices()
        moved = [o.oracle_id for o in self._market.mirror.state.oracles.values() if o.kind is not OracleKind.OFFCHAIN]
        await self._market.apply(Advance(head, self._news(moved, head)), self._fork.reader)
        self._sign(head, {})

    def preferred(self, trigger: Trigger) -> bool:
        """False for a price that collateral is swapped at: moving it alone makes the swap itself impossible."""
        markets = self._market.mirror.state.vault_markets.values()
        return all(market.swap_oracle_id != trigger.price for market in markets)

    def _sign(self, head: Header, moved: dict[str, int]) -> None:
        """A reading for every signed price, so that none is stale."""
        timestamp = head.timestamp + 1
        for oracle in self._market.mirror.state.oracles.values():
            if oracle.kind is not OracleKind.OFFCHAIN:
                continue
            value = moved.get(oracle.oracle_id, self._base.get(oracle.oracle_id, oracle.value))
            timestamp = max(timestamp, oracle.timestamp + 1)
            digest = signing_hash(oracle.oracle_id, timestamp, value)
            signed = self._key.sign_recoverable(digest, hasher=None)
            record = Record(oracle.name, timestamp, value, 27 + signed[64], signed[:32], signed[32:64])
            if problem := self._market.prices.offer(record, oracle, head.timestamp):
                raise ProtocolError(
                    f"the oracle of {oracle.name} to take our readings on the fork", problem, "report this market"
                )

    async def _replace_signer(self, oracle: OracleState, ours: bytes) -> None:
        """An immutable stands in the code as a whole word; a variable in one of the first slots."""
        code = await self._fork.code(oracle.address)
        before, after = (bytes(12) + each for each in (bytes.fromhex(oracle.signer[2:]), ours))
        if before in code:
            await self._fork.set_code(oracle.address, code.replace(before, after))
            return
        for slot in range(_SLOTS):
            if await self._fork.storage(oracle.address, slot) == before:
                await self._fork.set_storage(oracle.address, slot, after)
                return
        raise ProtocolError(
            f"to find the signer of the oracle of {oracle.name} in its code or storage",
            f"{oracle.address} keeps it elsewhere",
            "its accounts can't be rehearsed",
        )

    async def _replace_feed(self, oracle: OracleState, value: int, head: Header) -> Header:
        """Put an answering contract in the place of the oracle's feed."""
        feed, decimals = await self._feed_of(oracle, head)
        await self._fork.set_code(feed, answering(value * 10**decimals // ONE))
        head = await self._fork.mine(head.timestamp + 1)
        await self._market.apply(Advance(head, self._news([oracle.oracle_id], head)), self._fork.reader)
        return head

    async def _feed_of(self, oracle: OracleState, head: Header) -> tuple[str, int]:
        """The feed, and the decimals of what it answers."""
        asked = [abi.FEED.at(oracle.address), abi.FEED_DECIMALS.at(oracle.address)]
        feed, decimals = await self._fork.reader.read(asked, head.hash)
        address = abi.FEED.answer(feed, oracle.address)
        if oracle.kind is OracleKind.CHAINLINK:
            return address, abi.FEED_DECIMALS.answer(decimals, oracle.address)
        # Woo's figure is scaled by two immutables of the oracle; their ratio is what it makes of one unit.
        [raw] = await self._fork.reader.read([_WOO_PRICE.at(address)], head.hash)
        unit = _WOO_PRICE.answer(raw, address)
        return address, len(str(ONE * unit // oracle.value)) - 1

    def _news(self, oracle_ids: Iterable[str], head: Header) -> tuple[Log, ...]:
        """What the oracle manager would log if these oracles were new: it has them read in full."""
        manager = self._market.mirror.wiring.oracle_manager
        topics = [(abi.NEW_ORACLE, abi.word_of(oracle_id)) for oracle_id in oracle_ids]
        nothing = "0x" + "00" * 32
        return tuple(Log(manager, topic, bytes(32), head.number, head.hash, nothing, 0) for topic in topics)
