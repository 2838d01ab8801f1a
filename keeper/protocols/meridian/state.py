"""What a Meridian Trade vault (GMX v1 style) holds, as a mirror reads it and the engine computes on it.

Frozen records of plain ints and strings. USD values and prices carry 30 decimals (``*_e30``), token amounts the
token's own, basis points are out of 10,000 and funding rates out of 1,000,000. Everything is unsigned on the chain
but ``realised_pnl_e30``. Addresses are checksummed strings, position keys ``0x`` strings in lower case.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eth_utils import keccak

BASIS_POINTS = 10_000
FUNDING_RATE_PRECISION = 1_000_000
USD_E30 = 10**30


class Route(enum.StrEnum):
    """The two ways into ``liquidatePosition``."""

    POSITION_MANAGER = "positionManager"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class Params:
    """The vault's settings that the liquidation test reads. Storage without events: re-read at a rhythm."""

    max_leverage: int
    """10,000 is 1x."""
    liquidation_fee_e30: int
    margin_fee_basis_points: int
    """As stored. Between two transactions a timelock keeps its maximum here; see ``Access.margin_fee``."""
    min_profit_time: int
    funding_interval: int
    funding_rate_factor: int
    stable_funding_rate_factor: int


@dataclass(frozen=True, slots=True)
class Token:
    """One whitelisted token: its constants and the vault's running figures of it."""

    address: str
    decimals: int
    is_stable: bool
    min_profit_basis_points: int
    pool_amount: int
    reserved_amount: int
    fee_reserve: int
    guaranteed_e30: int
    global_short_size_e30: int
    funding_rate: int
    """``cumulativeFundingRates``: only ever grows."""
    last_funding_time: int
    balance: int
    """``token.balanceOf(vault)``: the ceiling of ``pool_amount`` when it grows."""


@dataclass(frozen=True, slots=True)
class Position:
    """One open position. ``collateral_token`` pays for it, ``index_token`` moves it."""

    account: str
    collateral_token: str
    index_token: str
    is_long: bool
    size_e30: int
    collateral_e30: int
    average_price_e30: int
    entry_funding_rate: int
    reserve_amount: int
    realised_pnl_e30: int
    last_increased_time: int

    @property
    def key(self) -> str:
        return position_key(self.account, self.collateral_token, self.index_token, self.is_long)


def position_key(account: str, collateral_token: str, index_token: str, is_long: bool) -> str:
    """``Vault.getPositionKey``: keccak256 of the four, packed."""
    packed = b"".join(bytes.fromhex(address[2:]) for address in (account, collateral_token, index_token))
    return "0x" + keccak(packed + bytes([is_long])).hex()


@dataclass(frozen=True, slots=True)
class Price:
    """A token's no-AMM prices at one second: ``getPrice(token, false | true, false, false)``."""

    min_e30: int
    max_e30: int

    def mark(self, is_long: bool) -> int:
        """The side that a closing is marked at: a long at the min, a short at the max."""
        return self.min_e30 if is_long else self.max_e30


@dataclass(frozen=True, slots=True)
class Vault:
    """The part of the vault that a liquidation reads and changes."""

    params: Params
    tokens: Mapping[str, Token]

    def token(self, address: str) -> Token:
        return self.tokens[address]

    def with_token(self, token: Token) -> Vault:
        return replace(self, tokens={**self.tokens, token.address: token})


@dataclass(frozen=True, slots=True)
class Timelock:
    """The contract that governs the vault and switches its margin fee around a call."""

    address: str
    margin_fee_basis_points: int
    manager_is_handler: bool


@dataclass(frozen=True, slots=True)
class Access:
    """Who may liquidate, as the two routes ask it."""

    private_mode: bool
    vault_liquidators: frozenset[str]
    """Of the addresses that a keeper asks about: its signers and the position manager."""
    manager: str | None
    manager_liquidators: frozenset[str]
    timelock: Timelock | None
    """None when the vault's governor is an ordinary account."""

    def refusal(self, route: Route, caller: str) -> str | None:
        """The reason with which a call is refused before any position is looked at; None if it is not.

        Order: ``PositionManager.onlyLiquidator``, the timelock's ``enableLeverage``, ``Vault`` error 34. A governor
        without code reverts with no data.
        """
        if route is Route.VAULT:
            return _VAULT_REFUSAL if self.private_mode and caller not in self.vault_liquidators else None
        if caller not in self.manager_liquidators:
            return "PositionManager: forbidden"
        if self.timelock is None:
            return ""
        if not self.timelock.manager_is_handler:
            return "Timelock: forbidden"
        return _VAULT_REFUSAL if self.private_mode and self.manager not in self.vault_liquidators else None

    def margin_fee(self, route: Route, stored_basis_points: int) -> int:
        """The margin fee that holds inside the call: the manager's route has the timelock switch it."""
        if route is Route.POSITION_MANAGER and self.timelock is not None:
            return self.timelock.margin_fee_basis_points
        return stored_basis_points


_VAULT_REFUSAL = "Vault: invalid liquidator"
