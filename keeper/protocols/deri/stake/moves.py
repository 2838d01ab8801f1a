"""Depositing and withdrawing: refused with a sentence before anything is sent, or carried out step by step.

Every transaction is rehearsed by ``eth_call`` first. A token's answer counts too: some return false where a decent
one reverts. Approved is exactly what is deposited, so no allowance is left behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from eth_utils import keccak

from keeper.chain.answers import Json, RpcError, octets, quantity
from keeper.chain.reverts import reason_of
from keeper.errors import ChainError
from keeper.model import Log, Outcome
from keeper.protocols.deri import abi
from keeper.protocols.deri.plans import Wiring
from keeper.protocols.deri.privileger import stake_of
from keeper.protocols.deri.stake.account import StakeReading
from keeper.protocols.deri.stake.amounts import StakeError, format_amount
from keeper.protocols.deri.stake.plan import after_withdrawal, reaches_average

_APPROVE, _TRANSFER, _TRANSFER_FROM, _DEPOSIT, _WITHDRAW = (
    keccak(text=signature)[:4]
    for signature in (
        "approve(address,uint256)",
        "transfer(address,uint256)",
        "transferFrom(address,address,uint256)",
        "deposit(uint256)",
        "withdraw(uint256)",
    )
)


@dataclass(frozen=True, slots=True)
class Move:
    """One transaction of a deposit or a withdrawal. ``gas_limit`` is known once it was rehearsed."""

    action: str
    """``approve``, ``deposit`` or ``withdraw``."""
    to: str
    data: bytes
    gas_limit: int = 0


Send = Callable[[Move], Awaitable[Outcome]]
"""Carry a move out and wait for its receipt. Raises ``ChainError`` unless it was mined and did not revert."""


class Node(Protocol):
    """As much of ``keeper.chain.rpc.Rpc`` as a rehearsal needs."""

    async def request(self, method: str, params: list[Json]) -> Json: ...


def approve(parts: Wiring, amount: int) -> Move:
    return Move("approve", parts.deri, _APPROVE + abi.address_word(parts.privileger) + abi.uint_word(amount))


def deposit(parts: Wiring, amount: int) -> Move:
    return Move("deposit", parts.privileger, _DEPOSIT + abi.uint_word(amount))


def withdrawal(parts: Wiring, amount: int) -> Move:
    return Move("withdraw", parts.privileger, _WITHDRAW + abi.uint_word(amount))


# --- what is refused without asking the chain again ------------------------------------------------------------------


def check_deposit(reading: StakeReading, signer: str, amount: int) -> None:
    """Raises ``StakeError`` for a deposit that the privileger would not take, or that the wallet does not hold."""
    token, least, balance = reading.token, reading.privileger.min_deposit_amount, reading.wallets[signer].balance
    if amount < least:
        raise StakeError(
            f"at least {format_amount(least, token.decimals)} {token.symbol}, the least that the privileger takes",
            f"{format_amount(amount, token.decimals)} came",
            "deposit more; `keeper stake plan` says how much helps",
        )
    if amount > balance:
        raise StakeError(
            f"{format_amount(amount, token.decimals)} {token.symbol} in the wallet {signer}",
            f"it holds {format_amount(balance, token.decimals)}",
            "send it the rest, or deposit less",
        )


def check_withdrawal(reading: StakeReading, signer: str, amount: int, *, force: bool) -> None:
    """Raises ``StakeError`` for more than is staked, and, unless forced, for what leaves too little to qualify."""
    token, state = reading.token, reading.privileger
    staked = stake_of(state, signer).amount
    if amount > staked:
        raise StakeError(
            f"at most the {format_amount(staked, token.decimals)} {token.symbol} that {signer} has staked",
            f"{format_amount(amount, token.decimals)} came",
            "withdraw less",
        )
    if not force and disqualifies(reading, signer, amount):
        raise StakeError(
            "a withdrawal that leaves the stake no less than the average",
            f"{format_amount(staked - amount, token.decimals)} {token.symbol} would be left, which is below it",
            "withdraw less, or repeat it with --force: the keeper then can't liquidate with this signer",
        )


def disqualifies(reading: StakeReading, signer: str, amount: int) -> bool:
    """Whether a stake that is no less than the average falls below it by a withdrawal, the lock left aside."""
    state = reading.privileger
    return reaches_average(state, signer) and not reaches_average(after_withdrawal(state, signer, amount), signer)


# --- carrying it out -------------------------------------------------------------------------------------------------


async def carry_out_deposit(reading: StakeReading, signer: str, amount: int, node: Node, send: Send) -> list[Outcome]:
    """Approve what is needed and deposit it; what was mined, in order.

    Raises ``StakeError`` if it is refused, with nothing sent but perhaps the approval, which the sentence then says.
    """
    check_deposit(reading, signer, amount)
    parts, allowance = reading.parts, reading.wallets[signer].allowance
    block = hex(reading.head.number)
    await _require_true(node, signer, _transfer(parts, parts.privileger, amount), block)
    done: list[Outcome] = []
    if allowance != amount:
        exactly = approve(parts, amount)
        if allowance and not await _is_true(node, signer, exactly, block):
            # Some tokens change an allowance only by way of zero.
            done.append(await send(await rehearsed(node, signer, approve(parts, 0), block)))
            block = _block_of(done[-1])
        done.append(await send(await rehearsed(node, signer, exactly, block)))
        block = _block_of(done[-1])
    try:
        await _require_true(node, parts.privileger, _transfer_from(parts, signer, amount), block)
        move = await rehearsed(node, signer, deposit(parts, amount), block)
    except StakeError as error:
        if not done:
            raise
        left = f"{error.remedy}; an allowance of exactly this amount is left to the privileger"
        raise StakeError(error.expected, error.came, left) from None
    done.append(await send(move))
    _require_event(done[-1], abi.DEPOSIT, parts, signer, amount)
    return done


async def carry_out_withdrawal(
    reading: StakeReading, signer: str, amount: int, node: Node, send: Send, *, force: bool = False
) -> list[Outcome]:
    """Withdraw; what was mined. Raises ``StakeError`` if it is refused: then nothing was sent."""
    check_withdrawal(reading, signer, amount, force=force)
    parts, block = reading.parts, hex(reading.head.number)
    await _require_true(node, parts.privileger, _transfer(parts, signer, amount), block)
    done = await send(await rehearsed(node, signer, withdrawal(parts, amount), block))
    _require_event(done, abi.WITHDRAW, parts, signer, amount)
    return [done]


async def rehearsed(node: Node, signer: str, move: Move, block: str) -> Move:
    """The move with a gas limit, rehearsed on the state of ``block``. Raises ``StakeError`` if it would fail."""
    if move.action == "approve":
        await _require_true(node, signer, move, block)
    else:
        await _call(node, signer, move, block)
    estimate = quantity(await node.request("eth_estimateGas", [_request(signer, move)]))
    # The state may have moved by the time it is mined.
    return replace(move, gas_limit=estimate * 3 // 2)


async def _require_true(node: Node, sender: str, move: Move, block: str) -> None:
    if not await _is_true(node, sender, move, block):
        raise StakeError(
            f"the token {move.to} to carry out `{move.action}`",
            "it answers false, where a decent token reverts",
            "look at the token: it may be paused, or this address may be barred",
        )


async def _is_true(node: Node, sender: str, move: Move, block: str) -> bool:
    """Whether a token's call succeeds by its own word. Old tokens that answer nothing at all are believed."""
    answer = await _call(node, sender, move, block)
    return not answer or (len(answer) >= 32 and abi.uint_at(answer, 0) == 1)


async def _call(node: Node, sender: str, move: Move, block: str) -> bytes:
    try:
        return octets(await node.request("eth_call", [_request(sender, move), block]))
    except RpcError as error:
        said = reason_of(error.revert_data) or error.message
        raise StakeError(
            f"`{move.action}` at {move.to} to succeed", f"it would revert: {said}", "correct that first"
        ) from None


def _request(sender: str, move: Move) -> dict[str, Json]:
    return {"from": sender, "to": move.to, "data": "0x" + move.data.hex()}


def _transfer(parts: Wiring, receiver: str, amount: int) -> Move:
    return Move("transfer", parts.deri, _TRANSFER + abi.address_word(receiver) + abi.uint_word(amount))


def _transfer_from(parts: Wiring, owner: str, amount: int) -> Move:
    words = abi.address_word(owner) + abi.address_word(parts.privileger) + abi.uint_word(amount)
    return Move("transferFrom", parts.deri, _TRANSFER_FROM + words)


def _block_of(outcome: Outcome) -> str:
    return "latest" if outcome.block_number is None else hex(outcome.block_number)


def _require_event(outcome: Outcome, topic: bytes, parts: Wiring, signer: str, amount: int) -> None:
    """``Deposit`` and ``Withdraw`` carry (token, user, amount), nothing indexed."""
    words = abi.address_word(parts.deri) + abi.address_word(signer) + abi.uint_word(amount)
    if not any(_is_event(log, parts.privileger, topic, words) for log in outcome.logs):
        raise ChainError(
            f"the privileger's event in transaction {outcome.transaction_hash}",
            "it was mined without it",
            "see `keeper stake status` for what the privileger holds now",
        )


def _is_event(log: Log, privileger: str, topic: bytes, words: bytes) -> bool:
    return log.address == privileger and log.topics[:1] == (topic,) and log.data == words
