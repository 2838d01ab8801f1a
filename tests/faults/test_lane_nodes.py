"""Nodes that lie, lose and hang: every case ends with each account liquidated once and no nonce lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.model import OutcomeState
from tests.chain.lane_world import MARKET, SIGNER, World, account, lane_world, prepare
from tests.conftest import StartAnvil
from tests.faults.lying_node import CutConnection, Forward, Json, Lie, LyingNode, NodeSaysNo, lying_node

MINED, SENT, REPLACED, ABANDONED = (
    OutcomeState.MINED,
    OutcomeState.SENT,
    OutcomeState.REPLACED,
    OutcomeState.ABANDONED,
)
SEND, COUNT, RECEIPT = "eth_sendRawTransaction", "eth_getTransactionCount", "eth_getTransactionReceipt"


@pytest.fixture
async def chain(start_anvil: StartAnvil) -> Anvil:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    await prepare(anvil)
    return anvil


@pytest.fixture
async def liar(chain: Anvil) -> AsyncIterator[LyingNode]:
    async with lying_node(chain.http_url) as node:
        yield node


@pytest.fixture
async def world(chain: Anvil, liar: LyingNode, tmp_path: Path) -> AsyncIterator[World]:
    """A lane that knows only the lying node."""
    async with lane_world(chain, tmp_path / "journal", urls=(liar.url,)) as world:
        yield world


async def mine_until_quiet(world: World, most: int) -> None:
    """Blocks until nothing is in flight; an assertion fails if that takes more than ``most``."""
    for _ in range(most):
        await world.mine()
        if not world.lane.accounts_in_flight(MARKET):
            return
    raise AssertionError(f"still in flight after {most} blocks: {world.lane.accounts_in_flight(MARKET)}")


async def assert_liquidated_once(world: World, *names: str) -> None:
    """Each account is mined once by us, in the journal and on chain, and the chain's nonce is theirs alone."""
    for name in names:
        assert [state for state in world.states(name) if state is MINED] == [MINED]
        assert world.last(name).state is MINED
        assert await world.taker(name) == SIGNER.address.lower()
    assert await world.chain_nonce() == len(names)
    assert len(await world.spent()) == len(names)


def shifted(by: int) -> Lie:
    async def lie(_: list[Json], forward: Forward) -> Json:
        true = await forward()
        assert isinstance(true, str)
        return hex(max(0, int(true, 16) + by))

    return lie


async def test_a_node_that_counts_too_few_transactions_is_seen_through_by_the_receipts(
    world: World, liar: LyingNode
) -> None:
    liar.lies[COUNT] = shifted(-5)
    await world.send(account(1), account(2))
    await mine_until_quiet(world, 6)
    await world.send(account(3))
    await mine_until_quiet(world, 6)
    await assert_liquidated_once(world, account(1), account(2), account(3))


async def test_a_node_that_counts_too_many_transactions_moves_no_nonce(world: World, liar: LyingNode) -> None:
    liar.lies[COUNT] = shifted(+5)
    await world.send(account(1))
    await world.turn()
    await world.send(account(2))
    await mine_until_quiet(world, 3)
    await assert_liquidated_once(world, account(1), account(2))


async def test_a_transaction_declared_dead_by_a_lying_count_is_still_accounted_for_when_it_is_mined(
    world: World, liar: LyingNode
) -> None:
    liar.lies[COUNT] = shifted(+5)
    await world.send(account(1))
    for _ in range(4):
        await world.turn()
    assert world.last(account(1)).state is ABANDONED
    del liar.lies[COUNT]
    await world.mine()
    await world.mine()
    assert world.last(account(1)).state is MINED
    await assert_liquidated_once(world, account(1))


async def test_a_node_that_says_nonce_too_low_without_reason_is_asked_again(world: World, liar: LyingNode) -> None:
    async def too_low(_: list[Json], __: Forward) -> Json:
        raise NodeSaysNo("nonce too low")

    liar.once(SEND, too_low)
    await world.send(account(1))
    await world.send(account(2))
    await mine_until_quiet(world, 6)
    await assert_liquidated_once(world, account(1), account(2))


async def test_a_node_that_accepts_and_forgets_is_given_the_bytes_again(world: World, liar: LyingNode) -> None:
    async def forget(_: list[Json], __: Forward) -> Json:
        return "0x" + "00" * 32

    liar.once(SEND, forget)
    await world.send(account(1), account(2))
    await mine_until_quiet(world, 6)
    await assert_liquidated_once(world, account(1), account(2))


async def test_already_known_is_an_acceptance(world: World, liar: LyingNode) -> None:
    async def already(_: list[Json], forward: Forward) -> Json:
        await forward()
        raise NodeSaysNo("already known")

    liar.lies[SEND] = already
    await world.send(account(1))
    assert world.states(account(1)) == [SENT]
    await mine_until_quiet(world, 1)
    await assert_liquidated_once(world, account(1))


async def test_a_replacement_called_underpriced_is_made_dearer(world: World, liar: LyingNode) -> None:
    async def underpriced(_: list[Json], __: Forward) -> Json:
        raise NodeSaysNo("replacement transaction underpriced")

    liar.once(SEND, underpriced)
    await world.send(account(1))
    assert world.states(account(1)) == []
    await mine_until_quiet(world, 3)
    await assert_liquidated_once(world, account(1))
    [standing] = await world.standings()
    old, new = standing.transactions
    assert new.max_wei * 8 >= old.max_wei * 9


async def test_insufficient_funds_gives_the_intent_up_and_reuses_its_nonce(world: World, liar: LyingNode) -> None:
    async def broke(_: list[Json], __: Forward) -> Json:
        raise NodeSaysNo("insufficient funds for gas * price + value: balance 0")

    liar.once(SEND, broke)
    await world.send(account(1))
    assert world.states(account(1)) == [ABANDONED]
    assert "can't pay" in (world.alerts["insufficient-funds"] or "")
    await world.send(account(2))
    assert world.last(account(2)).reason == "the wallet can't pay for the gas"
    await world.turn()
    await world.send(account(1), account(2))
    assert not world.alerts["insufficient-funds"]
    await mine_until_quiet(world, 2)
    await assert_liquidated_once(world, account(1), account(2))


async def test_a_connection_cut_after_accepting_is_no_failure(world: World, liar: LyingNode) -> None:
    async def accept_and_cut(_: list[Json], forward: Forward) -> Json:
        await forward()
        raise CutConnection

    liar.once(SEND, accept_and_cut)
    await world.send(account(1))
    assert world.states(account(1)) == []
    assert world.lane.in_flight(MARKET, account(1))
    await mine_until_quiet(world, 1)
    await assert_liquidated_once(world, account(1))


async def test_a_connection_cut_before_accepting_is_tried_again(world: World, liar: LyingNode) -> None:
    async def cut(_: list[Json], __: Forward) -> Json:
        raise CutConnection

    liar.once(SEND, cut)
    await world.send(account(1))
    await mine_until_quiet(world, 3)
    await assert_liquidated_once(world, account(1))


async def test_a_refusal_that_lasts_gives_the_account_up_and_leaves_no_gap(world: World, liar: LyingNode) -> None:
    async def refuse_the_first(params: list[Json], forward: Forward) -> Json:
        if account(1)[2:] in str(params[0]):
            raise NodeSaysNo("exceeds block gas limit")
        return await forward()

    liar.lies[SEND] = refuse_the_first
    await world.send(account(1), account(2))
    await mine_until_quiet(world, 8)
    given_up = next(outcome for outcome in world.told if outcome.state is ABANDONED)
    assert (given_up.account, given_up.reason) == (account(1), "exceeds block gas limit")
    assert world.last(account(1)).gas_used == 21_000
    assert world.last(account(2)).state is MINED
    assert await world.chain_nonce() == 2


async def test_a_receipt_that_comes_late_is_waited_for(world: World, liar: LyingNode) -> None:
    late = [2]

    async def none_yet(_: list[Json], forward: Forward) -> Json:
        late[0] -= 1
        return await forward() if late[0] < 0 else None

    liar.lies[RECEIPT] = none_yet
    await world.send(account(1))
    await mine_until_quiet(world, 4)
    await assert_liquidated_once(world, account(1))


async def test_a_node_that_answers_nothing_about_us_stops_nothing(world: World, liar: LyingNode) -> None:
    async def odd(_: list[Json], __: Forward) -> Json:
        return {"what": "is this"}

    liar.lies[COUNT] = odd
    await world.send(account(1))
    await world.mine()
    await world.send(account(2))
    del liar.lies[COUNT]
    await mine_until_quiet(world, 2)
    await assert_liquidated_once(world, account(1), account(2))


async def test_a_second_endpoint_makes_up_for_a_liar(chain: Anvil, liar: LyingNode, tmp_path: Path) -> None:
    async def refuse(_: list[Json], __: Forward) -> Json:
        raise NodeSaysNo("nonce too low")

    liar.lies[SEND] = refuse
    async with lane_world(chain, tmp_path / "two", urls=(liar.url, chain.http_url)) as world:
        await world.send(account(1), account(2))
        await mine_until_quiet(world, 1)
        await assert_liquidated_once(world, account(1), account(2))
