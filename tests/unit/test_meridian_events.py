"""What a fold of the vault's events makes of positions and rates."""

from __future__ import annotations

from keeper.protocols.meridian import events
from keeper.protocols.meridian.events import Record, fold
from keeper.protocols.meridian.state import position_key

ACCOUNT, TOKEN = "0x" + "a1" * 20, "0x" + "b7" * 20
KEY = position_key(ACCOUNT, TOKEN, TOKEN, True)


def word(value: int | str) -> bytes:
    return bytes.fromhex(value[2:]).rjust(32, b"\0") if isinstance(value, str) else value.to_bytes(32, "big")


def words(*values: int | str) -> bytes:
    return b"".join(word(value) for value in values)


def change(topic: bytes, timestamp: int) -> Record:
    return Record(topic, words(KEY, ACCOUNT, TOKEN, TOKEN, 1, 2, 1, 3, 4), timestamp)


def update(size: int, timestamp: int, pnl: int = 0) -> Record:
    data = words(KEY, size, 20, 30, 40, 50) + pnl.to_bytes(32, "big", signed=True) + word(9)
    return Record(events.UPDATE_POSITION, data, timestamp)


def closed(timestamp: int) -> Record:
    return Record(events.CLOSE_POSITION, words(KEY, 100, 0, 30, 40, 50, 0), timestamp)


def opened(timestamp: int = 7, size: int = 100) -> list[Record]:
    return [change(events.INCREASE_POSITION, timestamp), update(size, timestamp)]


def test_an_increase_and_its_update_give_a_whole_position() -> None:
    position = fold(opened(), 3600).positions[KEY]
    assert (position.account.lower(), position.size_e30, position.last_increased_time) == (ACCOUNT, 100, 7)
    assert position.is_long


def test_a_partial_decrease_keeps_the_time_and_may_lose() -> None:
    position = fold([*opened(), change(events.DECREASE_POSITION, 9), update(60, 9, pnl=-5)], 3600).positions[KEY]
    assert (position.size_e30, position.last_increased_time, position.realised_pnl_e30) == (60, 7, -5)


def test_a_deposit_without_size_moves_the_time() -> None:
    assert fold([*opened(7), *opened(9)], 3600).positions[KEY].last_increased_time == 9


def test_a_key_is_used_again_after_a_close() -> None:
    gone = [*opened(7), change(events.DECREASE_POSITION, 8), closed(8)]
    assert fold(gone, 3600).positions == {}
    again = fold([*gone, *opened(9, size=5)], 3600).positions[KEY]
    assert (again.size_e30, again.last_increased_time) == (5, 9)


def test_a_fold_goes_on_from_a_ledger_and_leaves_it_as_it_was() -> None:
    ledger = fold(opened(7), 3600)
    assert fold([change(events.DECREASE_POSITION, 8), update(1, 8)], 3600, ledger).positions[KEY].size_e30 == 1
    assert ledger.positions[KEY].size_e30 == 100


def test_a_funding_rate_is_timed_by_its_interval() -> None:
    record = Record(events.UPDATE_FUNDING_RATE, word(TOKEN) + word(77), 7300)
    (funding,) = fold([record], 3600).funding.values()
    assert funding == (77, 7200)


def test_a_liquidation_names_its_position_with_the_side_in_another_place() -> None:
    data = words(KEY, ACCOUNT, TOKEN, TOKEN, 1, 2, 0, 0, 0, 0)
    named = events.identity_of(events.LIQUIDATE_POSITION, data)
    assert named is not None
    assert named.key == KEY
