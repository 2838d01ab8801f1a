"""`keeper doctor`: each planted fault is found, named, and said with what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from typer.testing import CliRunner

from keeper.chain.data_fee import ArbitrumDataFee, OpStackDataFee
from keeper.chain.eth_accounts import Account
from keeper.cli import app
from keeper.cli.template import NETWORKS
from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalMarket, LocalVault, write_config, write_keystore
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import three_futures
from keeper.devnet.meridian import Cohort, MeridianWorld, deploy_meridian
from keeper.devnet.oracle_server import Behaviour, Control, symbol_id
from keeper.devnet.transactions import Transaction, send
from keeper.settings import Mode, load
from tests.conftest import StartAnvil

STAKE_DERI = 60_000 * 10**18
WORLD = three_futures(8)
NOWHERE = "0x000000000000000000000000000000000000dEaD"
DEAD_PORT = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Patient:
    """A configuration that can be made worse, and the examination of it."""

    config: Path
    deri: DeriDevnet

    async def examined(self, text: str | None = None) -> tuple[int, dict[str, str]]:
        """The exit code, and every fault: what was looked at to what came and what to do."""
        path = self.config.with_name("examined.toml")
        path.write_text(self.config.read_text() if text is None else text)
        result = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--config", str(path), "--json"])
        assert isinstance(result.exception, SystemExit | None), result.exception
        found = json.loads(result.stdout)
        assert all(finding["remedy"] for finding in found if finding["level"] != "ok")
        return result.exit_code, {
            finding["subject"]: f"{finding['came']} -> {finding['remedy']}"
            for finding in found
            if finding["level"] == "fault"
        }

    async def suffers(self, *words: str, text: str | None = None, others: int = 0) -> None:
        """One fault holds all these words; so many others may follow from it. The exit code is 1."""
        code, faults = await self.examined(text)
        said = [f"{subject}: {came}" for subject, came in faults.items()]
        matching = [line for line in said if all(word in line for word in words)]
        assert code == 1
        assert matching, (words, said)
        assert len(said) <= len(matching) + others, said

    def but(self, old: str, new: str) -> str:
        """The configuration with one text changed."""
        text = self.config.read_text()
        assert old in text, old
        return text.replace(old, new)


@asynccontextmanager
async def patient(folder: Path) -> AsyncIterator[Patient]:
    """A keeper that has nothing, on a market that moves a block a second."""
    async with run_anvil(AnvilOptions(block_time=1)) as node, deri_market(node, WORLD) as deri:
        assert deri.privileger is not None
        await deri.confirm(await deri.stake(deri.liquidator, STAKE_DERI))
        local = LocalMarket("lite", deri.pool.address, deri.oracle.url)
        made = Patient(write_config(folder, node.http_url, [local], deri.liquidator_key), deri)
        async with asyncio.timeout(20):
            while (await made.examined())[1]:  # noqa: ASYNC110 - until the lock of the stake is over
                await asyncio.sleep(0.5)
        yield made


async def test_each_fault_of_the_configuration_is_named(tmp_path: Path) -> None:
    async with patient(tmp_path) as it:
        assert await it.examined() == (0, {})
        node, deri = it.deri.node, it.deri
        await it.suffers("chain 56", "serves chain 31337", "chain id", text=it.but("31337", "56"), others=2)
        dead = it.but("endpoints = [", f'endpoints = ["{DEAD_PORT}", ')
        await it.suffers("endpoint http://127.0.0.1:9", "check the endpoint", text=dead)
        await it.suffers(NOWHERE, "there is no contract", text=it.but(deri.pool.address, NOWHERE))
        swapped = it.but(deri.pool.address, deri.symbol_manager.address)
        await it.suffers("market lite wiring", "check that the address", text=swapped)
        await it.suffers("price server", "no connection", text=it.but(deri.oracle.url, DEAD_PORT))
        servers = f'price_servers = ["{deri.oracle.url}"]'
        await it.suffers("none is configured", "set price_servers", text=it.but(servers, ""))
        await it.suffers("max_fee_gwei", "nothing is sent", text=it.but("max_fee_gwei = 100", "max_fee_gwei = 0.001"))
        feed = it.but("native_price_b0 = 300", f'native_price_b0 = 300\nnative_price_feed = "{deri.pool.address}"')
        await it.suffers("native coin", "check native_price_feed", text=feed)
        poor = it.but("budget_per_hour = 10", "budget_per_hour = 0.0000001")
        await it.suffers("budget_per_hour does not pay", "raise gas.budget_per_hour", text=poor)
        rollup = it.but("tip_gwei = 1\n", 'tip_gwei = 1\ndata_fee = "arbitrum"\n')
        await it.suffers("no arbitrum chain", "gas.data_fee", text=rollup)
        stranger = Account.create().address
        others = it.but(deri.liquidator, stranger)
        await it.suffers(f"signer {stranger}", "the key of", text=others, others=2)
        (tmp_path / "password").chmod(0o644)
        await it.suffers("signer", "chmod 600")
        (tmp_path / "password").chmod(0o600)
        (tmp_path / "password").write_text("something else\n")
        await it.suffers("signer", "the password does not open it")
        (tmp_path / "file").touch()
        await it.suffers("store", "can't be written", text=it.but("keeper.sqlite", "file/keeper.sqlite"), others=1)
        assert str(node.http_url) in it.config.read_text()


async def test_each_fault_of_the_chain_is_named(tmp_path: Path, start_anvil: StartAnvil) -> None:
    async with patient(tmp_path) as it:
        node, deri = it.deri.node, it.deri
        late = await start_anvil(AnvilOptions())
        lagging = it.but("endpoints = [", f'endpoints = ["{late.http_url}", ')
        await it.suffers(late.http_url, "blocks behind", "synchronisation", text=lagging)
        for trouble, words in (
            (Behaviour(wrong_signer=True), "not signed by"),
            (Behaviour(age_seconds=700), "s older than the chain's"),
            (Behaviour(missing=("ETHUSD",)), "ETHUSD: left out"),
            (Behaviour(garbage=True), "it is not JSON"),
        ):
            deri.oracle.control(Control(behaviour=trouble))
            await it.suffers("price server", words, "look at the server")
        deri.oracle.control(Control(behaviour=Behaviour()))
        funds_wei = await node.balance_wei(deri.liquidator)
        await node.set_balance(deri.liquidator, 10**12)
        await it.suffers("balance", "not enough for one liquidation", "send it coins")
        await node.set_balance(deri.liquidator, funds_wei)
        await deri.confirm(await deri.withdraw_stake(deri.liquidator, STAKE_DERI))
        await it.suffers("right of", "withdrawn", "deposit")
        await deri.confirm(await deri.stake(deri.liquidator, STAKE_DERI))
        await it.suffers("right of", "locked", "wait")
        removal = deri.oracle_manager.encode("delOracle", symbol_id("ETHUSD"))
        await deri.confirm(*await send(node, [Transaction(deri.admin, deri.oracle_manager.address, removal)]))
        await it.suffers("symbol ETHUSD", "there is no oracle", others=1)
        await node.rpc("evm_increaseTime", hex(3600))
        await node.mine()
        await it.suffers("clock", "in our future", "synchronise", others=9)


async def test_what_init_writes_is_accepted_on_every_network(anvil: Anvil, tmp_path: Path) -> None:
    vault = await deploy_meridian(
        anvil, MeridianWorld((Cohort("BTC", is_long=True, count=1, distance=Decimal("0.05")),))
    )
    for contract in (OpStackDataFee.ORACLE, ArbitrumDataFee.GAS_INFO):
        await anvil.rpc("anvil_setCode", contract, "0x00")
    async with deri_market(anvil, WORLD) as deri:
        await deri.confirm(await deri.stake(deri.liquidator, STAKE_DERI))
        await anvil.rpc("evm_increaseTime", hex(WORLD.lock_seconds + 1))
        await anvil.mine()
        where = {
            "deri-v3": (f"--pool={deri.pool.address}", f"--price-server={deri.oracle.url}"),
            "meridian": (f"--pool={vault.vault.address}", f"--position-manager={vault.position_manager}"),
        }
        keys = {"deri-v3": deri.liquidator_key, "meridian": vault.liquidator_key}
        for name, network in NETWORKS.items():
            await anvil.rpc("anvil_setChainId", network.chain_id)
            keystore, password = write_keystore(tmp_path, keys[network.protocol])
            config = tmp_path / f"{name}.toml"
            told = (f"--endpoint={anvil.ws_url}", f"--keystore={keystore}", f"--password-file={password}")
            command = ["init", f"--output={config}", f"--network={name}", *where[network.protocol], *told]
            written = CliRunner().invoke(app, command)
            assert written.exit_code == 0, written.output
            for mode in (load(config).mode, Mode.LIVE):
                doctor = CliRunner(env={"KEEPER_HTTP__PORT": "0", "KEEPER_MODE": mode}).invoke
                result = await asyncio.to_thread(doctor, app, ["doctor", "--config", str(config)])
                assert result.stdout.endswith(" fine, 0 warnings, 0 faults\n"), result.stdout


async def test_the_faults_of_a_vault_are_named(anvil: Anvil, tmp_path: Path) -> None:
    world = MeridianWorld((Cohort("BTC", is_long=True, count=2, distance=Decimal("0.05")),))
    devnet = await deploy_meridian(anvil, world)
    other = await deploy_meridian(anvil, world)
    key = devnet.liquidator_key

    async def faults(manager: str | None) -> str:
        vault = LocalVault("vault", devnet.vault.address, manager, devnet.start_block)
        config = write_config(tmp_path, anvil.http_url, [vault], key)
        result = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--config", str(config)])
        lines = result.stdout.replace("\n        → ", " -> ").splitlines()
        return "\n".join(line for line in lines if line.startswith("fault") and "market vault" in line)

    assert await faults(devnet.position_manager) == ""
    assert f"{other.manager.address} belongs to {other.vault.address}" in await faults(other.manager.address)
    await devnet.confirm(await devnet.list_liquidator(devnet.liquidator, active=False))
    assert "not-listed" in await faults(devnet.position_manager)
    await devnet.confirm(await devnet.list_liquidator(devnet.liquidator, active=True))
    await devnet.confirm(await devnet.set_price("BTC", 0))
    assert "2 positions are not assessable: VaultPriceFeed: invalid price" in await faults(devnet.position_manager)
