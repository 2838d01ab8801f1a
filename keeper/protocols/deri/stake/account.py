"""What the chain says about the stakes of a pool's privileger, as of one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keeper.errors import ProtocolError
from keeper.model import Header, Reader
from keeper.protocols.deri import abi, plans
from keeper.protocols.deri.plans import Plan, Wiring
from keeper.protocols.deri.state import ZERO_ADDRESS, PrivilegerState


@dataclass(frozen=True, slots=True)
class Token:
    """The token that is staked. Amounts of it are raw units of ``decimals``."""

    address: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """What an address holds of the token, and how much of it the privileger may take."""

    balance: int
    allowance: int


@dataclass(frozen=True, slots=True)
class StakeReading:
    """Everything about the stakes that concerns the signers, true at ``head``."""

    head: Header
    parts: Wiring
    token: Token
    privileger: PrivilegerState
    wallets: Mapping[str, Wallet]
    """By signer, as are the stakes in ``privileger`` at least."""
    stakers: Mapping[str, int] | None = None
    """Every stake by address; None if it is not known who they are."""


async def read_stakes(pool: str, signers: Sequence[str], reader: Reader, head: Header) -> StakeReading | None:
    """Read the pool's privileger. None if it has none: then anyone may liquidate.

    Raises ``ProtocolError`` when the pool, its privileger or the token is not what it should be (no code, say).
    """
    parts = await plans.run(plans.wiring(pool), reader, head.hash)
    if parts.privileger == ZERO_ADDRESS:
        return None
    token, state, wallets = await plans.run(_stakes(parts, signers), reader, head.hash)
    return StakeReading(head, parts, token, state, wallets)


async def read_stakers(reading: StakeReading, users: Sequence[str], reader: Reader) -> StakeReading:
    """The same with every stake, ``users`` being all that ever deposited. Unchanged if they don't make up the total."""
    state = await plans.run(plans.privileger_state(reading.parts, users), reader, reading.head.hash)
    amounts = {user: stake.amount for user, stake in state.stakes.items() if stake.amount} if state else {}
    privileger = reading.privileger
    if (sum(amounts.values()), len(amounts)) != (privileger.stakes_total, privileger.stakes_count):
        return reading
    return replace(reading, stakers=amounts)


def _stakes(parts: Wiring, signers: Sequence[str]) -> Plan[tuple[Token, PrivilegerState, dict[str, Wallet]]]:
    (token, wallets), state = yield from plans.both(_token(parts, signers), plans.privileger_state(parts, signers))
    if state is None:
        raise ProtocolError("a privileger", "the pool has none", "nobody needs a stake there")
    return token, state, wallets


def _token(parts: Wiring, signers: Sequence[str]) -> Plan[tuple[Token, dict[str, Wallet]]]:
    deri = parts.deri
    spender = abi.address_word(parts.privileger)
    owners = [abi.address_word(signer) for signer in signers]
    results = yield [
        abi.DECIMALS.at(deri),
        abi.SYMBOL_NAME.at(deri),
        *(abi.BALANCE_OF.at(deri, owner) for owner in owners),
        *(abi.ALLOWANCE.at(deri, owner, spender) for owner in owners),
    ]
    decimals = abi.DECIMALS.answer(results[0], deri)
    balances, allowances = results[2 : 2 + len(owners)], results[2 + len(owners) :]
    wallets = {
        signer: Wallet(abi.BALANCE_OF.answer(balance, deri), abi.ALLOWANCE.answer(allowance, deri))
        for signer, balance, allowance in zip(signers, balances, allowances, strict=True)
    }
    return Token(deri, abi.SYMBOL_NAME.optional(results[1]) or "DERI", decimals), wallets
