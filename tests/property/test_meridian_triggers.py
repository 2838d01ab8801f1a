"""A trigger is the last safe price: the exact test agrees at it and one unit to each side."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from keeper.protocols.meridian.liquidation import State, effective_test, funding_at, validate
from keeper.protocols.meridian.state import Params, Position, Token, Vault
from keeper.protocols.meridian.triggers import funding_deadline, trigger_price
from tests.property.meridian_strategies import NOW, TOKENS, params, positions, tokens


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(position=positions(), terms=params, rate=st.integers(5_000, 200_000), min_profit=st.sampled_from([0, 75, 150]))
def test_the_state_flips_exactly_at_the_trigger(position: Position, terms: Params, rate: int, min_profit: int) -> None:
    def safe(price: int) -> bool:
        test = validate(
            position,
            price,
            NOW,
            terms,
            funding_rate=rate,
            margin_fee_basis_points=terms.margin_fee_basis_points,
            min_profit_basis_points=min_profit,
        )
        assert (test.state is State.SAFE) is (test.remaining_e30 >= test.required_e30)
        return test.state is State.SAFE

    trigger = trigger_price(
        position,
        NOW,
        terms,
        funding_rate=rate,
        margin_fee_basis_points=terms.margin_fee_basis_points,
        min_profit_basis_points=min_profit,
    )
    if position.is_long:
        assert safe(trigger)
        assert safe(trigger + 1)
        assert trigger == 0 or not safe(trigger - 1)
    else:
        assert trigger < 0 or safe(trigger)
        assert trigger < 1 or safe(trigger - 1)
        assert not safe(trigger + 1)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(
    data=st.data(),
    position=positions(),
    terms=params,
    factors=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
)
def test_funding_alone_flips_a_position_exactly_at_its_deadline(
    data: st.DataObject, position: Position, terms: Params, factors: tuple[int, int]
) -> None:
    vault = Vault(terms, {address: data.draw(tokens(address)) for address in TOKENS})
    token: Token = vault.token(position.collateral_token)
    assume(token.last_funding_time)
    mark = position.average_price_e30
    fee = terms.margin_fee_basis_points
    deadline = funding_deadline(
        position,
        mark,
        NOW,
        token,
        terms,
        margin_fee_basis_points=fee,
        min_profit_basis_points=vault.token(position.index_token).min_profit_basis_points,
    )

    def liquidatable(at: int) -> bool:
        return effective_test(vault, position, mark, at, fee).state is not State.SAFE

    if deadline is None:
        assert not liquidatable(NOW + 10**12)
    elif deadline > NOW:
        assert liquidatable(deadline)
        assert not liquidatable(deadline - 1)
        assert funding_at(token, terms, deadline)[0] > funding_at(token, terms, deadline - 1)[0]
    else:
        assert liquidatable(NOW)
