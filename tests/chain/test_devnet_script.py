"""``scripts/devnet`` runs a market as a process of its own, until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from keeper.chain.eth_accounts import Account
from keeper.devnet.anvil import Anvil
from keeper.devnet.rpc import connect
from keeper.errors import ChainError
from keeper.settings import DeriSettings, load

SCRIPT = Path(__file__).parents[2] / "scripts" / "devnet"
FREE_PORTS = ("--port", "0", "--price-port", "0")


@asynccontextmanager
async def devnet(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The script as a process that has said that it is ready."""
    process = await asyncio.create_subprocess_exec(SCRIPT, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said: list[str] = []
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            async for line in process.stdout:
                said.append(line.decode())
                if line.startswith(b"ready"):
                    break
        assert said, "it said nothing"
        assert said[-1].startswith("ready"), "".join(said)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 10)


async def test_it_serves_a_market_and_configures_a_keeper(tmp_path: Path) -> None:
    arguments: Sequence[str] = (
        "deri",
        "--traders",
        "9",
        "--block-time",
        "0",
        *FREE_PORTS,
        "--state-dir",
        str(tmp_path),
    )
    async with devnet(*arguments) as process, aiohttp.ClientSession() as http:
        facts = json.loads((tmp_path / "devnet.json").read_text())
        assert len(facts["traders"]) == 9

        settings = load(tmp_path / "keeper.toml")
        market = settings.markets["deri"]
        [signer] = settings.chains["local"].signers
        assert isinstance(market, DeriSettings)
        assert (market.pool, market.price_servers) == (facts["addresses"]["pool"], (facts["price_server"],))
        assert signer.keystore is not None
        assert signer.password_file is not None
        assert signer.password_file.stat().st_mode & 0o077 == 0
        key = Account.decrypt(signer.keystore.read_text(), signer.password_file.read_text().strip())
        assert Account.from_key(key).address == signer.address == facts["liquidator"]

        async with connect(facts["rpc"]) as node:
            assert await node.rpc("eth_getCode", market.pool, "latest") != "0x"
        async with http.get(facts["price_server"] + "/get_symbol_data", params={"symbol": "BTCUSD"}) as response:
            assert (await response.json())["data"]["value"] == 30_000 * 10**18

        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    with pytest.raises(ChainError, match="an Anvil that answers"):
        async with connect(facts["rpc"]) as node:
            await node.chain_id()


async def test_it_uses_a_node_that_runs_already(tmp_path: Path, anvil: Anvil) -> None:
    arguments = ("deri", "--traders", "3", "--rpc", anvil.http_url, "--price-port", "0", "--state-dir", str(tmp_path))
    async with devnet(*arguments):
        pool = json.loads((tmp_path / "devnet.json").read_text())["addresses"]["pool"]
        assert await anvil.rpc("eth_getCode", pool, "latest") != "0x"
    assert await anvil.rpc("eth_getCode", pool, "latest") != "0x"


async def test_a_taken_port_is_told_in_a_sentence(tmp_path: Path, anvil: Anvil) -> None:
    port = anvil.http_url.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        *(SCRIPT, "deri", "--rpc", anvil.http_url, "--price-port", port, "--state-dir", str(tmp_path)),
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert said.decode().startswith(f"devnet: expected a free port {port}")
