"""The daemon and its stake: crossed by others in the very block of a liquidation, and rotating between two signers."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from eth_utils import keccak

from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.daemon import Event, LocalMarket, run_daemon, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import ONE, Cohort, DeriWorld, address_of, moved, three_futures
from keeper.devnet.rpc import as_int
from keeper.devnet.transactions import Transaction, mined_by_hand, send

LONG = 1
WORLD = replace(
    three_futures(0),
    cohorts=(
        Cohort("first", 1, LONG, (0.050, 0.052)),
        Cohort("second", 1, LONG, (0.080, 0.082)),
        Cohort("third", 1, LONG, (0.110, 0.112)),
        Cohort("far", 5, LONG, (0.3, 0.6)),
    ),
)
FIRST, SECOND_TOO, THIRD_TOO = "-0.06", "-0.09", "-0.12"
"""Moves that reach one cohort, two, and three: one more account each."""
SECOND_KEY = keccak(text="the second signer of a rotation")
SECOND = address_of(SECOND_KEY)
HIGH_TIP_WEI = 50 * 10**9
US = ""
"""Stands for the market's liquidator, whose address is known once it is deployed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A market with one-second blocks whose liquidator is exactly the average, and a keeper for it."""

    node: Anvil
    deri: DeriDevnet
    config: Path

    async def nonce(self, address: str, tag: str = "latest") -> int:
        return as_int(await self.node.rpc("eth_getTransactionCount", address, tag))

    async def until(self, holds: Callable[[], object], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.05)

    async def handed_in(self, count: int) -> None:
        """Wait until the keeper has so many transactions waiting to be mined."""
        us = self.deri.liquidator
        async with asyncio.timeout(20):
            while await self.nonce(us, "pending") < await self.nonce(us) + count:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)

    def ended(self) -> list[tuple[str, str, str, int]]:
        """(signer, state, action, fee in wei) of every liquidation that ended, from the journal."""
        with sqlite3.connect(f"file:{self.config.with_name('keeper.sqlite')}?mode=ro", uri=True) as journal:
            rows = journal.execute(
                "SELECT lane, state, action, fee_wei FROM states JOIN intents ON intents.id = intent_id "
                "WHERE state IN ('mined', 'reverted', 'cancelled', 'abandoned') ORDER BY states.id"
            ).fetchall()
        journal.close()
        return [(lane, state, action, int(fee)) for lane, state, action, fee in rows]

    def mined(self) -> list[str]:
        """The signers of the liquidations that were mined, in order."""
        return [lane for lane, state, _, _ in self.ended() if state == "mined"]

    async def pass_lock(self) -> None:
        await self.node.set_next_block_timestamp(await self.node.block_timestamp() + self.deri.world.lock_seconds)
        await self.node.mine()

    def crash(self, change: str) -> None:
        self.deri.oracle.move(moved(self.deri.world.symbols, change))


@asynccontextmanager
async def scene(folder: Path, stakes: dict[str, int], world: DeriWorld = WORLD) -> AsyncIterator[Scene]:
    async with run_anvil(AnvilOptions(block_time=1)) as node, deri_market(node, world) as deri:
        for user, amount_deri in stakes.items():
            await node.set_balance(user or deri.liquidator, 10**20)
            await deri.mint_deri(user or deri.liquidator, amount_deri * ONE)
            await deri.confirm(await deri.stake(user or deri.liquidator, amount_deri * ONE))
        local = LocalMarket("lite", deri.pool.address, deri.oracle.url)
        config = write_config(folder, node.http_url, [local], deri.liquidator_key)
        yield Scene(node, deri, config)


def eligible(address: str, allowed: bool, reason: str) -> Callable[[Event], bool]:
    wanted = {"event": "eligibility", "liquidator": address, "allowed": allowed, "reason": reason}
    return lambda seen: wanted.items() <= seen.items()


async def rival_deposits(here: Scene) -> None:
    """30,000, 20,000 and 10,000 beside our 20,000: any more and we are below."""
    privileger, token, rival = here.deri.privileger, here.deri.token_deri, here.deri.stakers[0]
    assert privileger is not None
    await here.deri.confirm(
        await here.deri.mint_deri(rival, 10_000 * ONE),
        *await send(
            here.node,
            [Transaction(rival, token.address, token.encode("approve", privileger.address, 10_000 * ONE))],
        ),
    )


def crossing(kind: str, here: Scene) -> Transaction:
    """What another staker does to move the average past us, at a tip that puts it first in its block."""
    assert here.deri.privileger is not None
    staker = here.deri.stakers[0 if kind == "deposit" else 2]
    data = here.deri.privileger.encode(kind, 10_000 * ONE)
    return Transaction(
        staker, here.deri.privileger.address, data, max_fee_per_gas_wei=2 * HIGH_TIP_WEI, tip_per_gas_wei=HIGH_TIP_WEI
    )


@pytest.mark.parametrize("kind", ["deposit", "withdraw"])
async def test_crossed_in_the_very_block_what_was_sent_is_accounted_for_and_no_more_is_sent(
    tmp_path: Path, kind: str
) -> None:
    async with scene(tmp_path, {US: 20_000}) as here, run_daemon(here.config) as daemon:
        await rival_deposits(here)
        await here.pass_lock()
        us = here.deri.liquidator
        await daemon.wait_for(eligible(us, True, "qualified"))
        async with mined_by_hand(here.node):
            await send(here.node, [crossing(kind, here)])
            here.crash(FIRST)
            await here.handed_in(1)
            await here.node.mine()
            await daemon.wait_for(eligible(us, False, "below-average"))
            count = await here.nonce(us)
            await here.until(here.ended)
            [(lane, state, action, fee_wei)] = here.ended()
            assert (lane, state, action) == (us, "reverted", "not-eligible")
            assert fee_wei > 0
            for _ in range(3):
                await here.node.mine()
            await daemon.wait_for(lambda seen: seen.get("event") == "stake.below-average")
            assert await here.nonce(us, "pending") == count
        assert await daemon.stop() == 0


async def test_crossed_a_block_earlier_nothing_is_sent(tmp_path: Path) -> None:
    async with scene(tmp_path, {US: 20_000}) as here, run_daemon(here.config) as daemon:
        await rival_deposits(here)
        await here.pass_lock()
        us = here.deri.liquidator
        await daemon.wait_for(eligible(us, True, "qualified"))
        count = await here.nonce(us)
        await here.deri.confirm(*await send(here.node, [crossing("deposit", here)]))
        await daemon.wait_for(eligible(us, False, "below-average"))
        here.crash(FIRST)
        left = await daemon.wait_for(lambda seen: seen.get("event") == "left")
        assert left["reason"] == "not eligible: below-average"
        assert await here.nonce(us, "pending") == count
        assert await daemon.stop() == 0


def add_signer(here: Scene, key: bytes) -> None:
    """A second signer in the keeper's configuration, after the first."""
    file = here.config.with_name("second.key")
    file.touch(mode=0o600)
    file.write_text(key.hex())
    with here.config.open("a") as config:
        config.write(f'[[chains.local.signers]]\naddress = "{address_of(key)}"\nkey_file = "{file.name}"\n')


async def liquidated_by(here: Scene, change: str) -> str:
    """Who liquidates the one account that a price move makes liquidatable."""
    before = len(here.mined())
    here.crash(change)
    assert len(await here.deri.liquidatable()) == 1
    await here.until(lambda: len(here.mined()) > before)
    [lane] = here.mined()[before:]
    return lane


async def test_a_signer_in_its_lock_is_skipped_and_the_other_stands_in(tmp_path: Path) -> None:
    world = replace(WORLD, lock_seconds=60)
    async with scene(tmp_path, {US: 30_000, SECOND: 30_000}, world) as here:
        add_signer(here, SECOND_KEY)
        us = here.deri.liquidator
        await here.pass_lock()
        async with run_daemon(here.config) as daemon:
            await daemon.wait_for(eligible(us, True, "qualified"))
            await daemon.wait_for(eligible(SECOND, True, "qualified"))
            assert await liquidated_by(here, FIRST) == us

            # Past the keeper, so its first nonce afterwards is taken: it finds the next one by itself.
            await here.deri.confirm(await here.deri.stake(us, 10_000 * ONE))
            await daemon.wait_for(eligible(us, False, "locked"))
            count = await here.nonce(us)
            assert await liquidated_by(here, SECOND_TOO) == SECOND
            assert await here.nonce(us) == count

            seen = len(daemon.events)
            await here.pass_lock()
            await daemon.wait_for(eligible(us, True, "qualified"), since=seen)
            assert await liquidated_by(here, THIRD_TOO) == us
            assert await daemon.stop() == 0
