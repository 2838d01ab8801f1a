"""Who may liquidate on which route, in which order the contracts refuse, and which margin fee holds."""

from __future__ import annotations

from dataclasses import replace

from keeper.protocols.meridian.state import Access, Route, Timelock

KEEPER, MANAGER, TIMELOCK = "0x01", "0x02", "0x03"
OPEN = Access(
    private_mode=False,
    vault_liquidators=frozenset(),
    manager=MANAGER,
    manager_liquidators=frozenset({KEEPER}),
    timelock=Timelock(TIMELOCK, margin_fee_basis_points=10, manager_is_handler=True),
)
PRIVATE = replace(OPEN, private_mode=True)


def test_anybody_may_use_the_vaults_own_route_unless_it_is_private() -> None:
    assert OPEN.refusal(Route.VAULT, "anybody") is None
    assert PRIVATE.refusal(Route.VAULT, "anybody") == "Vault: invalid liquidator"
    assert replace(PRIVATE, vault_liquidators=frozenset({KEEPER})).refusal(Route.VAULT, KEEPER) is None


def test_the_manager_asks_its_list_first() -> None:
    nothing_works = replace(PRIVATE, manager_liquidators=frozenset(), timelock=None)
    assert nothing_works.refusal(Route.POSITION_MANAGER, KEEPER) == "PositionManager: forbidden"


def test_a_governor_without_code_reverts_without_a_reason() -> None:
    assert replace(PRIVATE, timelock=None).refusal(Route.POSITION_MANAGER, KEEPER) == ""


def test_the_manager_has_to_be_a_handler_and_in_private_mode_on_the_vaults_list() -> None:
    stranger = Timelock(TIMELOCK, margin_fee_basis_points=10, manager_is_handler=False)
    assert replace(OPEN, timelock=stranger).refusal(Route.POSITION_MANAGER, KEEPER) == "Timelock: forbidden"
    assert PRIVATE.refusal(Route.POSITION_MANAGER, KEEPER) == "Vault: invalid liquidator"
    listed = replace(PRIVATE, vault_liquidators=frozenset({MANAGER}))
    assert listed.refusal(Route.POSITION_MANAGER, KEEPER) is None
    assert OPEN.refusal(Route.POSITION_MANAGER, KEEPER) is None


def test_only_the_managers_route_has_the_timelock_lower_the_fee() -> None:
    assert OPEN.margin_fee(Route.POSITION_MANAGER, 500) == 10
    assert OPEN.margin_fee(Route.VAULT, 500) == 500
    assert replace(OPEN, timelock=None).margin_fee(Route.POSITION_MANAGER, 500) == 500
