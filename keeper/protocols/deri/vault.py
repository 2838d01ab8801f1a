"""Collateral in a Venus vault: what it counts for, and what it yields when a liquidation empties it.

Sources: ``VaultImplementationVenus.getVaultLiquidity``, Venus ``Comptroller.getAccountLiquidity``,
``PoolImplementation.liquidate`` (redemption), ``SwapperImplementation`` (the slippage bound).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keeper.fixed import ONE
from keeper.protocols.deri.state import OracleState, VaultMarket, VaultState


@dataclass(frozen=True, slots=True)
class Proceeds:
    """B0 that a vault yields, in raw units, one figure per redeemed market in order."""

    at_least: tuple[int, ...]
    """Certain unless the call reverts: interest only adds, and the swapper refuses a worse output."""
    expected: tuple[int, ...]
    """At the oracles' prices, without the swap's fee and price impact."""


def unit(market: VaultMarket) -> int:
    """Venus' value of one raw vToken as collateral, times 10**18: it moves once a block, never with a balance."""
    return market.collateral_factor * market.exchange_rate_stored // ONE * market.oracle_price // ONE


def units(markets: Mapping[str, VaultMarket]) -> dict[str, int]:
    return {v_token: unit(market) for v_token, market in markets.items()}


def liquidity(vault: VaultState | None, unit_by_v_token: Mapping[str, int], multiplier: int) -> int | None:
    """``getVaultLiquidity()``, 18 decimals: 0 without a vault, None if a market of the vault is not known.

    A figure that was read as it is (a vault that can't be taken apart) is returned as it is.
    """
    if vault is None:
        return 0
    if vault.liquidity is not None:
        return vault.liquidity
    total = 0
    for v_token, balance in vault.balances:
        worth = unit_by_v_token.get(v_token)
        if worth is None:
            return None
        total += balance * worth // ONE
    return total * multiplier // ONE


def proceeds(
    vault: VaultState | None,
    markets: Mapping[str, VaultMarket],
    oracles: Mapping[str, OracleState],
    decimals_b0: int,
    unsure: Mapping[str, OracleState] | None = None,
) -> Proceeds:
    """What redeeming every market and swapping to B0 yields.

    ``at_least`` takes the stored exchange rate (redeeming accrues interest first, so more comes out) and the swapper's
    bound ``oracle value * (1 - maxSlippageRatio)``, below which the call reverts instead. A market or an oracle that
    isn't known counts for nothing. ``unsure`` are oracles of which the swap may meet either reading: this or that.
    """
    at_least: list[int] = []
    expected: list[int] = []
    for v_token, balance in vault.balances if vault is not None else ():
        market = markets.get(v_token)
        if market is None or balance == 0:
            continue
        redeemed = balance * market.exchange_rate_stored // ONE
        if market.is_base:
            at_least.append(redeemed)
            expected.append(redeemed)
            continue
        oracle = oracles.get(market.swap_oracle_id or "")
        value = oracle.value if oracle is not None else 0
        other = (unsure or {}).get(market.swap_oracle_id or "")
        least = value if other is None else min(value, other.value)
        fair, low = (
            redeemed * each * 10**decimals_b0 // 10**market.underlying_decimals // ONE for each in (value, least)
        )
        # one raw unit off: the contract rounds the price and the bound one after the other
        at_least.append(max(low * (ONE - market.max_slippage_ratio) // ONE - redeemed // ONE - 2, 0))
        expected.append(fair)
    return Proceeds(tuple(at_least), tuple(expected))
