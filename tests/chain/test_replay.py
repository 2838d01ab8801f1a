"""`keeper replay` over recorded storms: its table is held to what the chain itself says of every block."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from eth_utils import keccak, to_checksum_address
from typer.testing import CliRunner, Result

from keeper.cli import app
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.devnet.daemon import LocalMarket, LocalVault, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import moved, three_futures
from keeper.devnet.meridian import Cohort, Holder, MeridianDevnet, MeridianWorld, deploy_meridian
from keeper.devnet.oracle_server import Reading
from keeper.devnet.rpc import DevNode, as_bytes, as_int
from keeper.errors import ChainError, KeeperError
from keeper.model import Block
from keeper.protocols.deri.market import DeriMarket
from keeper.protocols.meridian.market import MeridianMarket
from keeper.replay.findings import Theirs
from keeper.replay.walk import Replay
from tests.conftest import StartAnvil

WORLD = three_futures(24)
TRADE = "0x" + keccak(text="Trade(uint256,bytes32,int256,int256,int256,int256)").hex()
CLOSED = "0x" + keccak(text="ClosePosition(bytes32,uint256,uint256,uint256,uint256,uint256,int256)").hex()
LIQUIDATED = (
    "0x"
    + keccak(
        text="LiquidatePosition(bytes32,address,address,address,bool,uint256,uint256,uint256,int256,uint256)"
    ).hex()
)
RIVAL = to_checksum_address(keccak(text="the rival of the replays")[-20:])

Table = dict[str, Mapping[str, Any]]


async def replayed(config: Path, first: int, last: int) -> Result:
    out = config.with_name("replay.csv")
    words = ["replay", "--config", str(config), "--from", str(first), "--to", str(last), "--out", str(out)]
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def table(config: Path, first: int, last: int) -> Table:
    """What the command writes, by account; every account falls once in these storms."""
    result = await replayed(config, first, last)
    assert result.exit_code == 0, (result.output, result.exception)
    with config.with_name("replay.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len({row["account"] for row in rows}) == len(rows)
    return {row["account"]: row for row in rows}


async def timestamps(node: DevNode, first: int, last: int) -> dict[int, int]:
    return {number: await node.block_timestamp(number) for number in range(first, last + 1)}


async def sender_of(node: DevNode, transaction_hash: object) -> str:
    sent = await node.rpc("eth_getTransactionByHash", str(transaction_hash))
    assert isinstance(sent, dict)
    return to_checksum_address(str(sent["from"]))


async def logs(node: DevNode, address: str, topic: str, first: int, last: int) -> list[dict[str, Any]]:
    found = await node.rpc(
        "eth_getLogs", {"address": address, "topics": [topic], "fromBlock": hex(first), "toBlock": hex(last)}
    )
    return cast("list[dict[str, Any]]", found)


# Deri


async def storm(deri: DeriDevnet, readings: list[Reading]) -> None:
    """Three falls; a rival is late by a few blocks, takes some and leaves others; somebody saves himself."""
    rival = deri.stakers[0]
    for change, late, takes in (("-0.06", 2, 2), ("-0.075", 4, 3), ("-0.09", 1, 1)):
        deri.oracle.move(moved(WORLD.symbols, change))
        signed = await deri.readings()
        readings += signed
        await deri.node.mine(late, interval_seconds=1)
        for p_token_id in sorted(await deri.liquidatable(readings=signed))[:takes]:
            await deri.confirm(await deri.liquidate(rival, p_token_id, readings=signed))
    saved = max(await deri.liquidatable(readings=signed))
    trader = next(trader for trader in deri.traders if trader.p_token_id == saved)
    await deri.confirm(await deri.add_margin(trader.owner, 10**24))
    await deri.node.mine(3, interval_seconds=1)


async def first_fall(
    deri: DeriDevnet, readings: Sequence[Reading], times: Mapping[int, int], gone: Mapping[int, int]
) -> dict[int, int]:
    """By account: the first block in which the chain would have let it be liquidated, by what was signed before."""
    found: dict[int, int] = {}
    for number in sorted(times)[1:]:
        known: dict[str, Reading] = {}
        for reading in sorted(readings, key=lambda each: each.timestamp):
            if reading.timestamp <= times[number] - 1:
                known[reading.symbol] = reading
        weak = await deri.liquidatable(tag=number - 1, at=times[number], readings=list(known.values()))
        for account in weak:
            if gone.get(account, number) >= number:
                found.setdefault(account, number)
    return found


async def test_the_table_of_a_deri_storm_is_what_the_chain_says(anvil: Anvil, tmp_path: Path) -> None:
    async with deri_market(anvil, WORLD) as deri:
        await anvil.mine(WORLD.lock_seconds, interval_seconds=1)
        first = await anvil.block_number() + 1
        readings: list[Reading] = []
        await storm(deri, readings)
        last = await anvil.block_number()
        market = LocalMarket("lite", deri.pool.address, deri.oracle.url)
        config = write_config(tmp_path, anvil.http_url, [market], deri.liquidator_key)
        found = await table(config, first, last)

        theirs: dict[int, dict[str, Any]] = {}
        for log in await logs(anvil, deri.symbol_manager.address, TRADE, first, last):
            if int.from_bytes(as_bytes(log["data"])[96:128], "big", signed=True) == -1:
                theirs[int(log["topics"][1], 16)] = log
        times = await timestamps(anvil, first - 1, last)
        gone = {account: as_int(log["blockNumber"]) for account, log in theirs.items()}
        ours = await first_fall(deri, readings, times, gone)
        assert len(theirs) == 6
        assert set(ours) > set(theirs)

        assert {int(account) for account in found} == set(ours) | set(theirs)
        for account, row in found.items():
            p_token_id = int(account)
            assert int(row["our_block"]) == ours[p_token_id], row
            assert int(row["our_timestamp"]) == times[ours[p_token_id]]
            assert row["refusal"] == "never-staked"
            assert float(row["profit"]) > 0
            if p_token_id not in theirs:
                assert (row["verdict"], row["their_block"]) == ("nobody did", "")
                continue
            log = theirs[p_token_id]
            assert int(row["their_block"]) == gone[p_token_id]
            assert row["their_transaction"] == log["transactionHash"]
            assert row["their_address"] == await sender_of(anvil, log["transactionHash"])
            blocks = gone[p_token_id] - ours[p_token_id]
            assert row["verdict"] == (f"earlier by {blocks}" if blocks else "in the same block")
        assert {row["verdict"] for row in found.values()} >= {"nobody did", "earlier by 3"}

        await check_that_it_goes_on_where_it_stopped(config, found, first, last)


async def check_that_it_goes_on_where_it_stopped(config: Path, whole: Table, first: int, last: int) -> None:
    """An archive that fails halfway costs nothing: the next run goes on there, and the table is the same."""
    for file in config.parent.glob("*.replay.sqlite*"):
        file.unlink()
    halfway = (first + last) // 2
    closures = Replay._closures

    async def failing(self: Replay, block: Block) -> list[tuple[str, Theirs | None]]:
        if block.header.number > halfway:
            raise ChainError("an answer", "the archive is gone", "look at it")
        return await closures(self, block)

    async def forbidden(*_: object) -> None:
        raise AssertionError("it began anew")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replay, "_closures", failing)
        assert "the archive is gone" in str((await replayed(config, first, last)).exception)
    with pytest.MonkeyPatch.context() as patch:
        for market in (DeriMarket, MeridianMarket):
            patch.setattr(market, "bootstrap", forbidden)
        assert await table(config, first, last) == whole
    assert set(await table(config, last, last)) < set(whole), "another range begins anew"


async def test_bad_ranges_and_pruned_nodes_are_a_sentence(tmp_path: Path, start_anvil: StartAnvil) -> None:
    node = await start_anvil(AnvilOptions(prune_history=1))
    async with deri_market(node, three_futures(4)) as deri:
        head = await node.block_number()
        await node.mine(20)
        market = LocalMarket("lite", deri.pool.address, deri.oracle.url)
        config = write_config(tmp_path, node.http_url, [market], deri.liquidator_key)
        for first, last, words in (
            (head, head + 99, f"blocks up to the head, {head + 20}"),
            (head, head - 1, "a range of blocks"),
            (head, head + 5, f"a node with the state of block {head - 1}"),
        ):
            result = await replayed(config, first, last)
            assert isinstance(result.exception, KeeperError)
            assert words in str(result.exception)
        assert "archive" in str(result.exception)


# Meridian

POSITIONS = (
    Cohort("BTC", is_long=True, count=3, distance=Decimal("0.05")),
    Cohort("ETH", is_long=False, count=2, distance=Decimal("0.08")),
)


async def squeeze(devnet: MeridianDevnet) -> None:
    """BTC falls and ETH rises; a rival takes three late, an owner closes one herself, one is left."""
    node, (first, second, owned, short, left) = devnet.node, devnet.holders
    await devnet.confirm(await devnet.list_liquidator(RIVAL, active=True))
    await devnet.confirm(await devnet.set_price("BTC", 56_900))
    await node.mine(3, interval_seconds=1)
    for holder in (first, second):
        await devnet.confirm(await devnet.liquidate(RIVAL, holder))
    await devnet.confirm(await devnet.set_price("BTC", 60_000))
    await devnet.confirm(await devnet.decrease(owned.account, "BTC", "BTC", 10_000, True))
    await devnet.confirm(await devnet.set_price("ETH", 3_300))
    await devnet.confirm(await devnet.liquidate(RIVAL, short))
    await node.mine(2, interval_seconds=1)
    assert left.cohort == short.cohort


async def first_openings(devnet: MeridianDevnet, holders: Sequence[Holder], times: Mapping[int, int]) -> dict[str, int]:
    """By position: the first block in which the chain would have let it be liquidated."""
    found: dict[str, int] = {}
    for number in sorted(times)[1:]:
        verdicts = await devnet.verdicts(holders, at=times[number], tag=number - 1)
        for key, reason in verdicts.items():
            if reason is None:
                found.setdefault(key, number)
    return found


async def test_the_table_of_a_meridian_storm_is_what_the_chain_says(anvil: Anvil, tmp_path: Path) -> None:
    devnet = await deploy_meridian(anvil, MeridianWorld(POSITIONS))
    first = await anvil.block_number() + 1
    await squeeze(devnet)
    last = await anvil.block_number()
    vault = LocalVault("vault", devnet.vault.address, devnet.position_manager, devnet.start_block)
    config = write_config(tmp_path, anvil.http_url, [vault], devnet.liquidator_key)
    found = await table(config, first, last)

    theirs = {
        "0x" + as_bytes(log["data"])[:32].hex(): log
        for log in await logs(anvil, devnet.vault.address, LIQUIDATED, first, last)
    }
    closed = {
        "0x" + as_bytes(log["data"])[:32].hex(): log
        for log in await logs(anvil, devnet.vault.address, CLOSED, first, last)
    }
    times = await timestamps(anvil, first - 1, last)
    ours = await first_openings(devnet, devnet.holders, times)
    assert len(theirs) == 3
    assert len(closed) == 1
    assert set(ours) == {holder.key for holder in devnet.holders}
    assert set(found) == set(ours)
    for key, row in found.items():
        assert int(row["our_block"]) == ours[key], row
        assert row["refusal"] == ""
        if key in theirs:
            block = as_int(theirs[key]["blockNumber"])
            assert (int(row["their_block"]), row["their_address"]) == (block, RIVAL)
            blocks = block - ours[key]
            assert row["verdict"] == (f"earlier by {blocks}" if blocks else "in the same block")
        else:
            assert row["verdict"] == "nobody did"
            assert row["reason"] == ("closed by its owner" if key in closed else "")
    await check_that_it_goes_on_where_it_stopped(config, found, first, last)
    out = config.with_name("replay.json")
    words = ["replay", "--config", str(config), "--from", str(first), "--to", str(last), "--out", str(out)]
    assert (await asyncio.to_thread(CliRunner().invoke, app, words)).exit_code == 0
    assert {each["account"] for each in json.loads(out.read_text())} == set(found)
