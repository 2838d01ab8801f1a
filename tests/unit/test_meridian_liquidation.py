"""The vault's rules on round figures: a 10,000 dollar long in BTC from 60,000, with 200 dollars of collateral."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.liquidation import Closing, State, effective_test, funding_at, liquidate
from keeper.protocols.meridian.state import Params, Position, Price, Token, Vault, position_key

USD = 10**30
BTC, USDC = "0x" + "b7" * 20, "0x" + "5d" * 20
HOUR = 3600
NOW = 1_750_000_000 // HOUR * HOUR
PARAMS = Params(
    max_leverage=1_000_000,
    liquidation_fee_e30=5 * USD,
    margin_fee_basis_points=10,
    min_profit_time=HOUR,
    funding_interval=HOUR,
    funding_rate_factor=100,
    stable_funding_rate_factor=50,
)
LONG = Position(
    account="0x" + "a1" * 20,
    collateral_token=BTC,
    index_token=BTC,
    is_long=True,
    size_e30=10_000 * USD,
    collateral_e30=200 * USD,
    average_price_e30=60_000 * USD,
    entry_funding_rate=0,
    reserve_amount=16_666_666,
    realised_pnl_e30=0,
    last_increased_time=NOW - 10 * HOUR,
)
SHORT = replace(LONG, collateral_token=USDC, is_long=False, reserve_amount=10_000 * 10**6)


def token(address: str, *, decimals: int, stable: bool) -> Token:
    unit = 10**decimals
    return Token(
        address=address,
        decimals=decimals,
        is_stable=stable,
        min_profit_basis_points=0,
        pool_amount=1_000_000 * unit,
        reserved_amount=100_000 * unit,
        fee_reserve=0,
        guaranteed_e30=10**36,
        global_short_size_e30=50_000 * USD,
        funding_rate=0,
        last_funding_time=NOW,
        balance=1_100_000 * unit,
    )


VAULT = Vault(PARAMS, {BTC: token(BTC, decimals=8, stable=False), USDC: token(USDC, decimals=6, stable=True)})
ONE = {USDC: Price(USD, USD)}


def at(btc: int) -> dict[str, Price]:
    return ONE | {BTC: Price(btc * USD, btc * USD)}


def state(position: Position, btc: int, *, margin_fee: int = 10, now: int = NOW, vault: Vault = VAULT) -> State:
    return effective_test(vault, position, btc * USD, now, margin_fee).state


def close(position: Position, btc: int, vault: Vault = VAULT, now: int = NOW) -> Closing:
    return liquidate(vault, position, at(btc), now, 10)


def test_a_position_is_safe_while_more_than_one_percent_of_its_size_remains() -> None:
    assert state(LONG, 59_400) is State.SAFE  # 100 left: exactly one percent
    assert state(LONG, 59_399) is State.CLOSE


def test_fees_count_against_the_collateral_but_not_against_the_leverage() -> None:
    assert state(LONG, 59_400, margin_fee=90) is State.SAFE  # 100 left, 90 + 5 of fees
    assert state(LONG, 59_400, margin_fee=96) is State.LIQUIDATE


def test_state_1_begins_where_margin_and_liquidation_fee_are_no_longer_covered() -> None:
    assert state(LONG, 58_890) is State.CLOSE  # 15 left
    assert state(LONG, 58_889) is State.LIQUIDATE


def test_the_margin_fee_inside_the_call_decides_not_the_stored_one() -> None:
    assert state(LONG, 60_000, margin_fee=500) is State.LIQUIDATE
    assert state(LONG, 60_000, margin_fee=10) is State.SAFE


def test_a_reported_fee_is_capped_where_the_rest_cannot_pay_it_but_not_where_nothing_remains() -> None:
    assert effective_test(VAULT, LONG, 58_803 * USD, NOW, 10).fees_e30 == 500 * 10**27  # half a dollar left
    assert effective_test(VAULT, LONG, 58_000 * USD, NOW, 10).fees_e30 == 10 * USD


def test_funding_is_updated_before_the_test() -> None:
    later = NOW + 900 * HOUR  # 100 * 0.1 * 900 = 9000 millionths of 10,000: 90 dollars
    assert funding_at(VAULT.token(BTC), PARAMS, later) == (9000, later)
    assert state(LONG, 59_500, now=later) is State.SAFE
    assert state(replace(LONG, collateral_e30=100 * USD), 60_000, now=later) is State.LIQUIDATE


def test_the_first_funding_update_sets_the_clock_and_leaves_the_rate() -> None:
    fresh = replace(VAULT.token(BTC), last_funding_time=0)
    assert funding_at(fresh, PARAMS, NOW + 5000) == (0, NOW + HOUR)


def test_an_empty_pool_costs_no_funding() -> None:
    empty = replace(VAULT.token(BTC), pool_amount=0)
    assert funding_at(empty, PARAMS, NOW + 5 * HOUR) == (0, NOW + 5 * HOUR)


def test_a_small_profit_soon_after_an_increase_counts_as_nothing() -> None:
    vault = VAULT.with_token(replace(VAULT.token(BTC), min_profit_basis_points=75))
    poor = replace(LONG, collateral_e30=50 * USD, last_increased_time=NOW)
    assert state(poor, 60_449, vault=vault) is State.CLOSE  # 74.8 of profit, zeroed
    assert state(poor, 60_451, vault=vault) is State.SAFE
    assert state(poor, 60_449, vault=vault, now=NOW + HOUR) is State.CLOSE
    assert state(poor, 60_449, vault=vault, now=NOW + HOUR + 1) is State.SAFE


def test_a_liquidated_long_pays_the_receiver_and_the_fees_out_of_the_pool() -> None:
    closing = close(LONG, 58_800)
    before, after = VAULT.token(BTC), closing.vault.token(BTC)
    paid = 5 * 10**8 // 58_800
    assert (closing.state, closing.fee_received, closing.trader_received) == (State.LIQUIDATE, paid, 0)
    fees = closing.fees_e30 * 10**8 // (58_800 * USD)
    assert after.pool_amount == before.pool_amount - fees - paid
    assert after.fee_reserve == fees
    assert after.reserved_amount == before.reserved_amount - LONG.reserve_amount
    assert after.guaranteed_e30 == before.guaranteed_e30 - 9_800 * USD
    assert after.balance == before.balance - paid


def test_a_liquidated_short_leaves_its_collateral_in_the_pool() -> None:
    closing = close(SHORT, 61_200)
    after = closing.vault.token(USDC)
    assert after.pool_amount == VAULT.token(USDC).pool_amount + 200 * 10**6 - 5 * 10**6
    assert closing.vault.token(BTC).global_short_size_e30 == 40_000 * USD


def test_the_global_short_size_stops_at_zero() -> None:
    vault = VAULT.with_token(replace(VAULT.token(BTC), global_short_size_e30=USD))
    assert close(SHORT, 61_200, vault).vault.token(BTC).global_short_size_e30 == 0


def test_state_2_pays_the_trader_what_remains_less_fees_and_nobody_else() -> None:
    closing = close(LONG, 59_000)
    remaining = 200 * USD - 10_000 * USD * 1000 // 60_000
    assert (closing.state, closing.fee_received) == (State.CLOSE, 0)
    assert closing.trader_received == (remaining - 10 * USD) * 10**8 // (59_000 * USD)


@pytest.mark.parametrize(
    ("vault", "position", "btc", "reason"),
    [
        (VAULT, LONG, 60_000, "Vault: position cannot be liquidated"),
        (VAULT, replace(LONG, size_e30=0), 60_000, "Vault: empty position"),
        (VAULT, replace(LONG, average_price_e30=0), 60_000, "Vault: invalid _averagePrice"),
        (VAULT.with_token(replace(VAULT.token(USDC), balance=10**12)), SHORT, 61_200, "Vault: invalid increase"),
        (VAULT.with_token(replace(VAULT.token(BTC), reserved_amount=1)), LONG, 58_000, "Vault: insufficient reserve"),
        (
            VAULT.with_token(replace(VAULT.token(BTC), reserved_amount=10**14 + 16_666_666)),
            LONG,
            58_000,
            "Vault: reserve exceeds pool",
        ),
        (
            VAULT.with_token(replace(VAULT.token(BTC), pool_amount=1, reserved_amount=16_666_666)),
            LONG,
            58_000,
            "Vault: poolAmount exceeded",
        ),
    ],
)
def test_what_the_contract_refuses_is_named(vault: Vault, position: Position, btc: int, reason: str) -> None:
    with pytest.raises(Revert) as refused:
        close(position, btc, vault)
    assert refused.value.reason == reason


def test_arithmetic_that_does_not_fit_256_bits_reverts() -> None:
    huge = replace(LONG, size_e30=2**255)
    with pytest.raises(Revert, match="overflow"):
        close(huge, 50_000)


def test_a_key_is_the_hash_of_account_tokens_and_side() -> None:
    assert (
        position_key(
            "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
            "0xa513E6E4b8f2a923D98304ec87F64353C4D5C853",
            "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
            False,
        )
        == "0x1d14512285d29e28dc9d953675d6f5c94c1f5310cee5ce2b27394a6ca8679ed6"
    )
