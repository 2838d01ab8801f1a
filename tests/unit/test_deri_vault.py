"""Vault collateral: what it counts for, and what a liquidation gets out of it."""

from __future__ import annotations

from dataclasses import replace

from keeper.fixed import ONE
from keeper.protocols.deri import vault
from keeper.protocols.deri.settle import UNKNOWN_VAULT_MARKET, Closed, decide, liquidate
from keeper.protocols.deri.state import Flavour, VaultMarket, VaultState
from keeper.protocols.deri.symbols import prepare
from tests.unit.deri_examples import NOW, NUMBER, POOL, account, long, market, oracle

BASE = VaultMarket("vB0", "B0", ONE, ONE, ONE * 8 // 10, is_base=True)
COIN = VaultMarket(
    "vCOIN", "coin", ONE * 2, 300 * ONE, ONE // 2, is_base=False, swap_oracle_id="0xc01", max_slippage_ratio=ONE // 10
)
FULL = replace(POOL, flavour=Flavour.FULL, vault_liquidity_multiplier=ONE * 5 // 4)
MARKETS = {"vB0": BASE, "vCOIN": COIN}
UNITS = vault.units(MARKETS)


def test_liquidity_is_linear_in_the_balances() -> None:
    held = VaultState("", (("vB0", 1_000 * ONE), ("vCOIN", ONE)))
    # 1,000 * 80% + 2 coins * 300 * 50%, and the pool's multiplier on the sum
    assert vault.liquidity(held, UNITS, ONE) == 1_100 * ONE
    assert vault.liquidity(held, UNITS, ONE * 5 // 4) == 1_375 * ONE


def test_every_market_is_truncated_before_the_sum() -> None:
    third = replace(BASE, collateral_factor=ONE // 3)
    held = VaultState("", (("vB0", 1), ("vB0", 1), ("vB0", 1)))
    assert vault.liquidity(held, vault.units({"vB0": third}), ONE) == 0


def test_no_vault_counts_nothing_and_an_opaque_one_counts_what_was_read() -> None:
    assert vault.liquidity(None, UNITS, ONE) == 0
    assert vault.liquidity(VaultState("", (("strange", 1),), liquidity=7), UNITS, ONE) == 7


def test_a_market_that_is_not_known_makes_the_account_not_assessable() -> None:
    held = replace(account(0, long()), vault=VaultState("", (("strange", 1),)))
    prepared = prepare(market(pool=FULL, vault_markets=(BASE,)), NUMBER, NOW)
    decision = decide(prepared, held)
    assert (decision.reason, decision.settled) == (UNKNOWN_VAULT_MARKET, False)


def test_collateral_in_the_vault_keeps_an_account_healthy() -> None:
    prepared = prepare(market(pool=FULL, vault_markets=(BASE,)), NUMBER, NOW)
    # 1,000 B0 count 80% times 125%: exactly the maintenance of one bitcoin
    held = replace(account(0, long()), vault=VaultState("", (("vB0", 1_000 * ONE),)))
    assert decide(prepared, held).reason.endswith("cannot liquidate")
    assert decide(prepared, replace(held, vault=VaultState("", (("vB0", 1_000 * ONE - 1),)))).reason == ""


def test_proceeds_take_the_stored_rate_and_the_swappers_bound() -> None:
    oracles = {"0xc01": oracle("0xc01", "COINUSD", 300 * ONE)}
    held = VaultState("", (("vB0", 50 * ONE), ("vCOIN", ONE)))
    least, expected = (found := vault.proceeds(held, MARKETS, oracles, 18)).at_least, found.expected
    assert expected == (50 * ONE, 600 * ONE)
    assert least[0] == 50 * ONE
    assert 0 <= 540 * ONE - least[1] < 10  # ten percent less, and a few units for the contract's own truncations


def test_proceeds_are_in_the_base_tokens_decimals() -> None:
    oracles = {"0xc01": oracle("0xc01", "COINUSD", 300 * ONE)}
    held = VaultState("", (("vCOIN", ONE),))
    assert vault.proceeds(held, MARKETS, oracles, 6).expected == (600 * 10**6,)


def test_a_market_without_an_oracle_promises_nothing() -> None:
    assert vault.proceeds(VaultState("", (("vCOIN", ONE),)), MARKETS, {}, 18).at_least == (0,)
    assert vault.proceeds(None, MARKETS, {}, 18).at_least == ()


def test_the_reward_never_falls_with_what_comes_out_of_the_vault() -> None:
    state = market(pool=FULL, vault_markets=(BASE, COIN))
    prepared = prepare(state, NUMBER, NOW)
    held = account(100 * ONE, long(ONE // 10))
    rewards = []
    for received in ((), (10 * ONE,), (200 * ONE, 30 * ONE), (10**30,)):
        result = liquidate(prepared, replace(held, amount_b0=0), received)
        assert isinstance(result, Closed)
        rewards.append(result.reward_b0)
    assert rewards == sorted(rewards)
    assert rewards[0] < rewards[-1]
