"""Two protocols in one daemon: on one chain, and on two chains at once, each with its own lane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

from eth_utils.crypto import keccak

from keeper.chain.eth_accounts import Account
from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import Event, LocalMarket, LocalVault, run_daemon, write_config, write_keystore
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import moved, three_futures
from keeper.devnet.meridian import Cohort, MeridianDevnet, MeridianWorld, deploy_meridian
from scripts.demos.stage import read_ledger

DERI = three_futures(12)
MERIDIAN = MeridianWorld((Cohort("BTC", is_long=True, count=6, distance=Decimal("0.05")),))


def event(name: str, **fields: object) -> Callable[[Event], bool]:
    return lambda seen: seen.get("event") == name and all(seen.get(key) == value for key, value in fields.items())


@asynccontextmanager
async def both(deri_node: Anvil, meridian_node: Anvil) -> AsyncIterator[tuple[DeriDevnet, MeridianDevnet]]:
    """A market of either protocol; the Deri liquidator may liquidate in both."""
    async with deri_market(deri_node, DERI) as deri:
        meridian = await deploy_meridian(meridian_node, MERIDIAN)
        await deri.confirm(await deri.stake(deri.liquidator, 60_000 * 10**18))
        yield deri, meridian


async def crash(deri: DeriDevnet, meridian: MeridianDevnet) -> None:
    await meridian.confirm(await meridian.set_price("BTC", 56_900))
    deri.oracle.move(moved(deri.world.symbols, "-0.12"))


async def everybody_gone(deri: DeriDevnet, meridian: MeridianDevnet, store: Path) -> None:
    """Wait until the chains hold no position that is liquidatable, and the journal has all of Meridian's."""
    wanted = {f"vault:{holder.key}" for holder in meridian.holders}
    async with asyncio.timeout(40):
        while not wanted <= read_ledger(store).blocks.keys() or await deri.liquidatable():  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_both_protocols_on_one_chain(tmp_path: Path) -> None:
    async with run_anvil(AnvilOptions(block_time=1)) as node, both(node, node) as (deri, meridian):
        await meridian.confirm(await meridian.list_liquidator(deri.liquidator, active=True))
        markets: list[LocalMarket | LocalVault] = [
            LocalMarket("pool", deri.pool.address, deri.oracle.url),
            LocalVault("vault", meridian.vault.address, meridian.position_manager, meridian.start_block),
        ]
        config = write_config(tmp_path, node.http_url, markets, deri.liquidator_key)
        async with run_daemon(config) as daemon:
            await daemon.wait_for(event("watching", market="pool"))
            await daemon.wait_for(event("watching", market="vault", accounts=6))
            await crash(deri, meridian)
            await everybody_gone(deri, meridian, config.with_name("keeper.sqlite"))
            assert not [seen for seen in daemon.events if seen.get("event") == "liquidation.reverted"], daemon.tail()
            assert await daemon.stop() == 0
    assert {name.partition(":")[0] for name in read_ledger(config.with_name("keeper.sqlite")).blocks} == {
        "pool",
        "vault",
    }


async def test_both_protocols_on_two_chains_at_once(tmp_path: Path) -> None:
    second = AnvilOptions(block_time=1, chain_id=31338)
    async with (
        run_anvil(AnvilOptions(block_time=1)) as one,
        run_anvil(second) as two,
        both(one, two) as (deri, meridian),
    ):
        key = keccak(text="the second chain's signer")
        liquidator = Account.from_key(key).address
        await two.set_balance(liquidator, 10**20)
        await meridian.confirm(await meridian.list_liquidator(liquidator, active=True))
        pool = LocalMarket("pool", deri.pool.address, deri.oracle.url)
        vault = LocalVault("vault", meridian.vault.address, meridian.position_manager, meridian.start_block)
        config = write_config(tmp_path, one.http_url, [pool], deri.liquidator_key)
        (tmp_path / "second").mkdir()
        keystore, password = write_keystore(tmp_path / "second", key)
        more = [
            "[chains.second]",
            "chain_id = 31338",
            f'endpoints = ["{two.ws_url}", "{two.http_url}"]',
            "[[chains.second.signers]]",
            f'address = "{liquidator}"',
            f'keystore = "{keystore}"',
            f'password_file = "{password}"',
            *vault.lines("second"),
        ]
        config.write_text(config.read_text() + "\n".join(more) + "\n")
        async with run_daemon(config) as daemon:
            await daemon.wait_for(event("watching", market="pool"))
            await daemon.wait_for(event("watching", market="vault", accounts=6))
            await crash(deri, meridian)
            await everybody_gone(deri, meridian, config.with_name("keeper.sqlite"))
            assert not [seen for seen in daemon.events if seen.get("event") == "liquidation.reverted"], daemon.tail()
            assert await daemon.stop() == 0
        # Each lane has its own nonces: those of its own account on its own chain.
        assert await two.quantity("eth_getTransactionCount", liquidator, "latest") == len(meridian.holders)
        assert await one.quantity("eth_getTransactionCount", liquidator, "latest") == 0


async def test_struck_off_in_a_storm_it_stops_and_goes_on_once_listed_again(tmp_path: Path) -> None:
    """More positions than one block takes; the list changes while the first of them are on their way."""
    world = MeridianWorld((Cohort("BTC", is_long=True, count=120, distance=Decimal("0.05")),))
    async with run_anvil(AnvilOptions(block_time=1)) as node:
        meridian = await deploy_meridian(node, world)
        vault = LocalVault("vault", meridian.vault.address, meridian.position_manager, meridian.start_block)
        config = write_config(tmp_path, node.http_url, [vault], meridian.liquidator_key)
        store = config.with_name("keeper.sqlite")
        async with run_daemon(config) as daemon:
            await daemon.wait_for(event("watching", market="vault", accounts=120))
            await meridian.confirm(await meridian.set_price("BTC", 56_900))
            await daemon.wait_for(event("liquidation.sent", market="vault"))
            await meridian.confirm(await meridian.list_liquidator(meridian.liquidator, active=False))
            await daemon.wait_for(event("eligibility", market="vault", allowed=False, reason="not-listed"))
            on_its_way = read_ledger(store).sent
            await node.mine()
            assert read_ledger(store).sent <= on_its_way + 1
            await meridian.confirm(await meridian.list_liquidator(meridian.liquidator, active=True))
            wanted = {f"vault:{holder.key}" for holder in meridian.holders}
            await node.mine(60)  # Whoever reverted meanwhile is left alone for fifty blocks.
            async with asyncio.timeout(40):
                while not wanted <= read_ledger(store).blocks.keys():  # noqa: ASYNC110 - another process's file
                    await asyncio.sleep(0.2)
            assert await daemon.stop() == 0
