"""A lane that is killed at random moments of a storm: nothing is lost, nothing is sent twice, and the books agree.

``KEEPER_KILLS`` sets how often (``KEEPER_KILLS=200 pytest -s tests/faults/test_lane_kills.py`` for the long run).
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import func, select

from keeper.chain.answers import fields, items, quantity, text
from keeper.chain.endpoint import Endpoint
from keeper.chain.rpc import Rpc
from keeper.devnet.anvil import AnvilOptions
from keeper.model import OutcomeState
from keeper.store.journal import Journal
from keeper.store.journal_tables import states
from tests.chain.lane_world import COIN, REWARD_B0, SETTINGS, SIGNER, TARGET, account, prepare
from tests.conftest import StartAnvil
from tests.faults.killing import kill_at_random

KILLS = int(os.environ.get("KEEPER_KILLS", "8"))
ACCOUNTS_PER_KILL = 6


async def test_killed_at_random_moments_of_a_storm(start_anvil: StartAnvil, tmp_path: Path) -> None:
    anvil = await start_anvil(AnvilOptions(block_time=0.25))
    await prepare(anvil)
    accounts = KILLS * ACCOUNTS_PER_KILL
    path = tmp_path / "journal"
    command = [sys.executable, "-m", "tests.faults.lane_storm", anvil.http_url, str(path), str(accounts)]

    async def done() -> bool:
        return await anvil.quantity("eth_getTransactionCount", SIGNER.address, "latest") >= accounts

    killed = await kill_at_random(command, KILLS, random.Random(7), 0.6, done)

    async with Rpc([Endpoint(anvil.http_url)], SETTINGS.chain_id) as rpc:
        mined = await _mined_by_us(rpc)
        nonces = await anvil.quantity("eth_getTransactionCount", SIGNER.address, "pending")
        paid_wei = 1000 * COIN - await anvil.quantity("eth_getBalance", SIGNER.address, "latest")
    taken = Counter(data for to, data, ok in mined if to == TARGET.lower() and ok)
    reverted = sum(not ok for _, _, ok in mined)
    twice = sum(count - 1 for count in Counter(data for to, data, _ in mined if to == TARGET.lower()).values())
    journal = await Journal.open(path)
    rewards, costs_wei, ended = await _books(journal)
    await journal.close()
    print(  # noqa: T201
        f"kills {killed}, accounts {accounts}, taken {len(taken)}, sent twice {twice}, reverted {reverted}, "
        f"nonces lost {nonces - len(mined)}, rewards missing {REWARD_B0 * len(taken) - rewards}, "
        f"wei unaccounted for {paid_wei - costs_wei}"
    )
    assert killed >= min(KILLS, 4)
    assert taken == Counter(account(number) for number in range(accounts))
    assert (twice, reverted) == (0, 0)
    assert nonces == len(mined)
    assert rewards == REWARD_B0 * accounts
    assert costs_wei == paid_wei
    assert ended[OutcomeState.MINED.value] == accounts


async def _mined_by_us(rpc: Rpc) -> list[tuple[str, str, bool]]:
    """Target, call data and success of every transaction of ours on chain."""
    height = quantity(await rpc.request("eth_blockNumber"))
    blocks = await rpc.batch([("eth_getBlockByNumber", [hex(number), True]) for number in range(height + 1)])
    ours = [
        transaction
        for block in blocks
        for transaction in map(fields, items(fields(block)["transactions"]))  # type: ignore[arg-type]
        if text(transaction["from"]).lower() == SIGNER.address.lower()
    ]
    receipts = await rpc.batch([("eth_getTransactionReceipt", [each["hash"]]) for each in ours])
    return [
        (text(each["to"]).lower(), text(each["input"]), quantity(fields(receipt)["status"]) == 1)  # type: ignore[arg-type]
        for each, receipt in zip(ours, receipts, strict=True)
    ]


async def _books(journal: Journal) -> tuple[int, int, Counter[str]]:
    """The journal's rewards, costs and last states."""
    last = select(func.max(states.c.id)).group_by(states.c.intent_id)
    async with journal.engine.connect() as connection:
        rows = (await connection.execute(select(states).where(states.c.id.in_(last)))).all()
    return sum(row.reward_b0 for row in rows), sum(row.fee_wei for row in rows), Counter(row.state for row in rows)
