"""Anvil as a child process: it answers, it obeys, and it is gone afterwards."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from keeper.chain.eth_accounts import Account
from keeper.devnet.anvil import Anvil, AnvilOptions, run_anvil
from keeper.devnet.rpc import RpcError
from keeper.errors import ChainError
from tests.conftest import StartAnvil

RICH_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""Anvil's first account, the same everywhere."""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_answers_with_the_options_it_was_given(start_anvil: StartAnvil) -> None:
    node = await start_anvil(AnvilOptions(chain_id=56, gas_limit=77_000_000, accounts=3, timestamp=1_700_000_000))
    assert await node.chain_id() == 56
    assert (await node.block(0))["gasLimit"] == hex(77_000_000)
    assert await node.block_timestamp(0) == 1_700_000_000
    accounts = await node.rpc("eth_accounts")
    assert isinstance(accounts, list)
    assert len(accounts) == 3


async def test_two_run_side_by_side(anvil: Anvil, start_anvil: StartAnvil) -> None:
    other = await start_anvil(AnvilOptions())
    await other.mine(3)
    assert (await anvil.block_number(), await other.block_number()) == (0, 3)


async def test_blocks_are_mined_as_told(anvil: Anvil) -> None:
    start = await anvil.block_timestamp()
    await anvil.set_next_block_timestamp(start + 100)
    await anvil.set_next_base_fee(7)
    await anvil.mine()
    head = await anvil.block()
    assert (head["timestamp"], head["baseFeePerGas"]) == (hex(start + 100), hex(7))
    await anvil.mine(3, interval_seconds=10)
    assert await anvil.block_timestamp() - await anvil.block_timestamp(2) == 20


async def test_a_reorg_replaces_blocks(anvil: Anvil) -> None:
    await anvil.mine(5)
    before = [(await anvil.block(number))["hash"] for number in (3, 4, 5)]
    await anvil.reorg(2)
    after = [(await anvil.block(number))["hash"] for number in (3, 4, 5)]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]


async def test_a_reorg_keeps_the_transactions_it_is_given(anvil: Anvil) -> None:
    payment = {"to": "0x" + "11" * 20, "value": 5, "gas": 21_000, "gasPrice": 10**10, "nonce": 0, "chainId": 31337}
    signed = Account.sign_transaction(payment, RICH_KEY)
    raw = signed.raw_transaction.to_0x_hex()
    await anvil.rpc("eth_sendRawTransaction", raw)
    await anvil.mine(2)
    await anvil.reorg(3)
    assert await anvil.receipt(signed.hash.to_0x_hex()) is None
    await anvil.reorg(2, [(raw, 1)])
    receipt = await anvil.receipt(signed.hash.to_0x_hex())
    assert receipt is not None
    assert receipt["blockNumber"] == "0x3"


async def test_a_snapshot_brings_the_state_back(anvil: Anvil) -> None:
    address = "0x" + "11" * 20
    snapshot = await anvil.snapshot()
    await anvil.set_balance(address, 5)
    await anvil.revert(snapshot)
    assert await anvil.balance_wei(address) == 0
    with pytest.raises(ChainError, match="no such snapshot"):
        await anvil.revert(snapshot)


async def test_a_refused_request_says_what_the_node_said(anvil: Anvil) -> None:
    with pytest.raises(RpcError, match="eth_nonsense to succeed"):
        await anvil.rpc("eth_nonsense")


async def test_a_batch_answers_in_order(anvil: Anvil) -> None:
    answers = await anvil.try_batch([("eth_chainId", []), ("eth_nonsense", []), ("eth_blockNumber", [])])
    assert answers[0] == hex(31337)
    assert isinstance(answers[1], RpcError)
    assert answers[2] == "0x0"


async def test_bad_options_are_told_with_anvils_own_words() -> None:
    with pytest.raises(ChainError, match="hardfork"):
        async with run_anvil(AnvilOptions(hardfork="nonsense")):
            pass


async def test_it_is_gone_after_a_failure() -> None:
    pids = []

    async def fail() -> None:
        async with run_anvil() as node:
            pids.append(node.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not is_running(pids[0])


async def test_it_is_gone_after_a_cancellation() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with run_anvil(AnvilOptions(block_time=1)) as node:
            started.set_result(node.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    pid = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(pid)


PR_SET_CHILD_SUBREAPER = 36
"""``prctl(2)``: this process adopts orphans among its descendants."""

if sys.platform == "linux":  # elsewhere no kernel ends an orphan

    async def test_it_does_not_outlive_a_killed_parent() -> None:
        program = textwrap.dedent("""
            import asyncio
            from keeper.devnet.anvil import run_anvil

            async def main():
                async with run_anvil() as node:
                    print(node.pid, flush=True)
                    await asyncio.Event().wait()

            asyncio.run(main())
        """)
        # Orphans become this process's children, so that it can reap what it made.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
        try:
            assert parent.stdout is not None
            pid = int(await parent.stdout.readline())
        finally:
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
        overdue = asyncio.get_running_loop().call_later(10, os.kill, pid, signal.SIGTERM)
        try:
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        except ChildProcessError:
            # Anvil died so fast that a thread of its dying parent, which waited for it, still reaped it.
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        else:
            assert os.WTERMSIG(status) == signal.SIGKILL
        finally:
            overdue.cancel()
