"""How much of a block a plan takes."""

from __future__ import annotations

from keeper.engine.room import CAUTION, FIRST_SHARE, MISFITS, GasUse, Room


def test_before_anything_was_mined_a_share_of_the_limit_is_expected() -> None:
    assert GasUse().expected(800_000) == 800_000 * FIRST_SHARE * CAUTION


def test_what_was_used_of_a_limit_is_expected_of_the_same_limit() -> None:
    use = GasUse([(500_000, 175_000), (800_000, 330_000)])
    assert use.expected(500_000) == 175_000
    assert use.expected(800_000) == 330_000


def test_it_follows_a_change_and_forgets_a_single_odd_one() -> None:
    use = GasUse([(500_000, 175_000)] * 20)
    use.saw(500_000, 400_000)
    assert 175_000 < use.expected(500_000) < 210_000
    for _ in range(40):
        use.saw(500_000, 400_000)
    assert use.expected(500_000) > 398_000


def test_a_limit_never_seen_is_expected_to_use_what_others_use() -> None:
    use = GasUse([(500_000, 150_000)] * 200)
    assert 0.3 * CAUTION <= use.expected(1_000_000) / 1_000_000 < 0.31 * CAUTION


def test_a_transaction_needs_its_whole_limit_beside_what_is_used() -> None:
    room = Room(1_000_000, GasUse([(600_000, 200_000)]))
    for _ in range(2):
        assert room.fits(600_000)
        room.take(600_000)
    assert room.fits(600_000), "600,000 are left"
    room.take(600_000)
    assert not room.fits(600_000)


def test_a_block_is_full_after_some_misfits_not_after_one() -> None:
    room = Room(500_000, GasUse())
    for _ in range(MISFITS - 1):
        assert not room.fits(600_000)
    assert not room.full
    assert room.fits(500_000)
    assert not room.fits(600_000)
    assert room.full
