"""Fault drills: each trouble turns readiness red with its own cause and no other, is told once, and clears itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from eth_utils.crypto import keccak

from keeper.chain.eth_accounts import Account
from keeper.devnet.deri_world import account_key, moved
from tests.e2e.operated import STAKE_DERI, WORLD, Operated, operated

pytestmark = pytest.mark.asyncio(loop_scope="module")

RED_WITHIN_S = 10.0
GAS = "tip_gwei = 1\nmax_fee_gwei = 100\nbudget_per_hour = 0.004\nbudget_per_day = 0.004"
STORE_KIB = 24 * 1024


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A disk of some megabytes. Whoever may not mount one gets an ordinary folder."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={STORE_KIB}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield folder
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keeper(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    folder = tmp_path_factory.mktemp("drills")
    with tiny_disk(folder / "disk") as disk:
        async with operated(folder, gas=GAS, store=disk, market_extra="shadow_accounts = 30") as here:
            await here.qualify()
            await here.blocks(7)  # What was told at the start is quiet for six seconds.
            here.inbox.titles.clear()
            yield here


@contextmanager
def counted(keeper: Operated, name: str) -> Iterator[None]:
    """Exactly one alert of that name arrives meanwhile, and one that says that it is over."""
    before = len(keeper.inbox.titles)
    yield
    titles = keeper.inbox.titles[before:]
    assert titles.count(f"keeper: critical: {name}") == 1, titles
    assert [title for title in titles if title.startswith("keeper: critical")] == [f"keeper: critical: {name}"], titles
    assert f"keeper: over: {name}" in titles, titles


async def red(keeper: Operated, name: str) -> None:
    """It turns red for that cause in time, and that is told."""
    took_s = await keeper.until_red(name)
    sys.stdout.write(f"{name}: red after {took_s:.1f} s\n")
    assert took_s < RED_WITHIN_S
    await keeper.told(f"keeper: critical: {name}")


async def over(keeper: Operated, name: str) -> None:
    """It clears itself, and that is told."""
    await keeper.until_green()
    await keeper.told(f"keeper: over: {name}")


async def test_disqualified(keeper: Operated) -> None:
    rival = keeper.market.stakers[1]
    with counted(keeper, "not-eligible"):
        await keeper.market.confirm(await keeper.market.mint_deri(rival, 100 * STAKE_DERI))
        await keeper.market.confirm(await keeper.market.stake(rival, 100 * STAKE_DERI))
        await red(keeper, "not-eligible")
        await keeper.market.confirm(await keeper.market.withdraw_stake(rival, 100 * STAKE_DERI))
        await over(keeper, "not-eligible")


async def test_head_stalled(keeper: Operated) -> None:
    with counted(keeper, "head-stalled"):
        await keeper.node.set_interval_mining(0)
        await red(keeper, "head-stalled")
        await keeper.node.set_interval_mining(1)
        await over(keeper, "head-stalled")


async def test_endpoint_dead(keeper: Operated) -> None:
    with counted(keeper, "endpoints-down"):
        os.kill(keeper.node.pid, signal.SIGSTOP)
        try:
            await red(keeper, "endpoints-down")
        finally:
            os.kill(keeper.node.pid, signal.SIGCONT)
        await over(keeper, "endpoints-down")


async def test_mismatch(keeper: Operated) -> None:
    """The chain holds something else than the events told: an account's margin is changed behind them."""
    account = keeper.market.cohort("far longs")[0]
    slot = await margin_slot(keeper, account.p_token_id)
    with counted(keeper, "mirror-mismatch"):
        held = await keeper.market.accounts([account.p_token_id])
        await keeper.node.set_storage(keeper.market.pool.address, slot, held[0].amount_b0 + 10**18)
        await red(keeper, "mirror-mismatch")
        await over(keeper, "mirror-mismatch")


async def test_store_full(keeper: Operated) -> None:
    disk = keeper.config.with_name("disk")
    if not disk.is_mount():
        pytest.skip("a tiny disk can be mounted by root only")
    with counted(keeper, "store-unwritable"):
        ballast = disk / "ballast"
        fill(ballast)
        keeper.market.oracle.move(moved(WORLD.symbols, "-0.055"))
        await red(keeper, "store-unwritable")
        ballast.unlink()
        await over(keeper, "store-unwritable")


async def test_budget_spent(keeper: Operated) -> None:
    """What is in flight counts at its ceiling, so many at once exceed the budget until the first are mined."""
    with counted(keeper, "budget-spent"):
        keeper.market.oracle.move(moved(WORLD.symbols, "-0.1"))
        await red(keeper, "budget-spent")
        await over(keeper, "budget-spent")


def fill(ballast: Path) -> None:
    """Leave no room on the disk that holds the file."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


async def margin_slot(keeper: Operated, p_token_id: int) -> int:
    """Where the pool stores an account's ``amountB0``: found by its value in the mapping's neighbourhood."""
    [account] = await keeper.market.accounts([p_token_id])
    pool = keeper.market.pool.address
    for base in range(64):
        start = int.from_bytes(keccak(p_token_id.to_bytes(32, "big") + base.to_bytes(32, "big")))
        for slot in range(start, start + 3):
            value = await keeper.node.rpc("eth_getStorageAt", pool, hex(slot), "latest")
            if int(str(value), 16) == account.amount_b0:
                return slot
    raise AssertionError("the account's margin is in none of the first 64 mappings")


class RemoteSigner:
    """A remote signer that somebody may lock."""

    def __init__(self, key: bytes) -> None:
        self.locked = False
        self._account = Account.from_key(key)

    async def answer(self, request: web.Request) -> web.Response:
        call = await request.json()
        if call["method"] == "eth_accounts":
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": [self._account.address]})
        if self.locked:
            error = {"code": -32000, "message": "the keystore is locked"}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        fields = {name: value for name, value in call["params"][0].items() if name != "from"}
        raw = self._account.sign_transaction(fields).raw_transaction.to_0x_hex()
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": raw})


async def test_signer_locked(tmp_path: Path) -> None:
    signer = RemoteSigner(account_key(WORLD, "liquidator"))
    app = web.Application()
    app.add_routes([web.post("/", signer.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with operated(tmp_path, signer=url) as keeper:
            await keeper.qualify()
            await keeper.blocks(7)
            keeper.inbox.titles.clear()
            with counted(keeper, "signer-locked"):
                signer.locked = True
                keeper.market.oracle.move(moved(WORLD.symbols, "-0.07"))
                await red(keeper, "signer-locked")
                signer.locked = False
                await over(keeper, "signer-locked")
    finally:
        await runner.cleanup()
