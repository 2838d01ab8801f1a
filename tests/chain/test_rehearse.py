"""`keeper rehearse`: whoever is near is liquidated on a fork; what is broken is found there, and named."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from keeper.chain.fork import Executed, Fork
from keeper.cli import app
from keeper.devnet.anvil import Anvil, anvil_binary
from keeper.devnet.daemon import LocalMarket, LocalVault, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import DeriWorld, all_kinds, full_pool, three_futures
from keeper.devnet.meridian import Cohort, MeridianWorld, deploy_meridian
from keeper.devnet.oracle_server import symbol_id
from keeper.devnet.transactions import Transaction, send
from keeper.errors import KeeperError
from keeper.protocols.deri import gas as deri_gas
from keeper.protocols.deri.state import Flavour
from keeper.protocols.meridian import round as meridian_round
from keeper.protocols.meridian.state import Route

STAKE_DERI = 60_000 * 10**18
NEAR = 5


def configured(folder: Path, node: Anvil, market: LocalMarket | LocalVault, key: bytes) -> Path:
    config = write_config(folder, node.http_url, [market], key)
    (folder / "keystore.json").unlink()
    return config


async def rehearsed(config: Path, *words: str) -> tuple[int, list[Any]]:
    """The exit code, and every act."""
    arguments = ["rehearse", "--config", str(config), "--json", "--top", str(NEAR), *words]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, json.loads(result.stdout)


async def passes(config: Path, *words: str) -> list[Any]:
    code, acts = await rehearsed(config, *words)
    assert code == 0, acts
    assert acts
    for act in acts:
        assert act["result"] == "passed", act
        assert int(act["reward_raw"]) >= int(act["promised_raw"]) > 0
        assert 0 < act["gas_used"] < act["gas_limit"]
    return acts


async def fails(config: Path, *words: str) -> None:
    """Some act fails, and every failure is explained by these words."""
    code, acts = await rehearsed(config)
    failed = [act for act in acts if act["result"] == "failed"]
    assert code == 1, acts
    assert failed
    for act in failed:
        assert all(word in act["reason"] for word in words), (words, act)


async def qualify(deri: DeriDevnet) -> None:
    await deri.confirm(await deri.stake(deri.liquidator, STAKE_DERI))
    await deri.node.set_next_block_timestamp(await deri.node.block_timestamp() + deri.world.lock_seconds)
    await deri.node.mine()


def local(deri: DeriDevnet) -> LocalMarket:
    return LocalMarket("lite", deri.pool.address, deri.oracle.url)


FROM_FEEDS = frozenset({"BTCUSD", "ETHUSD", "BNBUSD"})


@pytest.mark.parametrize(
    "world",
    [
        all_kinds(18),
        full_pool(12),
        replace(three_futures(12), chainlink=FROM_FEEDS),
        replace(three_futures(12), woo=FROM_FEEDS),
    ],
    ids=["lite", "full", "chainlink", "woo"],
)
async def test_whoever_is_near_in_a_deri_pool_is_liquidated_on_the_fork(
    anvil: Anvil, tmp_path: Path, world: DeriWorld
) -> None:
    async with deri_market(anvil, world) as deri:
        await qualify(deri)
        number = await anvil.block_number()
        acts = await passes(configured(tmp_path, anvil, local(deri), deri.liquidator_key))
        assert len(acts) == NEAR
        assert await anvil.block_number() == number
        accounts = await deri.accounts([int(act["account"]) for act in acts])
        assert all(account.active_symbols for account in accounts), "somebody was liquidated on the live chain"


async def test_what_is_broken_in_a_deri_market_is_named(
    anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deri_market(anvil, three_futures(12)) as deri:
        config = configured(tmp_path, anvil, local(deri), deri.liquidator_key)
        await fails(config, "may not liquidate", "never-staked")
        await qualify(deri)
        await passes(config)
        # Nobody trades, so the readings on the chain expire; those of the price server don't.
        await anvil.rpc("evm_increaseTime", hex(2 * deri.world.delay_allowance_seconds))
        await anvil.mine()
        await passes(config)
        await deri.confirm(await deri.withdraw_stake(deri.liquidator, STAKE_DERI))
        await fails(config, "may not liquidate", "withdrawn")
        await qualify(deri)
        with monkeypatch.context() as patch:
            patch.setitem(deri_gas._BASE, Flavour.LITE, -100_000)
            await fails(config, "out of gas", "gas limit")
        good = config.read_text()
        config.write_text(good.replace(deri.pool.address, deri.symbol_manager.address))
        await fails(config, deri.symbol_manager.address, "Deri V3 contract")
        config.write_text(good)
        removal = deri.oracle_manager.encode("delOracle", symbol_id("BTCUSD"))
        await deri.confirm(*await send(anvil, [Transaction(deri.admin, deri.oracle_manager.address, removal)]))
        await fails(config, "accounts can't be assessed", f"no oracle for 0x{symbol_id('BTCUSD').hex()}")


@pytest.mark.parametrize("fast", [False, True], ids=["primary", "fast prices"])
async def test_whoever_is_near_in_a_vault_is_liquidated_and_what_is_broken_is_named(
    anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    cohorts = (
        Cohort("BTC", is_long=True, count=2, distance=Decimal("0.05")),
        Cohort("ETH", is_long=False, count=2, distance=Decimal("0.08")),
    )
    devnet = await deploy_meridian(anvil, MeridianWorld(cohorts, fast=fast))
    if fast:
        await devnet.confirm(await devnet.set_fast_prices({"BTC": 60_010, "ETH": 3_001}))
    vault = LocalVault("vault", devnet.vault.address, devnet.position_manager, devnet.start_block)
    config = configured(tmp_path, anvil, vault, devnet.liquidator_key)
    assert len(await passes(config)) == 4
    with monkeypatch.context() as patch:
        patch.setitem(meridian_round.GAS_LIMIT, Route.POSITION_MANAGER, 150_000)
        await fails(config, "out of gas", "gas limit 150,000")
    await devnet.confirm(await devnet.list_liquidator(devnet.liquidator, active=False))
    await fails(config, "may not liquidate", "not-listed")
    await devnet.confirm(await devnet.list_liquidator(devnet.liquidator, active=True))
    config.write_text(config.read_text().replace(devnet.vault.address, devnet.vault_utils.address))
    await fails(config, "vault")


async def test_a_fork_that_dies_in_the_middle_is_a_sentence(
    anvil: Anvil, deri: DeriDevnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await qualify(deri)
    execute = Fork.execute

    async def dying(self: Fork, *arguments: Any, **options: Any) -> list[Executed]:
        os.kill(self.pid, signal.SIGKILL)
        return await execute(self, *arguments, **options)

    monkeypatch.setattr(Fork, "execute", dying)
    config = configured(tmp_path, anvil, local(deri), deri.liquidator_key)
    result = await asyncio.to_thread(CliRunner().invoke, app, ["rehearse", "--config", str(config)])
    assert isinstance(result.exception, KeeperError)
    assert "run it again" in str(result.exception)


async def test_without_anvil_it_says_so(anvil: Anvil, deri: DeriDevnet, tmp_path: Path) -> None:
    config = configured(tmp_path, anvil, local(deri), deri.liquidator_key)
    config.write_text(config.read_text().replace(str(anvil_binary()), "/nonexistent/anvil"))
    result = await asyncio.to_thread(CliRunner().invoke, app, ["rehearse", "--config", str(config)])
    assert "Anvil at /nonexistent/anvil" in str(result.exception)
    assert "fork.anvil" in str(result.exception)
