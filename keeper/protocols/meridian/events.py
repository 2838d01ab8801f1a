"""The vault's events, decoded, and what they say of positions when they are folded in order.

Nothing in the vault's events is indexed. ``UpdatePosition`` and ``ClosePosition`` carry absolute values but neither
account nor tokens: identity comes from the ``IncreasePosition`` or ``DecreasePosition`` of the same key just before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from eth_utils import keccak, to_checksum_address

from keeper.model import Log
from keeper.protocols.meridian.state import Position


def _topic(signature: str) -> bytes:
    return keccak(text=signature)


_CHANGE = "(bytes32,address,address,address,uint256,uint256,bool,uint256,uint256)"
INCREASE_POSITION = _topic(f"IncreasePosition{_CHANGE}")
DECREASE_POSITION = _topic(f"DecreasePosition{_CHANGE}")
UPDATE_POSITION = _topic("UpdatePosition(bytes32,uint256,uint256,uint256,uint256,uint256,int256,uint256)")
CLOSE_POSITION = _topic("ClosePosition(bytes32,uint256,uint256,uint256,uint256,uint256,int256)")
LIQUIDATE_POSITION = _topic(
    "LiquidatePosition(bytes32,address,address,address,bool,uint256,uint256,uint256,int256,uint256)"
)
UPDATE_FUNDING_RATE = _topic("UpdateFundingRate(address,uint256)")
INCREASE_POOL_AMOUNT = _topic("IncreasePoolAmount(address,uint256)")
DECREASE_POOL_AMOUNT = _topic("DecreasePoolAmount(address,uint256)")
INCREASE_RESERVED_AMOUNT = _topic("IncreaseReservedAmount(address,uint256)")
DECREASE_RESERVED_AMOUNT = _topic("DecreaseReservedAmount(address,uint256)")

POSITION_TOPICS = frozenset({INCREASE_POSITION, DECREASE_POSITION, UPDATE_POSITION, CLOSE_POSITION, LIQUIDATE_POSITION})
TOKEN_TOPICS = frozenset(
    {
        UPDATE_FUNDING_RATE,
        INCREASE_POOL_AMOUNT,
        DECREASE_POOL_AMOUNT,
        INCREASE_RESERVED_AMOUNT,
        DECREASE_RESERVED_AMOUNT,
    }
)
"""Their first word is the token whose running figures changed."""

_WORDS = dict.fromkeys(TOKEN_TOPICS, 2) | {
    INCREASE_POSITION: 9,
    DECREASE_POSITION: 9,
    UPDATE_POSITION: 8,
    CLOSE_POSITION: 7,
    LIQUIDATE_POSITION: 10,
}

SET_LIQUIDATOR = _topic("SetLiquidator(address,bool)")
"""Of the position manager; the account is indexed."""
ANSWER_UPDATED = _topic("AnswerUpdated(int256,uint256,uint256)")
"""Of a Chainlink-style aggregator; the answer and the round are indexed."""
PRICE_UPDATE = _topic("PriceUpdate(address,uint256,address)")
"""Of the fast price feed's event contract."""
TRANSFER = _topic("Transfer(address,address,uint256)")


@dataclass(frozen=True, slots=True)
class Record:
    """One event of the vault with the second of its block."""

    topic0: bytes
    data: bytes
    timestamp: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a fold has gathered: open positions by key, and the last cumulative rate and its time by token."""

    positions: dict[str, Position]
    funding: dict[str, tuple[int, int]]


def uint_at(data: bytes, index: int) -> int:
    return int.from_bytes(data[32 * index : 32 * index + 32], "big")


def int_at(data: bytes, index: int) -> int:
    return int.from_bytes(data[32 * index : 32 * index + 32], "big", signed=True)


def address_at(data: bytes, index: int) -> str:
    return to_checksum_address(data[32 * index + 12 : 32 * index + 32])


def is_whole(log: Log) -> bool:
    """Whether a log of the vault carries all that its event says; true of every other event."""
    return len(log.data) >= 32 * _WORDS.get(log.topics[0] if log.topics else b"", 0)


def key_at(data: bytes) -> str:
    return "0x" + data[:32].hex()


LIQUIDATE = keccak(text="liquidatePosition(address,address,address,bool,address)")[:4]


def is_liquidation(key: str, logs: Iterable[Log], call_data: bytes) -> bool:
    """Whether a transaction that closed a position liquidated it.

    Above the leverage limit the vault closes a position as its owner would, and logs no ``LiquidatePosition``: then
    the call tells, also one that went through another contract.
    """
    return LIQUIDATE in call_data or any(
        log.topics[:1] == (LIQUIDATE_POSITION,) and key_at(log.data) == key for log in logs
    )


def identity(data: bytes, is_long_word: int = 6) -> Position:
    """The position that an Increase or Decrease names, without figures yet."""
    return Position(
        account=address_at(data, 1),
        collateral_token=address_at(data, 2),
        index_token=address_at(data, 3),
        is_long=bool(uint_at(data, is_long_word)),
        size_e30=0,
        collateral_e30=0,
        average_price_e30=0,
        entry_funding_rate=0,
        reserve_amount=0,
        realised_pnl_e30=0,
        last_increased_time=0,
    )


def identity_of(topic0: bytes, data: bytes) -> Position | None:
    """Whose position an event is about, if it says so."""
    if topic0 in (INCREASE_POSITION, DECREASE_POSITION):
        return identity(data)
    if topic0 == LIQUIDATE_POSITION:
        return identity(data, is_long_word=4)
    return None


def fold(records: Iterable[Record], funding_interval: int, ledger: Ledger | None = None) -> Ledger:
    """Replay records in chain order on top of ``ledger`` (a new one is returned).

    An increase sets the position's time, also when it only adds collateral. A decrease of the whole size comes with
    ``ClosePosition``, whose key may be opened again later. ``UpdateFundingRate`` says the new cumulative rate; its time
    is the block's, floored to the interval.
    """
    positions = dict(ledger.positions) if ledger else {}
    funding = dict(ledger.funding) if ledger else {}
    named: dict[str, Position] = {}
    for record in records:
        topic, data = record.topic0, record.data
        if topic == INCREASE_POSITION:
            key = key_at(data)
            named[key] = replace(positions.get(key) or identity(data), last_increased_time=record.timestamp)
        elif topic == DECREASE_POSITION:
            key = key_at(data)
            named[key] = positions.get(key) or identity(data)
        elif topic == UPDATE_POSITION:
            key = key_at(data)
            before = named.pop(key, None) or positions.get(key)
            if before is not None:
                positions[key] = replace(
                    before,
                    size_e30=uint_at(data, 1),
                    collateral_e30=uint_at(data, 2),
                    average_price_e30=uint_at(data, 3),
                    entry_funding_rate=uint_at(data, 4),
                    reserve_amount=uint_at(data, 5),
                    realised_pnl_e30=int_at(data, 6),
                )
        elif topic in (CLOSE_POSITION, LIQUIDATE_POSITION):
            key = key_at(data)
            named.pop(key, None)
            positions.pop(key, None)
        elif topic == UPDATE_FUNDING_RATE:
            floored = record.timestamp // funding_interval * funding_interval
            funding[address_at(data, 0)] = (uint_at(data, 1), floored)
    return Ledger(positions, funding)
