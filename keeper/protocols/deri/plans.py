"""How a pool is read: plans of pinned reads, without any I/O of their own.

A plan is a generator. It yields the calls it needs next, is sent their results, and returns the record that it read.
``together`` runs plans in lock-step, so ten thousand accounts cost as many rounds of reading as one does, and
``run`` is the only place that talks to a ``Reader``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from eth_utils import keccak

from keeper.errors import ProtocolError
from keeper.model import ReadCall, Reader, ReadResult
from keeper.protocols.deri import abi
from keeper.protocols.deri.abi import Getter
from keeper.protocols.deri.state import (
    ZERO_ADDRESS,
    AccountState,
    Flavour,
    OracleKind,
    OracleState,
    PoolState,
    Position,
    PrivilegerState,
    Stake,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
)

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")

Plan: TypeAlias = Generator[Sequence[ReadCall], list[ReadResult], T]


async def run(plan: Plan[T], reader: Reader, block_hash: str) -> T:
    """Carry a plan out as of the block with that hash."""
    try:
        calls = next(plan)
        while True:
            results = await reader.read(calls, block_hash) if calls else []
            calls = plan.send(results)
    except StopIteration as done:
        value: T = done.value
        return value


def together(plans: Iterable[Plan[T]]) -> Plan[list[T]]:
    """All plans in lock-step: each round is one batch. The results are in the order of the plans."""
    values: dict[int, T] = {}
    waiting: list[tuple[int, Plan[T], Sequence[ReadCall]]] = []

    def advance(index: int, plan: Plan[T], results: list[ReadResult] | None) -> None:
        try:
            calls = next(plan) if results is None else plan.send(results)
        except StopIteration as done:
            values[index] = done.value
        else:
            waiting.append((index, plan, calls))

    count = 0
    for index, plan in enumerate(plans):
        advance(index, plan, None)
        count += 1
    while waiting:
        asked, waiting = waiting, []
        results = yield [call for _, _, calls in asked for call in calls]
        start = 0
        for index, plan, calls in asked:
            end = start + len(calls)
            advance(index, plan, results[start:end])
            start = end
    return [values[index] for index in range(count)]


def both(first: Plan[A], second: Plan[B]) -> Plan[tuple[A, B]]:
    """Two plans of different results in lock-step."""
    left: list[A] = []
    right: list[B] = []
    yield from together([_into(left, first), _into(right, second)])
    return left[0], right[0]


def _into(target: list[T], plan: Plan[T]) -> Plan[None]:
    target.append((yield from plan))


# --- wiring ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wiring:
    """Which contract is reached from which: constant until ``NewImplementation``."""

    pool: str
    flavour: Flavour
    symbol_manager: str
    p_token: str
    oracle_manager: str
    privileger: str
    """The zero address: anyone may liquidate."""
    deri: str
    """The privileger's token; the zero address without a privileger."""
    token_b0: str
    vault_implementation: str = ZERO_ADDRESS
    """Full pool only, as are the rest."""
    v_token_b0: str = ZERO_ADDRESS
    v_token_eth: str = ZERO_ADDRESS
    swapper: str = ZERO_ADDRESS
    comptroller: str = ZERO_ADDRESS
    """Venus' comptroller; the zero address where the vaults can't be taken apart."""
    price_oracle: str = ZERO_ADDRESS
    """Venus' own."""
    foreign_numbers: bool = False
    """``block.number`` is not the chain's own (on Arbitrum it is the parent's)."""


def wiring(pool: str) -> Plan[Wiring]:
    """Find the pool's parts and check that they belong together.

    Raises ``ProtocolError`` when the address is no Deri V3 pool, or when a part points somewhere else.
    """
    getters = (abi.SYMBOL_MANAGER, abi.P_TOKEN, abi.ORACLE_MANAGER, abi.PRIVILEGER, abi.TOKEN_B0)
    results = yield [*(getter.at(pool) for getter in getters), abi.VAULT_IMPLEMENTATION.at(pool)]
    manager, p_token, oracle_manager, privileger, token_b0 = (
        getter.answer(result, pool) for getter, result in zip(getters, results, strict=False)
    )
    vault_implementation = abi.VAULT_IMPLEMENTATION.optional(results[-1])
    flavour = Flavour.LITE if vault_implementation is None else Flavour.FULL

    checks = [
        abi.POOL.at(manager),
        abi.SYMBOLS_LENGTH.at(manager),
        abi.TOTAL_MINTED.at(p_token),
        abi.GET_ORACLE.at(oracle_manager, bytes(32)),
    ]
    if privileger != ZERO_ADDRESS:
        checks.append(abi.DERI.at(privileger))
    results = yield checks
    if (managed := abi.POOL.answer(results[0], manager)) != pool:
        raise ProtocolError(
            f"the symbol manager {manager} to serve the pool {pool}",
            f"it serves {managed}",
            "check the pool's address: a proxy's implementation is no pool of its own",
        )
    abi.SYMBOLS_LENGTH.answer(results[1], manager)
    abi.TOTAL_MINTED.answer(results[2], p_token)
    if results[3].ok:  # it may refuse an id that it does not know, but not answer nothing
        abi.GET_ORACLE.answer(results[3], oracle_manager)
    deri = abi.DERI.answer(results[4], privileger) if privileger != ZERO_ADDRESS else ZERO_ADDRESS
    parts = Wiring(pool, flavour, manager, p_token, oracle_manager, privileger, deri, token_b0)
    if vault_implementation is None:
        return parts
    return (yield from _full_wiring(parts, vault_implementation))


def _full_wiring(parts: Wiring, vault_implementation: str) -> Plan[Wiring]:
    """What a full pool has besides. A vault implementation without Venus' comptroller can't be taken apart."""
    getters = (abi.V_TOKEN_B0, abi.V_TOKEN_ETH, abi.SWAPPER)
    results = yield [*(getter.at(parts.pool) for getter in getters), abi.COMPTROLLER.at(vault_implementation)]
    v_token_b0, v_token_eth, swapper = (
        getter.optional(result) or ZERO_ADDRESS for getter, result in zip(getters, results, strict=False)
    )
    comptroller = abi.COMPTROLLER.optional(results[-1]) or ZERO_ADDRESS
    price_oracle = ZERO_ADDRESS
    if comptroller != ZERO_ADDRESS and v_token_b0 != ZERO_ADDRESS:
        results = yield [abi.COMPTROLLER_ORACLE.at(comptroller)]
        price_oracle = abi.COMPTROLLER_ORACLE.optional(results[0]) or ZERO_ADDRESS
    if price_oracle == ZERO_ADDRESS:
        comptroller = ZERO_ADDRESS
    return Wiring(
        pool=parts.pool,
        flavour=parts.flavour,
        symbol_manager=parts.symbol_manager,
        p_token=parts.p_token,
        oracle_manager=parts.oracle_manager,
        privileger=parts.privileger,
        deri=parts.deri,
        token_b0=parts.token_b0,
        vault_implementation=vault_implementation,
        v_token_b0=v_token_b0,
        v_token_eth=v_token_eth,
        swapper=swapper,
        comptroller=comptroller,
        price_oracle=price_oracle,
    )


# --- pool ------------------------------------------------------------------------------------------------------------


def pool_state(parts: Wiring) -> Plan[PoolState]:
    """The pool's storage and reward parameters, and the manager's ``initialMarginRequired``."""
    getters = (
        abi.LIQUIDITY,
        abi.LPS_PNL,
        abi.CUMULATIVE_PNL_PER_LIQUIDITY,
        abi.MIN_LIQUIDATION_REWARD,
        abi.MAX_LIQUIDATION_REWARD,
        abi.LIQUIDATION_REWARD_CUT_RATIO,
    )
    calls = [getter.at(parts.pool) for getter in getters]
    calls.append(abi.INITIAL_MARGIN_REQUIRED.at(parts.symbol_manager))
    if parts.flavour is Flavour.FULL:
        calls.append(abi.DECIMALS_B0.at(parts.pool))
        calls.append(abi.VAULT_LIQUIDITY_MULTIPLIER.at(parts.vault_implementation))
    results = yield calls
    liquidity, lps_pnl, cumulative, minimum, maximum, cut_ratio = (
        getter.answer(result, parts.pool) for getter, result in zip(getters, results, strict=False)
    )
    decimals_b0, multiplier = 18, 10**18
    if parts.flavour is Flavour.FULL:
        decimals_b0 = abi.DECIMALS_B0.answer(results[7], parts.pool)
        multiplier = abi.VAULT_LIQUIDITY_MULTIPLIER.optional(results[8]) or 10**18
    return PoolState(
        flavour=parts.flavour,
        liquidity=liquidity,
        lps_pnl=lps_pnl,
        cumulative_pnl_per_liquidity=cumulative,
        min_liquidation_reward=minimum,
        max_liquidation_reward=maximum,
        liquidation_reward_cut_ratio=cut_ratio,
        decimals_b0=decimals_b0,
        vault_liquidity_multiplier=multiplier,
        initial_margin_required=abi.INITIAL_MARGIN_REQUIRED.optional(results[6]) or 0,
    )


# --- symbols ---------------------------------------------------------------------------------------------------------

_SYMBOL_KINDS = {
    abi.hex_of(keccak(text="SymbolImplementationFutures")): SymbolKind.FUTURES,
    abi.hex_of(keccak(text="SymbolImplementationOption")): SymbolKind.OPTION,
    abi.hex_of(keccak(text="SymbolImplementationPower")): SymbolKind.POWER,
}
"""``nameId`` of the implementations whose arithmetic is known."""

_COMMON = (
    abi.ALPHA,
    abi.FUNDING_PERIOD,
    abi.INITIAL_MARGIN_RATIO,
    abi.MAINTENANCE_MARGIN_RATIO,
    abi.STARTING_PRICE_SHIFT_LIMIT,
)
_OPTION = (abi.STRIKE_PRICE, abi.MIN_INITIAL_MARGIN_RATIO, abi.IS_CALL)
_RUNNING = (
    abi.NET_VOLUME,
    abi.NET_COST,
    abi.INDEX_PRICE,
    abi.FUNDING_TIMESTAMP,
    abi.CUMULATIVE_FUNDING_PER_VOLUME,
    abi.TRADERS_PNL,
    abi.INITIAL_MARGIN_REQUIRED,
    abi.POSITION_HOLDERS,
    abi.LAST_NET_VOLUME,
    abi.LAST_NET_VOLUME_BLOCK,
)


def symbol_addresses(parts: Wiring) -> Plan[list[str]]:
    """The manager's symbols, in its order."""
    results = yield [abi.SYMBOLS_LENGTH.at(parts.symbol_manager)]
    length = abi.SYMBOLS_LENGTH.answer(results[0], parts.symbol_manager)
    results = yield [abi.INDEXED_SYMBOLS.at(parts.symbol_manager, abi.uint_word(index)) for index in range(length)]
    return [abi.INDEXED_SYMBOLS.answer(result, parts.symbol_manager) for result in results]


def symbol(address: str) -> Plan[Symbol]:
    """A symbol's parameters and running state. One that the engine can't price comes back as ``UNKNOWN``.

    The kind is asked for first: a getter that an implementation lacks reverts without a word, and a reader has to ask
    for such an answer twice.
    """
    results = yield [getter.at(address) for getter in (abi.SYMBOL_ID, abi.SYMBOL_NAME, abi.NAME_ID)]
    symbol_id = abi.SYMBOL_ID.answer(results[0], address)
    name = abi.SYMBOL_NAME.optional(results[1]) or symbol_id
    kind = _SYMBOL_KINDS.get(abi.NAME_ID.optional(results[2]) or "", SymbolKind.UNKNOWN)
    getters: list[Getter[int]] = list(_RUNNING)
    if kind is not SymbolKind.UNKNOWN:
        getters += _COMMON
    if kind is SymbolKind.OPTION:
        getters += _OPTION
    ids = () if kind in (SymbolKind.FUTURES, SymbolKind.UNKNOWN) else (abi.PRICE_ID, abi.VOLATILITY_ID)
    results = yield [getter.at(address) for getter in (*getters, *ids)]
    found = [getter.optional(result) for getter, result in zip(getters, results, strict=False)]
    price_id, volatility_id = symbol_id, None
    if ids:
        price_id = abi.PRICE_ID.optional(results[-2]) or ""
        volatility_id = abi.VOLATILITY_ID.optional(results[-1]) or ""
    if None in found or not price_id or volatility_id == "":
        kind, price_id, volatility_id = SymbolKind.UNKNOWN, symbol_id, None
    figures = [value or 0 for value in found]
    state = SymbolState(*figures[: len(_RUNNING)])
    alpha, period_s, initial, maintenance, shift, strike, minimum, is_call, *_ = (*figures[len(_RUNNING) :], *[0] * 8)
    params = SymbolParams(
        kind=kind,
        name=name,
        symbol_id=symbol_id,
        address=address,
        price_id=price_id,
        volatility_id=volatility_id,
        alpha=alpha,
        funding_period_s=period_s,
        initial_margin_ratio=initial,
        maintenance_margin_ratio=maintenance,
        starting_price_shift_limit=shift,
        strike_price=strike,
        min_initial_margin_ratio=minimum,
        is_call=is_call != 0,
    )
    return Symbol(params, state)


def symbol_state(address: str) -> Plan[SymbolState]:
    """The running state alone."""
    results = yield [getter.at(address) for getter in _RUNNING]
    return SymbolState(*(getter.answer(result, address) for getter, result in zip(_RUNNING, results, strict=True)))


# --- oracles ---------------------------------------------------------------------------------------------------------


_ORACLE_KINDS = {
    abi.hex_of(keccak(text="OracleOffChain")): OracleKind.OFFCHAIN,
    abi.hex_of(keccak(text="OracleChainlink")): OracleKind.CHAINLINK,
    abi.hex_of(keccak(text="OracleWoo")): OracleKind.WOO,
}


@dataclass(frozen=True, slots=True)
class OracleRead:
    """An oracle, and where a Chainlink one's events come from."""

    state: OracleState
    feed: str = ZERO_ADDRESS
    aggregator: str = ZERO_ADDRESS


def oracle(parts: Wiring, oracle_id: str) -> Plan[OracleRead | None]:
    """The oracle that the manager has for this id; None if it has none, or one of an unknown kind."""
    results = yield [abi.GET_ORACLE.at(parts.oracle_manager, abi.word_of(oracle_id))]
    address = abi.GET_ORACLE.optional(results[0]) or ZERO_ADDRESS
    if address == ZERO_ADDRESS:
        return None
    return (yield from oracle_at(oracle_id, address))


def oracle_at(oracle_id: str, address: str) -> Plan[OracleRead | None]:
    """The same, its address being known.

    Off-chain ones have a ``signer`` and a ``delayAllowance``, Chainlink ones a ``feed`` and its ``feedDecimals``, Woo
    ones a ``feed`` alone; ``nameId`` says which to ask for, and where it is a stranger's, what answers decides.
    """
    head = (abi.NAME_ID, abi.SYMBOL_NAME, abi.ORACLE_VALUE, abi.ORACLE_GET_VALUE)
    results = yield [getter.at(address) for getter in head]
    kind = _ORACLE_KINDS.get(abi.NAME_ID.optional(results[0]) or "")
    name = abi.SYMBOL_NAME.optional(results[1]) or oracle_id
    # ``value`` may revert where ``getValue`` does; the fault then says why, and the figure is not used.
    value = abi.ORACLE_VALUE.optional(results[2]) or 0
    fault = "" if results[3].ok else abi.revert_reason(results[3].data)
    if kind is None:
        kind = yield from _oracle_kind(address)
    if kind is OracleKind.OFFCHAIN:
        results = yield [
            abi.ORACLE_TIMESTAMP.at(address),
            abi.DELAY_ALLOWANCE.at(address),
            abi.ORACLE_SIGNER.at(address),
        ]
        read_at, allowance = abi.ORACLE_TIMESTAMP.optional(results[0]), abi.DELAY_ALLOWANCE.optional(results[1])
        signer = abi.ORACLE_SIGNER.optional(results[2])
        if read_at is None or allowance is None or signer is None:
            return None
        return OracleRead(OracleState(kind, oracle_id, name, address, value, read_at, allowance, signer))
    if kind is OracleKind.WOO:
        return OracleRead(OracleState(kind, oracle_id, name, address, value, fault=fault))
    if kind is None:
        return None
    results = yield [abi.FEED.at(address), abi.ORACLE_TIMESTAMP.at(address)]
    feed = abi.FEED.optional(results[0])
    if feed is None:
        return None
    timestamp = abi.ORACLE_TIMESTAMP.optional(results[1]) or 0
    results = yield [abi.AGGREGATOR.at(feed)]
    # A feed without a proxy before it is its own aggregator.
    aggregator = abi.AGGREGATOR.optional(results[0]) or feed
    return OracleRead(OracleState(kind, oracle_id, name, address, value, timestamp, fault=fault), feed, aggregator)


def _oracle_kind(address: str) -> Plan[OracleKind | None]:
    """What an oracle is by what it answers to."""
    results = yield [getter.at(address) for getter in (abi.DELAY_ALLOWANCE, abi.FEED_DECIMALS)]
    if abi.DELAY_ALLOWANCE.optional(results[0]) is not None:
        return OracleKind.OFFCHAIN
    if abi.FEED_DECIMALS.optional(results[1]) is not None:
        return OracleKind.CHAINLINK
    results = yield [abi.FEED.at(address)]
    return None if abi.FEED.optional(results[0]) is None else OracleKind.WOO


def oracle_value(read: OracleRead) -> Plan[OracleRead]:
    """The value alone of an oracle that announces nothing."""
    address = read.state.address
    results = yield [abi.ORACLE_VALUE.at(address), abi.ORACLE_GET_VALUE.at(address)]
    fault = "" if results[1].ok else abi.revert_reason(results[1].data)
    return replace(read, state=replace(read.state, value=abi.ORACLE_VALUE.optional(results[0]) or 0, fault=fault))


# --- accounts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountRead:
    """An account without its vault's contents, which another plan reads."""

    state: AccountState
    vault: str = ZERO_ADDRESS


def total_minted(parts: Wiring) -> Plan[int]:
    """How many traders there have ever been: their tokens are numbered from one."""
    results = yield [abi.TOTAL_MINTED.at(parts.p_token)]
    return abi.TOTAL_MINTED.answer(results[0], parts.p_token)


def account(
    parts: Wiring, p_token_id: int, ids: Mapping[str, str], guess: Iterable[str] = ()
) -> Plan[AccountRead | None]:
    """One trader, None if the pToken does not exist (``exists`` is no more than an owner that isn't zero).

    ``ids`` maps symbol addresses to symbol ids. ``guess`` are symbol addresses that the account probably holds: when it
    holds no others, one round of reading is enough. A symbol that the manager no longer lists, or that does not tell
    the position, goes by its address, which no symbol of the market matches: the account is then not assessable.
    """
    token = abi.uint_word(p_token_id)
    guessed = list(dict.fromkeys(guess))
    results = yield [
        abi.OWNER_OF.at(parts.p_token, token),
        abi.TD_INFOS.at(parts.pool, token),
        abi.ACTIVE_SYMBOLS.at(parts.symbol_manager, token),
        *(abi.POSITIONS.at(address, token) for address in guessed),
    ]
    owner = abi.OWNER_OF.optional(results[0]) or ZERO_ADDRESS
    if owner == ZERO_ADDRESS:
        return None
    vault, amount_b0 = abi.TD_INFOS.answer(results[1], parts.pool)
    active = abi.ACTIVE_SYMBOLS.answer(results[2], parts.symbol_manager)
    positions = dict(zip(guessed, results[3:], strict=True))
    if missing := [address for address in active if address not in positions]:
        more = yield [abi.POSITIONS.at(address, token) for address in missing]
        positions |= dict(zip(missing, more, strict=True))
    held = tuple(_position(address, ids, abi.POSITIONS.optional(positions[address])) for address in active)
    return AccountRead(AccountState(p_token_id, owner, amount_b0, held), vault)


def _position(address: str, ids: Mapping[str, str], figures: tuple[int, int, int] | None) -> Position:
    if figures is None:
        return Position(address.lower(), 0, 0, 0)
    return Position(ids.get(address, address.lower()), *figures)


# --- privileger ------------------------------------------------------------------------------------------------------


def privileger_state(parts: Wiring, liquidators: Sequence[str]) -> Plan[PrivilegerState | None]:
    """The stakes, as far as they decide about these liquidators. None: the pool has no privileger."""
    where = parts.privileger
    if where == ZERO_ADDRESS:
        return None
    deri = abi.address_word(parts.deri)
    results = yield [
        abi.MIN_LOCK_TIME.at(where),
        abi.MIN_DEPOSIT_AMOUNT.at(where),
        abi.STAKES_TOTAL.at(where, deri),
        abi.STAKES_COUNT.at(where, deri),
        *(abi.STAKES.at(where, deri, abi.address_word(user)) for user in liquidators),
        *(abi.STAKE_TIMESTAMPS.at(where, deri, abi.address_word(user)) for user in liquidators),
    ]
    count = len(liquidators)
    amounts, timestamps = results[4 : 4 + count], results[4 + count :]
    return PrivilegerState(
        min_lock_time_s=abi.MIN_LOCK_TIME.answer(results[0], where),
        min_deposit_amount=abi.MIN_DEPOSIT_AMOUNT.answer(results[1], where),
        stakes_total=abi.STAKES_TOTAL.answer(results[2], where),
        stakes_count=abi.STAKES_COUNT.answer(results[3], where),
        stakes={
            user: Stake(abi.STAKES.answer(amount, where), abi.STAKE_TIMESTAMPS.answer(timestamp, where))
            for user, amount, timestamp in zip(liquidators, amounts, timestamps, strict=True)
        },
    )
