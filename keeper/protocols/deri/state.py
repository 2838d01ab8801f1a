"""What the contracts of one Deri V3 pool hold, as a mirror reads it and the engine computes on it.

Frozen records of plain ints and strings, cheap to replace one at a time and to serialise. Every figure is 18-decimal
fixed point, signed where the chain's is, unless its name or its comment says otherwise; ``*_s`` are seconds, timestamps
are seconds since the epoch. Symbol and oracle ids are ``0x`` strings in lower case (keccak256 of the name), addresses
are checksummed strings.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

ZERO_ADDRESS = "0x" + "0" * 40


class Flavour(enum.StrEnum):
    """The two pools that share one ``liquidate``."""

    LITE = "lite"
    FULL = "full"


class SymbolKind(enum.StrEnum):
    FUTURES = "futures"
    OPTION = "option"
    POWER = "power"
    UNKNOWN = "unknown"
    """An implementation that the engine can't price: whoever holds the symbol is not assessable."""


class OracleKind(enum.StrEnum):
    OFFCHAIN = "offchain"
    CHAINLINK = "chainlink"
    WOO = "woo"


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool's own storage, and the manager's ``initialMarginRequired``."""

    flavour: Flavour
    liquidity: int
    lps_pnl: int
    cumulative_pnl_per_liquidity: int
    min_liquidation_reward: int
    max_liquidation_reward: int
    liquidation_reward_cut_ratio: int
    decimals_b0: int
    """Decimals of the base token B0; always 18 in the Lite pool."""
    vault_liquidity_multiplier: int = 10**18
    """``vault.vaultLiquidityMultiplier()``; full pool only."""
    initial_margin_required: int = 0
    """The symbol manager's figure: the sum over its symbols. Decides nothing in ``liquidate``."""


@dataclass(frozen=True, slots=True)
class SymbolParams:
    """A symbol's immutables: constant until ``NewImplementation``."""

    kind: SymbolKind
    name: str
    symbol_id: str
    address: str
    price_id: str
    """The oracle of the index price; a futures symbol's own id."""
    volatility_id: str | None
    """None for futures."""
    alpha: int
    funding_period_s: int
    initial_margin_ratio: int
    maintenance_margin_ratio: int
    starting_price_shift_limit: int
    strike_price: int = 0
    """Options only, as are the next two."""
    min_initial_margin_ratio: int = 0
    is_call: bool = False


@dataclass(frozen=True, slots=True)
class SymbolState:
    """A symbol's running state."""

    net_volume: int
    net_cost: int
    index_price: int
    funding_timestamp: int
    cumulative_funding_per_volume: int
    traders_pnl: int
    initial_margin_required: int
    n_position_holders: int
    last_net_volume: int
    last_net_volume_block: int


@dataclass(frozen=True, slots=True)
class Symbol:
    params: SymbolParams
    state: SymbolState


@dataclass(frozen=True, slots=True)
class OracleState:
    """One oracle's reading, whatever its kind."""

    kind: OracleKind
    oracle_id: str
    name: str
    """The symbol's name as the oracle's revert strings show it, ``BTCUSD`` or ``VOL-BTCUSD``."""
    address: str
    value: int
    """``value()``, scaled to 18 decimals."""
    timestamp: int = 0
    """Off-chain: ``timestamp()``. Chainlink: the round's ``updatedAt``. Woo has none."""
    delay_allowance_s: int = 0
    """Off-chain only, as is ``signer``."""
    signer: str = ZERO_ADDRESS
    fault: str = ""
    """Why ``getValue`` reverts for a reason other than age (a Chainlink round unanswered, a price not positive)."""


@dataclass(frozen=True, slots=True)
class OracleSignature:
    """A signed reading: the tuple that ``liquidate`` takes."""

    oracle_id: str
    timestamp: int
    value: int
    v: int
    r: bytes
    s: bytes


@dataclass(frozen=True, slots=True)
class VaultMarket:
    """A Venus market that vaults may have entered, and how its underlying is swapped to B0."""

    v_token: str
    underlying: str
    """The zero address for the native coin."""
    exchange_rate_stored: int
    """Raw underlying units per raw vToken unit, times 10**18."""
    oracle_price: int
    """Venus' price of one raw unit, times 10**18, scaled so that the product has 18 decimals."""
    collateral_factor: int
    is_base: bool
    """The underlying is B0 itself: redeemed without a swap."""
    swap_oracle_id: str | None = None
    """The oracle whose ``value`` bounds the swap; None for B0."""
    underlying_decimals: int = 18
    max_slippage_ratio: int = 0
    """The swapper's bound for this underlying: a worse output reverts the whole call."""


@dataclass(frozen=True, slots=True)
class VaultState:
    """One trader's vault."""

    address: str
    balances: tuple[tuple[str, int], ...] = ()
    """(vToken, raw balance) in the order of ``getMarketsIn()``."""
    liquidity: int | None = None
    """``getVaultLiquidity()`` as read, where a vault can't be taken apart; None: computed from the balances."""


@dataclass(frozen=True, slots=True)
class Position:
    symbol_id: str
    volume: int
    cost: int
    cumulative_funding_per_volume: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """One trader: an existing pToken."""

    p_token_id: int
    owner: str
    amount_b0: int
    positions: tuple[Position, ...] = ()
    """In the order of ``getActiveSymbols(pTokenId)``, which is the order of settlement."""
    vault: VaultState | None = None

    @property
    def active_symbols(self) -> tuple[str, ...]:
        """The symbol ids in on-chain order."""
        return tuple(position.symbol_id for position in self.positions)


@dataclass(frozen=True, slots=True)
class Stake:
    amount: int
    timestamp: int
    """``stakeTimestamps``: set to now by every deposit, untouched by a withdrawal."""


@dataclass(frozen=True, slots=True)
class PrivilegerState:
    """The DERI stakes that decide who may liquidate. ``stakes`` holds at least the liquidators that we ask about."""

    min_lock_time_s: int
    min_deposit_amount: int
    stakes_total: int
    stakes_count: int
    stakes: Mapping[str, Stake]


@dataclass(frozen=True, slots=True)
class MarketState:
    """Everything of one pool as of one block. A mirror owns the mappings and replaces their values."""

    pool: PoolState
    symbols: Mapping[str, Symbol]
    """By symbol id."""
    oracles: Mapping[str, OracleState]
    """By oracle id; a missing one makes the accounts that need it not assessable."""
    accounts: Mapping[int, AccountState]
    """By pTokenId; a pToken that does not exist is absent."""
    vault_markets: Mapping[str, VaultMarket]
    """By vToken address; empty in the Lite pool."""
    privileger: PrivilegerState | None
    """None when the pool has none: then anyone may liquidate."""
    block_number: int | None = None
    """``block.number`` at the head, where contracts don't count the chain's own blocks (Arbitrum: the parent's)."""
