"""Signed prices of the past: price servers keep no history, but every reading that anybody used is on the chain.

``updateValue`` logs ``NewValue``, and the transaction that caused it carries the reading with its signature, whichever
contract it was sent through. A reading that nobody ever handed in is not to be had.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.model import Log
from keeper.protocols.deri import abi
from keeper.protocols.deri.market import DeriMarket
from keeper.protocols.deri.price_server import Record
from keeper.protocols.deri.state import OracleKind

_WORD = 32
_READING_WORDS = 6
"""``OracleSignature``: oracleSymbolId, timestamp, value, v, r, s."""


class PastReadings:
    """Owns the readings that were found and not told to the market yet."""

    def __init__(self, market: DeriMarket) -> None:
        self._market = market
        self._waiting: dict[tuple[str, int], Record] = {}
        """By oracle id and timestamp."""

    def transactions(self, logs: Sequence[Log]) -> list[str]:
        """The hashes of the transactions that handed readings in."""
        return list(dict.fromkeys(log.transaction_hash for log in logs if log.topics[:1] == (abi.NEW_VALUE,)))

    def learn(self, call_data: bytes) -> None:
        """Find the readings in a transaction. What is not signed as it must be is dropped when it is told."""
        for oracle in self._market.mirror.state.oracles.values():
            if oracle.kind is not OracleKind.OFFCHAIN:
                continue
            word = abi.word_of(oracle.oracle_id)
            at = call_data.find(word)
            while at >= 0:
                reading = call_data[at : at + _READING_WORDS * _WORD]
                if len(reading) == _READING_WORDS * _WORD:
                    timestamp, value, v = (abi.uint_at(reading, index) for index in (1, 2, 3))
                    if timestamp < 2**64 and v < 256:
                        record = Record(oracle.name, timestamp, value, v, reading[128:160], reading[160:192])
                        self._waiting[oracle.oracle_id, timestamp] = record
                at = call_data.find(word, at + 1)

    def tell(self, until: int) -> None:
        """Let the market hear what was signed up to that second, as it would have heard it from a server."""
        oracles = self._market.mirror.state.oracles
        due = sorted((key for key in self._waiting if key[1] <= until), key=lambda key: key[1])
        for key in due:
            record = self._waiting.pop(key)
            if (oracle := oracles.get(key[0])) is not None:
                self._market.prices.offer(record, oracle, until)
