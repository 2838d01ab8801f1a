"""Random Meridian vaults and positions, from dust to whales, for the property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from keeper.protocols.meridian.state import Params, Position, Token

ACCOUNT = "0x" + "11" * 20
TOKENS = tuple("0x" + f"{n:02d}" * 20 for n in range(20, 24))
"""Two volatile tokens, then two stable ones."""
NOW = 1_750_000_000

params = st.builds(
    Params,
    max_leverage=st.sampled_from([1_000_000, 500_000, 110_000, 333_333]),
    liquidation_fee_e30=st.sampled_from([0, 1, 2 * 10**30, 5 * 10**30 + 1]),
    margin_fee_basis_points=st.sampled_from([0, 10, 40, 500]),
    min_profit_time=st.sampled_from([0, 10_800, 86_400]),
    funding_interval=st.sampled_from([3600, 28_800]),
    funding_rate_factor=st.integers(0, 1000),
    stable_funding_rate_factor=st.integers(0, 1000),
)


@st.composite
def positions(draw: st.DrawFn, index_tokens: tuple[str, ...] = TOKENS[:2]) -> Position:
    """A position whose collateral lies anywhere from nothing to its whole size."""
    is_long = draw(st.booleans())
    index = draw(st.sampled_from(index_tokens))
    size = draw(st.one_of(st.integers(10**28, 10**37), st.integers(1, 10**6)))
    share = draw(st.one_of(st.integers(0, 300), st.integers(0, 10_000)))
    return Position(
        account=ACCOUNT,
        collateral_token=index if is_long else draw(st.sampled_from(TOKENS[2:])),
        index_token=index,
        is_long=is_long,
        size_e30=size,
        collateral_e30=size * share // 10_000 + draw(st.integers(0, 3)),
        average_price_e30=draw(st.one_of(st.integers(10**24, 10**35), st.integers(1, 1000))),
        entry_funding_rate=draw(st.integers(0, 5_000)),
        reserve_amount=draw(st.integers(0, 10**18)),
        realised_pnl_e30=0,
        last_increased_time=NOW - draw(st.integers(0, 100_000)),
    )


@st.composite
def tokens(draw: st.DrawFn, address: str) -> Token:
    """One token's running figures; the pool may be empty and the funding never started."""
    pool = draw(st.one_of(st.just(0), st.integers(1, 10**24)))
    return Token(
        address=address,
        decimals=draw(st.sampled_from([6, 8, 18])),
        is_stable=address in TOKENS[2:],
        min_profit_basis_points=draw(st.sampled_from([0, 75, 150])),
        pool_amount=pool,
        reserved_amount=draw(st.integers(0, pool)),
        fee_reserve=0,
        guaranteed_e30=0,
        global_short_size_e30=0,
        funding_rate=5_000 + draw(st.integers(0, 100_000)),
        last_funding_time=draw(st.one_of(st.just(0), st.just((NOW - draw(st.integers(0, 200_000))) // 3600 * 3600))),
        balance=pool,
    )
