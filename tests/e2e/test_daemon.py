"""The daemon as a process against a local market: what it does, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from keeper.chain.eth_accounts import Account
from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import PASSWORD, Event, LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import moved, three_futures
from keeper.devnet.oracle_server import Behaviour, Control
from scripts.demos.stage import Ledger, read_ledger

WORLD = three_futures(30)
STAKE_DERI = 60_000 * 10**18


@dataclass(frozen=True, slots=True)
class Place:
    """A market on a chain of its own, and a keeper's configuration for it."""

    node: Anvil
    market: DeriDevnet
    config: Path

    def ledger(self) -> Ledger:
        return read_ledger(self.config.with_name("keeper.sqlite"))

    async def until(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        """Look at every block whether something holds."""
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(holds):
                await self.blocks(1)

    async def blocks(self, count: int) -> None:
        """Let the chain go on."""
        target = await self.node.block_number() + count
        async with asyncio.timeout(10 + 2 * count):
            while (number := await self.node.block_number()) < target:  # noqa: ASYNC110 - another process's blocks
                await asyncio.sleep(0.05 * (target - number))

    async def all_gone(self, wanted: set[int]) -> Ledger:
        """Wait until the journal shows all these accounts liquidated."""
        await self.until(lambda: wanted <= {int(name.rpartition(":")[2]) for name in self.ledger().blocks})
        return self.ledger()

    async def qualify(self) -> None:
        """Stake for the liquidator and let the lock pass."""
        await self.market.confirm(await self.market.stake(self.market.liquidator, STAKE_DERI))

    async def earned_b0(self) -> int:
        token = self.market.token_b0
        data = await self.node.call(token.address, token.encode("balanceOf", self.market.liquidator))
        return int.from_bytes(data)


@asynccontextmanager
async def place(folder: Path, mode: str = "live") -> AsyncIterator[Place]:
    async with run_anvil(AnvilOptions(block_time=1)) as node, deri_market(node, WORLD) as market:
        local = LocalMarket("lite", market.pool.address, market.oracle.url)
        config = write_config(folder, node.http_url, [local], market.liquidator_key, extra=f'mode = "{mode}"')
        yield Place(node, market, config)


def event(name: str, **fields: object) -> Callable[[Event], bool]:
    return lambda seen: seen.get("event") == name and all(seen.get(key) == value for key, value in fields.items())


async def refused(place: Place, **env: str) -> str:
    """What a daemon says that is expected not to start."""
    async with run_daemon(place.config, env=env) as daemon:
        async with asyncio.timeout(30):
            code = await daemon.process.wait()
        await daemon.stop()
        assert code == 1, daemon.tail()
        return "\n".join(daemon.other_output)


async def test_it_liquidates_what_a_price_move_makes_liquidatable_and_the_chain_agrees(tmp_path: Path) -> None:
    async with place(tmp_path) as here, run_daemon(here.config) as daemon:
        await here.qualify()
        await daemon.wait_for(event("eligibility", allowed=True))
        before_wei = await here.node.balance_wei(here.market.liquidator)
        here.market.oracle.move(moved(WORLD.symbols, "-0.09"))
        weak = await here.market.liquidatable()
        assert weak
        await here.all_gone(weak)
        began = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - began < 5
        ledger = here.ledger()
        assert ledger.reverted == 0
        assert ledger.sent == ledger.mined == len(ledger.blocks)
        assert await here.earned_b0() == ledger.rewards_b0 > 0
        assert before_wei - await here.node.balance_wei(here.market.liquidator) == ledger.fees_wei
        for account in await here.market.accounts(sorted(weak)):
            assert account.amount_b0 == 0
            assert account.active_symbols == ()
        assert not [seen for seen in daemon.events if str(seen.get("event")).endswith("-changed")], daemon.tail()
        said = daemon.tail(10**6)
        assert PASSWORD not in said
        assert here.market.liquidator_key.hex() not in said


async def test_unqualified_it_sends_nothing_and_says_why_in_log_and_journal(tmp_path: Path) -> None:
    async with place(tmp_path) as here, run_daemon(here.config) as daemon:
        told = await daemon.wait_for(event("eligibility", allowed=False))
        assert told["reason"] == "never-staked"
        here.market.oracle.move(moved(WORLD.symbols, "-0.09"))
        weak = await here.market.liquidatable()
        await daemon.wait_for(event("left", reason="not eligible: never-staked"))
        await here.until(lambda: len(here.ledger().skips) >= len(weak))
        assert {reason for _, reason in here.ledger().skips} == {"not eligible: never-staked"}
        assert here.ledger().sent == 0
        assert int(str(await here.node.rpc("eth_getTransactionCount", here.market.liquidator, "pending")), 16) == 0


async def test_observing_it_decides_and_cannot_send(tmp_path: Path) -> None:
    async with place(tmp_path, mode="observe") as here, run_daemon(here.config) as daemon:
        (tmp_path / "keystore.json").unlink()
        await here.qualify()
        await daemon.wait_for(event("eligibility", allowed=True))
        nonce = await here.node.rpc("eth_getTransactionCount", here.market.liquidator, "latest")
        here.market.oracle.move(moved(WORLD.symbols, "-0.09"))
        await daemon.wait_for(event("would liquidate"))
        assert await here.node.rpc("eth_getTransactionCount", here.market.liquidator, "pending") == nonce


async def test_a_price_server_in_trouble_costs_nothing_and_is_told_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here, run_daemon(here.config) as daemon:
        await here.qualify()
        await daemon.wait_for(event("eligibility", allowed=True))
        for trouble in (Behaviour(garbage=True), Behaviour(wrong_signer=True), Behaviour(http_status=500)):
            since = len(daemon.events)
            here.market.oracle.control(Control(behaviour=trouble))
            here.market.oracle.move(moved(WORLD.symbols, "-0.09"))
            warned = await daemon.wait_for(lambda seen: seen.get("level") == "warning", since=since)
            await here.blocks(2)
            same = [seen for seen in daemon.events[since:] if seen.get("event") == warned["event"]]
            assert len(same) == 1, same
            assert here.ledger().sent == 0
            here.market.oracle.move(moved(WORLD.symbols, "0"))
            since = len(daemon.events)
            here.market.oracle.control(Control(behaviour=Behaviour()))
            await daemon.wait_for(lambda seen: seen.get("level") == "info", since=since)
        here.market.oracle.move(moved(WORLD.symbols, "-0.09"))
        weak = await here.market.liquidatable()
        assert (await here.all_gone(weak)).reverted == 0


async def test_what_is_wrong_with_the_configuration_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        wrong_chain = await refused(here, KEEPER_CHAINS__LOCAL__CHAIN_ID="56")
        assert "expected chain 56" in wrong_chain
        assert "it serves chain 31337" in wrong_chain
        nowhere = "0x000000000000000000000000000000000000dEaD"
        no_code = await refused(here, KEEPER_MARKETS__LITE__POOL=nowhere)
        assert nowhere in no_code
        good = here.config.read_text()
        stranger = Account.create().address
        here.config.write_text(good.replace(here.market.liquidator, stranger))
        assert f"the key of {stranger}" in await refused(here)
        here.config.write_text(good.replace("poll_seconds", "poll_secs"))
        assert "poll_secs" in await refused(here)
        here.config.write_text(good)
        (tmp_path / "password").write_text("something else\n")
        wrong_password = await refused(here)
        assert "the password does not open it" in wrong_password
        assert "something else" not in wrong_password
        (tmp_path / "password").chmod(0o644)
        assert "chmod 600" in await refused(here)
