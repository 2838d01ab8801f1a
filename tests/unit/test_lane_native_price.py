"""Where the price of the native coin comes from, and what is refused."""

from __future__ import annotations

import pytest

from keeper.chain.native_price import ChainlinkPrice, FixedPrice, NativePrice, OraclePrice
from keeper.errors import ChainError
from tests.unit.test_lane_data_fee import Contracts

NOW = 1_700_000_000


async def test_a_fixed_price_stays() -> None:
    price = FixedPrice(2_000 * 10**18)
    await price.refresh(Contracts({}), NOW)
    assert price.value_e18 == 2_000 * 10**18


async def test_a_chainlink_price_is_scaled_from_its_own_decimals() -> None:
    price = ChainlinkPrice("0xfeed", 3_600)
    await price.refresh(
        Contracts({"decimals()": [8], "latestRoundData()": [1, 2_000 * 10**8, NOW, NOW - 3_600, 1]}), NOW
    )
    assert price.value_e18 == 2_000 * 10**18


async def test_a_pool_s_own_oracle_is_taken_as_it_is() -> None:
    price = OraclePrice("0x0rac1e")
    await price.refresh(Contracts({"value()": [5 * 10**17]}), NOW)
    assert price.value_e18 == 5 * 10**17


@pytest.mark.parametrize(
    ("source", "answers", "came"),
    [
        (ChainlinkPrice("0xfeed", 60), {}, "does not answer as one"),
        (ChainlinkPrice("0xfeed", 60), {"decimals()": [8], "latestRoundData()": [1, 0, NOW, NOW, 1]}, "not positive"),
        (ChainlinkPrice("0xfeed", 60), {"decimals()": [8], "latestRoundData()": [1, 2**256 - 1, 0, NOW, 1]}, "not pos"),
        (ChainlinkPrice("0xfeed", 60), {"decimals()": [8], "latestRoundData()": [1, 5, 0, NOW - 61, 1]}, "61 s old"),
        (ChainlinkPrice("0xfeed", 60), {"decimals()": [2**255], "latestRoundData()": [1, 5, 0, NOW, 1]}, "decimals"),
        (OraclePrice("0x0rac1e"), {}, "it has none"),
        (OraclePrice("0x0rac1e"), {"value()": [0]}, "it has none"),
    ],
)
async def test_a_price_that_can_t_be_used_is_refused_and_the_last_one_stays(
    source: NativePrice, answers: dict[str, list[int]], came: str
) -> None:
    source.value_e18 = 7
    with pytest.raises(ChainError, match=came):
        await source.refresh(Contracts(answers), NOW)
    assert source.value_e18 == 7
