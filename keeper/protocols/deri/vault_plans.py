"""How the full pool's vaults are read: what a trader keeps in the lending market, and what that market makes of it."""

from __future__ import annotations

from dataclasses import replace

from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Plan, Wiring
from keeper.protocols.deri.state import ZERO_ADDRESS, VaultMarket, VaultState


def vault(parts: Wiring, address: str) -> Plan[VaultState]:
    """One trader's vault: its balances where it lies in Venus, else ``getVaultLiquidity()`` as it is.

    Where that reverts (a shortfall), so does ``liquidate``: the vault then comes with a market that nobody knows, the
    vault itself, which makes its owner not assessable.
    """
    if parts.comptroller == ZERO_ADDRESS:
        worth = yield from liquidity(address)
        return VaultState(address, () if worth is not None else ((address, 0),), worth)
    results = yield [abi.MARKETS_IN.at(address)]
    v_tokens = abi.MARKETS_IN.answer(results[0], address)
    results = yield [abi.BALANCE_OF.at(v_token, abi.address_word(address)) for v_token in v_tokens]
    return VaultState(
        address,
        tuple(
            (v_token, abi.BALANCE_OF.answer(result, v_token)) for v_token, result in zip(v_tokens, results, strict=True)
        ),
    )


def liquidity(address: str) -> Plan[int | None]:
    """``getVaultLiquidity()`` as it is; None where it reverts."""
    results = yield [abi.VAULT_LIQUIDITY.at(address)]
    return abi.VAULT_LIQUIDITY.optional(results[0])


def vault_market(parts: Wiring, v_token: str) -> Plan[VaultMarket | None]:
    """A Venus market, and how the pool's swapper would turn its underlying into B0. See ``vault_units`` for None."""
    results = yield [
        abi.UNDERLYING.at(v_token),
        abi.MAX_SLIPPAGE_RATIO.at(parts.swapper),
        abi.TOKEN_WETH.at(parts.swapper),
    ]
    underlying = abi.UNDERLYING.optional(results[0])
    if underlying is None or v_token == parts.v_token_eth:
        underlying = ZERO_ADDRESS
    max_slippage = abi.MAX_SLIPPAGE_RATIO.optional(results[1]) or 0
    # The swapper files the native coin's oracle under its wrapped token.
    wrapped = abi.TOKEN_WETH.optional(results[2]) or ZERO_ADDRESS
    swapped = wrapped if underlying == ZERO_ADDRESS else underlying
    results = yield [
        abi.DECIMALS.at(underlying),
        abi.ORACLE_SYMBOL_IDS.at(parts.swapper, abi.address_word(swapped)),
    ]
    is_base = underlying == parts.token_b0
    swap_oracle_id = abi.ORACLE_SYMBOL_IDS.optional(results[1])
    market = VaultMarket(
        v_token=v_token,
        underlying=underlying,
        exchange_rate_stored=0,
        oracle_price=0,
        collateral_factor=0,
        is_base=is_base,
        swap_oracle_id=None if is_base or swap_oracle_id is None or not int(swap_oracle_id, 16) else swap_oracle_id,
        underlying_decimals=18 if underlying == ZERO_ADDRESS else abi.DECIMALS.optional(results[0]) or 18,
        max_slippage_ratio=0 if is_base else max_slippage,
    )
    return (yield from vault_units(parts, market))


def vault_units(parts: Wiring, market: VaultMarket) -> Plan[VaultMarket | None]:
    """The market's rate, price and collateral factor: what changes with every block.

    None where one of them can't be read (Venus refuses a price that is too old): then no vault that has entered the
    market can be valued, by the contract either.
    """
    token = abi.address_word(market.v_token)
    results = yield [
        abi.EXCHANGE_RATE_STORED.at(market.v_token),
        abi.UNDERLYING_PRICE.at(parts.price_oracle, token),
        abi.COMPTROLLER_MARKETS.at(parts.comptroller, token),
    ]
    rate, price = abi.EXCHANGE_RATE_STORED.optional(results[0]), abi.UNDERLYING_PRICE.optional(results[1])
    listed = abi.COMPTROLLER_MARKETS.optional(results[2])
    if rate is None or price is None or listed is None:
        return None
    return replace(market, exchange_rate_stored=rate, oracle_price=price, collateral_factor=listed[1])
