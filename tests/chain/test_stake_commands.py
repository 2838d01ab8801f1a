"""`keeper stake` against a chain: what it shows, what it sends, and what it refuses with nothing sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from eth_utils import keccak
from sqlalchemy import select
from typer.testing import CliRunner, Result

from keeper.cli import app
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.devnet.artifacts import load_artifact
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import ONE, address_of, three_futures
from keeper.devnet.rpc import as_int
from keeper.devnet.transactions import Transaction, confirm, created_address, next_nonces, send
from keeper.errors import KeeperError
from keeper.store.hold import hold
from keeper.store.journal import Journal
from keeper.store.journal_tables import intents, states
from tests.conftest import StartAnvil

SECOND_KEY = keccak(text="a second signer of the tests")
SECOND = address_of(SECOND_KEY)


class Terminal:
    """A folder with a configuration for one market, in which commands are given."""

    def __init__(self, deri: DeriDevnet, folder: Path, *, chain_id: int = 31337) -> None:
        self.deri = deri
        self.us = deri.liquidator
        self.journal = folder / "keeper.sqlite"
        self._folder = folder
        self.configure(chain_id=chain_id)

    def configure(self, *, chain_id: int = 31337, mode: str = "live", second: bool = False, markets: int = 1) -> None:
        signers = [(self.us, self.deri.liquidator_key), *([(SECOND, SECOND_KEY)] if second else [])]
        lines = [f'mode = "{mode}"', "[store]", f'path = "{self.journal.name}"', "[chains.local]"]
        lines += [f"chain_id = {chain_id}", f'endpoints = ["{self.deri.node.http_url}"]']
        for address, key in signers:
            file = self._folder / f"{address}.key"
            file.touch(mode=0o600)
            file.write_text(key.hex())
            lines += ["[[chains.local.signers]]", f'address = "{address}"', f'key_file = "{file.name}"']
        for number in range(markets):
            lines += [f"[markets.pool-{number}]", 'protocol = "deri-v3"', 'chain = "local"']
            lines += [f'pool = "{self.deri.pool.address}"', "native_price_b0 = 300", "stakes_start_block = 0"]
        (self._folder / "keeper.toml").write_text("\n".join(lines))

    async def give(self, *words: str, answer: str = "") -> Result:
        """Give a command after ``keeper stake``, and answer what it asks."""
        command, *rest = words
        arguments = ["stake", command, "--config", str(self._folder / "keeper.toml"), *rest]
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, input=answer)

    async def shown(self, *words: str) -> Any:
        result = await self.give(*words, "--json")
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    async def done(self, *words: str, answer: str = "") -> str:
        result = await self.give(*words, answer=answer)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout

    async def refused(self, *words: str) -> str:
        """The sentence of a command that is refused. Nothing was sent."""
        before = await self.sent()
        result = await self.give(*words)
        assert isinstance(result.exception, KeeperError), (result.output, result.exception)
        assert await self.sent() == before
        return str(result.exception)

    async def sent(self) -> int:
        return as_int(await self.deri.node.rpc("eth_getTransactionCount", self.us, "pending"))

    async def stake(self) -> tuple[int, int]:
        """What we have staked, and what is left of the allowance."""
        assert self.deri.privileger is not None
        deri = self.deri.token_deri
        return (
            await self.deri.privileger.read_int(self.deri.node, "stakes", deri.address, self.us),
            await deri.read_int(self.deri.node, "allowance", self.us, self.deri.privileger.address),
        )

    async def unlock(self) -> None:
        node = self.deri.node
        await node.set_next_block_timestamp(await node.block_timestamp() + self.deri.world.lock_seconds)
        await node.mine()

    async def journaled(self) -> list[tuple[str, str]]:
        """What the journal says that became of what was sent, oldest first."""
        journal = await Journal.open(self.journal)
        query = (
            select(intents.c.account, states.c.state)
            .join(states, states.c.intent_id == intents.c.id)
            .where(states.c.state.in_(["mined", "reverted", "abandoned", "cancelled", "skipped"]))
            .order_by(states.c.id)
        )
        async with journal.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        await journal.close()
        return [(row.account, row.state) for row in rows]


@pytest.fixture
async def terminal(deri: DeriDevnet, tmp_path: Path) -> AsyncIterator[Terminal]:
    yield Terminal(deri, tmp_path)
    structlog.reset_defaults()  # a command's log goes to its own standard error, which is closed by now


async def test_from_nothing_to_qualified_by_its_own_advice(terminal: Terminal) -> None:
    status = await terminal.shown("status")
    assert status["signers"][0]["eligibility"]["reason"] == "never-staked"
    assert status["signers"][0]["balance"] == "100000"
    [advice] = (await terminal.shown("plan", "--margin", "10"))["plans"]
    assert (advice["least_deposit"], advice["deposit_with_margin"]) == ("20000", "22000")
    assert advice["interrupts"] is False

    said = await terminal.done("deposit", advice["deposit_with_margin"])
    assert "approve: mined" in said
    assert "deposit: mined" in said
    assert await terminal.stake() == (22_000 * ONE, 0)
    assert await terminal.journaled() == [("stake approve", "mined"), ("stake deposit", "mined")]

    locked = (await terminal.shown("status"))["signers"][0]
    assert locked["eligibility"]["reason"] == "locked"
    assert locked["lock_end"] == locked["eligibility"]["until"]
    await terminal.unlock()
    status = await terminal.shown("status")
    us = status["signers"][0]
    assert us["eligibility"] == us["eligibility"] | {"allowed": True, "reason": "qualified"}
    assert (us["stake"], us["rank"], us["balance"], us["allowance"]) == ("22000", 2, "78000", "0")
    assert us["headroom"] == {
        "present": "6000",
        "percent": "10.0000",
        "with_newcomer": "18000",
        "without_smallest": "-6000",
    }
    assert status["privileger"]["stakers"] == 4


async def test_a_table_for_people_says_the_same(terminal: Terminal) -> None:
    await terminal.done("deposit", "22000")
    await terminal.unlock()
    table = " ".join((await terminal.done("status")).split())
    assert "may liquidate yes" in table
    assert "rank 2 of 4" in table
    assert "6000 DERI (10.0 % of what they hold)" in table
    advice = " ".join((await terminal.done("plan", "--margin", "50")).split())
    assert "nothing is missing" in advice
    assert "A top-up restarts the lock: this signer, which may liquidate now, could not for 5 s." in advice
    assert "Instead: deposit 23000 DERI for a second signer first, wait 5 s until it may liquidate" in advice
    assert "one of the two may liquidate at every moment." in advice


@pytest.mark.parametrize("leftover", [1, 22_000, 50_000])
async def test_a_leftover_allowance_is_replaced_by_exactly_what_is_needed(terminal: Terminal, leftover: int) -> None:
    assert terminal.deri.privileger is not None
    token = terminal.deri.token_deri
    data = token.encode("approve", terminal.deri.privileger.address, leftover * ONE)
    await confirm(terminal.deri.node, await send(terminal.deri.node, [Transaction(terminal.us, token.address, data)]))
    said = await terminal.done("deposit", "22000")
    assert ("approve: mined" in said) is (leftover != 22_000)
    assert await terminal.stake() == (22_000 * ONE, 0)


async def test_a_withdrawal_that_disqualifies_wants_force(terminal: Terminal) -> None:
    await terminal.done("deposit", "22000")
    sentence = await terminal.refused("withdraw", "2000.000000000000000001")
    assert "19999.999999999999999999 DERI would be left, which is below it" in sentence
    assert "--force" in sentence
    await terminal.done("withdraw", "2000")
    assert (await terminal.stake())[0] == 20_000 * ONE
    await terminal.done("withdraw", "1", "--force")
    # Below the average already: nothing is lost by less, and nothing has to be forced.
    await terminal.done("withdraw", "all")
    assert (await terminal.stake())[0] == 0
    assert (await terminal.journaled())[-1] == ("stake withdraw", "mined")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deposit", "ten"), "plain positive number"),
        (("deposit", "-20000"), "plain positive number"),
        (("deposit", "1e4"), "plain positive number"),
        (("deposit", "0"), "more than nothing"),
        (("deposit", "20000.0000000000000000001"), "at most 18 decimals"),
        (("deposit", "9999.999999999999999999"), "the least that the privileger takes"),
        (("deposit", "100000.000000000000000001"), "it holds 100000"),
        (("withdraw", "1"), "has staked"),
        (("withdraw", "all"), "plain positive number"),
        (("deposit", "20000", "--signer", "0x" + "1" * 40), "one of the configured signers"),
        (("deposit", "20000", "--market", "elsewhere"), "there is none"),
    ],
)
async def test_bad_input_is_refused_with_a_sentence_and_nothing_is_sent(
    terminal: Terminal, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in await terminal.refused(*words)
    assert not terminal.journal.exists()


async def test_a_token_that_answers_false_is_refused(terminal: Terminal) -> None:
    node, token = terminal.deri.node, terminal.deri.token_deri
    silent = load_artifact("SilentToken")
    admin = terminal.deri.admin
    address = created_address(admin, (await next_nonces(node, {admin}))[admin])
    create = Transaction(admin, None, silent.deployment("Deri", "DERI", 18))
    await confirm(node, await send(node, [create]))
    code = await node.rpc("eth_getCode", address, "latest")
    assert isinstance(code, str)
    await node.set_code(token.address, bytes.fromhex(code[2:]))
    await confirm(node, await send(node, [Transaction(admin, token.address, silent.encode("setRefusing", True))]))
    assert "answers false" in await terminal.refused("deposit", "20000")
    await confirm(node, await send(node, [Transaction(admin, token.address, silent.encode("setRefusing", False))]))
    await terminal.done("deposit", "20000")
    await confirm(node, await send(node, [Transaction(admin, token.address, silent.encode("setRefusing", True))]))
    assert "answers false" in await terminal.refused("withdraw", "all", "--force")


async def test_a_privileger_without_code_is_refused(terminal: Terminal) -> None:
    assert terminal.deri.privileger is not None
    await terminal.deri.node.set_code(terminal.deri.privileger.address, b"")
    assert "it answered 0 bytes" in await terminal.refused("deposit", "20000")
    assert "it answered 0 bytes" in await terminal.refused("status")


async def test_a_contract_that_would_revert_is_refused_with_its_reason(terminal: Terminal) -> None:
    assert terminal.deri.privileger is not None
    await terminal.done("deposit", "20000")
    # The privileger's tokens are gone: ERC20's balances are in the mapping at slot 0.
    holder = bytes.fromhex(terminal.deri.privileger.address[2:]).rjust(32, b"\0")
    slot = int.from_bytes(keccak(holder + bytes(32)), "big")
    await terminal.deri.node.set_storage(terminal.deri.token_deri.address, slot, 0)
    sentence = await terminal.refused("withdraw", "all", "--force")
    assert "would revert: custom error 0xe450d38c" in sentence  # ERC20InsufficientBalance


async def test_while_another_keeper_sends_nothing_is_sent(terminal: Terminal) -> None:
    with hold(terminal.journal):
        assert "another one is running" in await terminal.refused("deposit", "20000")
        await terminal.shown("status")
    await terminal.done("deposit", "20000")


async def test_a_mode_that_never_sends_sends_nothing(terminal: Terminal) -> None:
    terminal.configure(mode="observe")
    assert "the mode is observe" in await terminal.refused("deposit", "20000")
    assert (await terminal.shown("status"))["signers"][0]["eligibility"]["reason"] == "never-staked"


async def test_several_markets_have_to_be_told_apart(terminal: Terminal) -> None:
    terminal.configure(markets=2)
    assert "pass --market" in await terminal.refused("status")
    assert (await terminal.shown("status", "--market", "pool-1"))["market"] == "pool-1"


async def test_two_signers_are_planned_for_each_other(terminal: Terminal) -> None:
    terminal.configure(second=True)
    deri = terminal.deri
    await deri.node.set_balance(SECOND, 10**20)
    await deri.confirm(await deri.mint_deri(SECOND, 50_000 * ONE))
    assert "name one with --signer" in await terminal.refused("deposit", "22000")
    await terminal.done("deposit", "22000", "--signer", terminal.us)
    await terminal.unlock()
    first, second = (await terminal.shown("plan", "--margin", "50"))["plans"]
    assert (first["interrupts"], second["interrupts"]) == (True, False)
    # The first would top up by 10,000; the second has to outlast that: a fourth of 60,000 + 32,000 is 23,000.
    assert first["second_signer"] == {"address": SECOND, "deposit": "23000", "ready": False, "keeps_first": True}
    await terminal.done("deposit", "23000", "--signer", SECOND)
    await terminal.unlock()
    first, _ = (await terminal.shown("plan", "--margin", "50"))["plans"]
    assert first["second_signer"] == {"address": SECOND, "deposit": "0", "ready": True, "keeps_first": True}
    await terminal.done("deposit", first["deposit_with_margin"], "--signer", terminal.us)
    eligible = [signer["eligibility"]["reason"] for signer in (await terminal.shown("status"))["signers"]]
    assert eligible == ["locked", "qualified"]


async def test_a_live_network_is_asked_about_unless_told_not_to(start_anvil: StartAnvil, tmp_path: Path) -> None:
    node = await start_anvil(AnvilOptions(chain_id=56))
    async with deri_market(node, three_futures(3)) as deri:
        terminal = Terminal(deri, tmp_path, chain_id=56)
        before = await terminal.sent()
        declined = await terminal.give("deposit", "20000", answer="n\n")
        assert declined.exit_code == 1
        assert "its stake goes from 0 to 20000" in declined.stdout
        assert await terminal.sent() == before
        silent = await terminal.give("deposit", "20000")  # nobody there to answer
        assert silent.exit_code == 1
        assert await terminal.sent() == before
        await terminal.done("deposit", "10000", answer="y\n")
        await terminal.done("deposit", "10000", "--yes")
        assert await terminal.stake() == (20_000 * ONE, 0)
    structlog.reset_defaults()


async def test_without_a_privileger_no_stake_is_needed(anvil: Anvil, tmp_path: Path) -> None:
    async with deri_market(anvil, replace(three_futures(3), privileged=False)) as deri:
        terminal = Terminal(deri, tmp_path)
        status = await terminal.shown("status")
        assert status["privileger"] is None
        assert status["signers"][0]["eligibility"]["reason"] == "open"
        assert "No stake is needed" in await terminal.done("plan")
        assert "it has none: anyone may liquidate" in await terminal.refused("deposit", "20000")
    structlog.reset_defaults()
