"""`keeper accounts`: the figures and triggers it shows are the ones that the chain acts on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from keeper.cli import app
from keeper.devnet.anvil import Anvil
from keeper.devnet.daemon import LocalMarket, LocalVault, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import all_kinds
from keeper.devnet.meridian import Cohort, MeridianWorld, deploy_meridian

POSITIONS = (
    Cohort("BTC", is_long=True, count=2, distance=Decimal("0.05")),
    Cohort("ETH", is_long=False, count=2, distance=Decimal("0.08")),
)


async def give(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def shown(config: Path) -> list[Any]:
    result = await give("accounts", "--config", str(config), "--json", "--top", "6")
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout)
    assert isinstance(found, list)
    return found


async def test_a_deri_account_falls_where_its_triggers_say_and_not_before(anvil: Anvil, tmp_path: Path) -> None:
    async with deri_market(anvil, all_kinds(24)) as deri:
        config = write_config(
            tmp_path, anvil.http_url, [LocalMarket("lite", deri.pool.address, deri.oracle.url)], deri.liquidator_key
        )
        [market] = await shown(config)
        assert market["accounts_watched"] == 24
        assert [right["reason"] for right in market["liquidators"]] == ["never-staked"]
        distances = [account["distance_percent"] for account in market["accounts"]]
        assert distances == sorted(distances)
        checked = 0
        for account in market["accounts"]:
            assert int(account["margin_e18"]) > int(account["maintenance_e18"]) > 0
            for trigger in account["triggers"]:
                checked += await check_deri(deri, int(account["account"]), trigger)
        assert checked >= 6
        table = await give("accounts", "--config", str(config), "--top", "3")
        assert table.exit_code == 0, table.exception
        assert "24 accounts" in table.stdout
        assert "may not liquidate (never-staked)" in table.stdout


async def check_deri(deri: DeriDevnet, account: int, trigger: Mapping[str, Any]) -> int:
    """The chain liquidates at the trigger, and not a billionth nearer to the price of now."""
    before = dict(deri.oracle.values_e18)
    now, at = int(trigger["now"]), int(trigger["at"])
    assert now == before[trigger["price"]]
    nearer = at + (now - at) // 10**6
    weak = {}
    for value in (at, nearer):
        deri.oracle.move({trigger["price"]: value})
        weak[value] = await deri.liquidatable([account])
    deri.oracle.move(before)
    assert (weak[at], weak[nearer]) == ({account}, set()), trigger
    return 1


async def test_a_meridian_position_falls_where_its_triggers_say_and_not_before(anvil: Anvil, tmp_path: Path) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(POSITIONS))
    vault = LocalVault("vault", devnet.vault.address, devnet.position_manager, devnet.start_block)
    [market] = await shown(write_config(tmp_path, anvil.http_url, [vault], devnet.liquidator_key))
    assert market["accounts_watched"] == len(market["accounts"]) == 4
    assert [right["allowed"] for right in market["liquidators"]] == [True]
    holders = {holder.key: holder for holder in devnet.holders}
    for account in market["accounts"]:
        holder = holders[account["account"]]
        symbol = POSITIONS[holder.cohort].index
        unpaid, paid = account["triggers"]
        assert abs(unpaid["percent"]) < abs(paid["percent"])
        assert (int(unpaid["reward_e18"]), int(paid["reward_e18"]) > 0) == (0, True)
        # Sources have 8 decimals: the trigger of 30 lies between two of their prices.
        unit = 10**22
        at = int(unpaid["at"])
        beyond, before = (at // unit, at // unit + 1) if holder.is_long else (at // unit + 1, at // unit)
        for price, refused in ((before, True), (beyond, False)):
            await devnet.confirm(await devnet.set_price(symbol, Decimal(price).scaleb(-8)))
            second = await anvil.block_timestamp() + 1
            reason = (await devnet.verdicts([holder], at=second))[holder.key]
            assert (reason is not None) == refused, (account, price, reason)
        await devnet.confirm(await devnet.set_price(symbol, 60_000 if symbol == "BTC" else 3_000))
