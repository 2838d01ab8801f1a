"""Deposits and withdrawals against a node of words: every rehearsal comes before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from keeper.chain.answers import Json, RpcError
from keeper.errors import ChainError
from keeper.model import Header, Log, Outcome, OutcomeState
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Wiring
from keeper.protocols.deri.stake import moves
from keeper.protocols.deri.stake.account import StakeReading, Token, Wallet
from keeper.protocols.deri.stake.amounts import StakeError
from keeper.protocols.deri.stake.moves import Move
from keeper.protocols.deri.stake.stakers import users_of
from keeper.protocols.deri.state import Flavour, PrivilegerState, Stake

DERI = 10**18
US, POOL, TOKEN, PRIVILEGER, OTHER = ("0x" + digit * 40 for digit in "12345")
PARTS = Wiring(POOL, Flavour.LITE, POOL, POOL, POOL, PRIVILEGER, TOKEN, POOL)
HEAD = Header(7, "0x", "0x", 1_000_000, 30_000_000, 0, 1)
TRUE, FALSE = "0x" + abi.uint_word(1).hex(), "0x" + abi.uint_word(0).hex()
NAMES = {
    bytes.fromhex("095ea7b3"): "approve",
    bytes.fromhex("a9059cbb"): "transfer",
    bytes.fromhex("23b872dd"): "transferFrom",
    bytes.fromhex("b6b55f25"): "deposit",
    bytes.fromhex("2e1a7d4d"): "withdraw",
}
"""Selectors as ERC-20 and the published privileger have them."""


def reading(allowance: int = 0, staked: int = 0) -> StakeReading:
    state = PrivilegerState(
        300, 10_000 * DERI, (20_000 + staked) * DERI, 1 + bool(staked), {US: Stake(staked * DERI, 0)}
    )
    return StakeReading(HEAD, PARTS, Token(TOKEN, "DERI", 18), state, {US: Wallet(50_000 * DERI, allowance * DERI)})


class FakeNode:
    """Answers ``eth_call`` by what is called; writes everything down, what is sent too."""

    def __init__(self, said: Callable[[str, int], str] = lambda name, amount: TRUE) -> None:
        self.steps: list[str] = []
        self._said = said
        self.silent = False

    async def request(self, method: str, params: Sequence[Json]) -> Json:
        if method == "eth_estimateGas":
            return hex(100_000)
        call = params[0]
        assert isinstance(call, dict)
        data = bytes.fromhex(str(call["data"])[2:])
        name, amount = NAMES[data[:4]], int.from_bytes(data[-32:], "big")
        self.steps.append(f"try {name}")
        answer = self._said(name, amount)
        if answer == "revert":
            raise RpcError("eth_call", "node", 3, "execution reverted: no")
        return answer

    async def send(self, move: Move) -> Outcome:
        assert move.gas_limit == 150_000
        amount = int.from_bytes(move.data[-32:], "big")
        self.steps.append(f"send {move.action} {amount // DERI}")
        words = abi.address_word(TOKEN) + abi.address_word(US) + abi.uint_word(amount)
        topic = {"deposit": abi.DEPOSIT, "withdraw": abi.WITHDRAW}.get(move.action)
        logs = (Log(PRIVILEGER, (topic,), words, 8, "0x", "0x", 0),) if topic and not self.silent else ()
        return Outcome("lite", "", OutcomeState.MINED, block_number=8, transaction_hash="0xabc", logs=logs)


async def test_a_deposit_is_rehearsed_approved_exactly_and_made() -> None:
    node = FakeNode()
    done = await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)
    assert node.steps == [
        "try transfer",
        "try approve",
        "send approve 20000",
        "try transferFrom",
        "try deposit",
        "send deposit 20000",
    ]
    assert len(done) == 2


async def test_an_allowance_that_fits_is_used() -> None:
    node = FakeNode()
    await moves.carry_out_deposit(reading(allowance=20_000), US, 20_000 * DERI, node, node.send)
    assert [step for step in node.steps if step.startswith("send")] == ["send deposit 20000"]


async def test_a_token_that_changes_an_allowance_only_by_way_of_zero_is_obliged() -> None:
    allowance = 5

    def said(name: str, amount: int) -> str:
        return FALSE if name == "approve" and amount and allowance else TRUE

    node = FakeNode(said)

    async def send(move: Move) -> Outcome:
        nonlocal allowance
        if move.action == "approve":
            allowance = int.from_bytes(move.data[-32:], "big")
        return await node.send(move)

    await moves.carry_out_deposit(reading(allowance=5), US, 20_000 * DERI, node, send)
    sent = [step for step in node.steps if step.startswith("send")]
    assert sent == ["send approve 0", "send approve 20000", "send deposit 20000"]


@pytest.mark.parametrize("name", ["transfer", "approve"])
@pytest.mark.parametrize(("answer", "sentence"), [(FALSE, "answers false"), ("revert", "would revert")])
async def test_a_token_that_refuses_stops_it_before_anything_is_sent(name: str, answer: str, sentence: str) -> None:
    node = FakeNode(lambda called, amount: answer if called == name else TRUE)
    with pytest.raises(StakeError, match=sentence):
        await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)
    assert not any(step.startswith("send") for step in node.steps)


@pytest.mark.parametrize(("name", "answer"), [("transferFrom", FALSE), ("deposit", "revert")])
async def test_a_refusal_after_the_approval_says_what_is_left(name: str, answer: str) -> None:
    node = FakeNode(lambda called, amount: answer if called == name else TRUE)
    with pytest.raises(StakeError, match="an allowance of exactly this amount is left"):
        await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)
    assert [step for step in node.steps if step.startswith("send")] == ["send approve 20000"]


async def test_an_old_token_that_answers_nothing_is_believed() -> None:
    node = FakeNode(lambda called, amount: "0x")
    assert len(await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)) == 2


@pytest.mark.parametrize("odd", ["0x01", "0x" + abi.uint_word(2).hex()])
async def test_an_answer_that_is_neither_true_nor_false_is_not_true(odd: str) -> None:
    node = FakeNode(lambda called, amount: odd)
    with pytest.raises(StakeError, match="answers false"):
        await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)


async def test_a_deposit_without_its_event_is_not_called_done() -> None:
    node = FakeNode()
    node.silent = True
    with pytest.raises(ChainError, match="mined without it"):
        await moves.carry_out_deposit(reading(), US, 20_000 * DERI, node, node.send)


async def test_a_withdrawal_is_rehearsed_from_both_sides() -> None:
    node = FakeNode()
    await moves.carry_out_withdrawal(reading(staked=30_000), US, 5_000 * DERI, node, node.send)
    assert node.steps == ["try transfer", "try withdraw", "send withdraw 5000"]


@pytest.mark.parametrize(
    ("staked", "amount", "disqualifies"),
    [(30_000, 10_000, False), (30_000, 10_001, True), (30_000, 30_000, True), (10_000, 10_000, False)],
)
def test_what_disqualifies(staked: int, amount: int, disqualifies: bool) -> None:
    seen = reading(staked=staked)
    assert moves.disqualifies(seen, US, amount * DERI) is disqualifies
    moves.check_withdrawal(seen, US, amount * DERI, force=True)
    if disqualifies:
        with pytest.raises(StakeError, match="no less than the average"):
            moves.check_withdrawal(seen, US, amount * DERI, force=False)


def test_the_stakers_are_those_who_deposited_this_token_each_once() -> None:
    def log(topic: bytes, token: str, user: str, data: bytes = b"") -> Log:
        words = abi.address_word(token) + abi.address_word(user) + abi.uint_word(1) + data
        return Log(PRIVILEGER, (topic,), words, 1, "0x", "0x", 0)

    logs = [
        log(abi.DEPOSIT, TOKEN, US),
        log(abi.DEPOSIT, OTHER, OTHER),
        log(abi.WITHDRAW, TOKEN, POOL),
        log(abi.DEPOSIT, TOKEN, US),
        log(abi.DEPOSIT, TOKEN, PRIVILEGER),
        log(abi.DEPOSIT, TOKEN, POOL, b"odd"),
    ]
    assert users_of(logs, TOKEN) == [US, PRIVILEGER]
