"""What a full Deri pool has and a Lite pool has not: a lending protocol, vaults in it, and a swapper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.builder import Builder
from keeper.devnet.deri_traders import Trader
from keeper.devnet.deri_world import Collateral, Vaults
from keeper.devnet.oracle_server import symbol_id

ZERO_ADDRESS = "0x" + "00" * 20
_LENT_B0 = 10_000_000
"""B0 in the lending protocol that is not the pool's; half of it is lent on, so that interest accrues."""


@dataclass(frozen=True, slots=True)
class Lending:
    """The lending protocol and the swapper. Collaterals are named as in the world, and ``B0``."""

    comptroller: Contract
    prices: Contract
    swapper: Contract
    vault_implementation: Contract
    v_tokens: Mapping[str, Contract]
    tokens: Mapping[str, Contract]
    """The collateral itself; the native coin is not among them."""
    native: str
    """The market of the native coin, or the zero address."""
    terms: Vaults

    def underlying(self, name: str) -> str:
        """How the pool calls a collateral: its token, or the zero address for the native coin."""
        return self.tokens[name].address if name in self.tokens else ZERO_ADDRESS

    def price_calls(self, values_e18: Mapping[str, int]) -> list[tuple[Contract, bytes]]:
        """What tells the lending protocol and the swapper that the oracles of collaterals have moved."""
        calls = []
        for collateral in self.terms.collaterals:
            if collateral.oracle in values_e18:
                moved = replace(collateral, price_e18=values_e18[collateral.oracle])
                v_token = self.v_tokens[collateral.name].address
                pair = (swap_price(moved, self.terms), moved.swap_fee_bps, symbol_id(moved.oracle))
                calls.append((self.prices, self.prices.encode("setPrice", v_token, lending_price(moved))))
                calls.append((self.swapper, self.swapper.encode("setPair", self.underlying(moved.name), *pair)))
        return calls

    def parts(self) -> tuple[str, str, str, str, int, int]:
        """``PoolImplementation.VaultParts``."""
        return (
            self.vault_implementation.address,
            self.v_tokens["B0"].address,
            self.native,
            self.swapper.address,
            self.terms.reserve_ratio_b0_e18,
            self.terms.min_ratio_b0_e18,
        )


def lay_out_lending(
    builder: Builder, terms: Vaults, token_b0: Contract, oracle_manager: Contract, pool: Contract
) -> Lending:
    """Collect the deployment of the lending protocol, the vaults' code and the swapper."""
    comptroller = builder.deploy("Comptroller")
    prices = builder.deploy("LendingPrices", source="Comptroller.sol")
    builder.call(comptroller, "setPriceOracle", prices.address)
    swapper = builder.deploy("Swapper", token_b0.address, oracle_manager.address, terms.max_slippage_e18)

    tokens, v_tokens = {"B0": token_b0}, {}
    native = ZERO_ADDRESS
    for collateral in terms.all_collaterals():
        name = collateral.name
        if not collateral.native and name not in tokens:
            tokens[name] = builder.deploy("DevToken", name, name, collateral.decimals)
        underlying = ZERO_ADDRESS if collateral.native else tokens[name].address
        rate = terms.borrow_rate_per_second_e18 if name == "B0" else 0
        v_tokens[name] = builder.deploy("VToken", comptroller.address, underlying, rate)
        builder.call(comptroller, "setMarket", v_tokens[name].address, collateral.collateral_factor_e18)
        builder.call(prices, "setPrice", v_tokens[name].address, lending_price(collateral))
        if name != "B0":
            pair = (swap_price(collateral, terms), collateral.swap_fee_bps, symbol_id(collateral.oracle))
            builder.call(swapper, "setPair", underlying, *pair)
        if collateral.native:
            native = v_tokens[name].address
    vault_implementation = builder.deploy(
        "VaultImplementation", pool.address, comptroller.address, native, terms.liquidity_multiplier_e18
    )
    return Lending(comptroller, prices, swapper, vault_implementation, v_tokens, tokens, native, terms)


def lending_price(collateral: Collateral) -> int:
    """As the lending protocol counts: 18-decimal money for one raw unit, times 1e18."""
    unit: int = 10 ** (18 - collateral.decimals)
    return collateral.price_e18 * unit


def swap_price(collateral: Collateral, terms: Vaults) -> int:
    """As the swapper counts: raw B0 for one raw unit, times 1e18."""
    price: int = collateral.price_e18 * 10**terms.decimals_b0 // 10**collateral.decimals
    return price


def lend(builder: Builder, lending: Lending) -> None:
    """Have the admin lend B0 and borrow half of it, so that the exchange rate moves."""
    token_b0, v_token = lending.tokens["B0"], lending.v_tokens["B0"]
    amount = _LENT_B0 * 10**lending.terms.decimals_b0
    builder.call(token_b0, "mint", builder.admin, amount)
    builder.call(token_b0, "approve", v_token.address, amount)
    builder.call(v_token, "mint(uint256)", amount)
    builder.call(lending.comptroller, "enterMarkets", [v_token.address])
    builder.call(v_token, "borrow", amount // 2)


def vault_deposits(lending: Lending, traders: Sequence[Trader]) -> list[tuple[str, list[int], list[int]]]:
    """The vaults' contents by collateral: its name, the accounts, and an amount for each."""
    deposits = []
    for name in lending.v_tokens:
        chosen = [trader for trader in traders if trader.collateral == name]
        deposits.append((name, [t.p_token_id for t in chosen], [t.collateral_amount for t in chosen]))
    return deposits


def seed_vaults_call(lending: Lending, name: str, ids: Sequence[int], amounts: Sequence[int]) -> tuple[bytes, int]:
    """Call data of ``seedVaults`` for one collateral, and how much of the native coin goes with it."""
    underlying = lending.underlying(name)
    data = load_artifact("SeedablePool", "PoolSeeding.sol").encode("seedVaults", ids, underlying, amounts)
    return data, sum(amounts) if underlying == ZERO_ADDRESS else 0
