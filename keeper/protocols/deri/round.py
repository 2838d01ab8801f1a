"""A what-if copy of a Deri market for the block that comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from keeper.errors import ProtocolError
from keeper.fixed import rescale
from keeper.model import Assessment, Verdict, Window
from keeper.protocols.deri import readings, settle
from keeper.protocols.deri.abi import encode_liquidate, signatures_of
from keeper.protocols.deri.book import Book
from keeper.protocols.deri.gas import gas_limit
from keeper.protocols.deri.outlook import Outlook
from keeper.protocols.deri.price_server import SignedReading
from keeper.protocols.deri.state import AccountState, MarketState, OracleKind, OracleSignature
from keeper.protocols.market import ContractCall


class DeriRound:
    """Owns the scratch state of one round.

    The book screens, the outlook judges. ``fresher`` are the signed readings that the outlook's market already counts
    with, so a transaction has to bring along those of its account's symbols.
    """

    def __init__(
        self, pool: str, mirrored: MarketState, outlook: Outlook, book: Book, fresher: Mapping[str, SignedReading]
    ) -> None:
        """``mirrored`` is the market as the chain has it, without the readings."""
        self._pool = pool
        self._mirrored = mirrored
        self._outlook = outlook
        self._book = book
        self._fresher = fresher
        self._closed: set[str] = set()
        self._sent: dict[tuple[tuple[str, int], ...], Outlook] = {}
        """By the readings that are on their way, what they lead to."""

    def candidates(self) -> Sequence[str]:
        """Accounts that may be liquidatable in the window, the one with the most left first: rewards rise with it."""
        outlook = self._outlook
        found = self._book.screen(outlook.first, outlook.last).candidates
        accounts = outlook.market.accounts
        left = {key: settle.decide(outlook.first, accounts[key]).margin for key in found}
        return [str(key) for key in sorted(found, key=lambda key: (-left[key], key)) if str(key) not in self._closed]

    def assess(self, account: str) -> Assessment:
        """The exact verdict: the contract's own answer at every second of the window."""
        pool = self._outlook.market.pool
        holder = self._account(account)
        if holder is None:
            return Assessment(account, Verdict.UNASSESSABLE, settle.pool_revert(pool.flavour, settle.NONEXISTENT))
        if account in self._closed:
            return Assessment(account, Verdict.HEALTHY, settle.pool_revert(pool.flavour, settle.NO_POSITION))
        judged = self._outlook.judge(holder)
        return Assessment(
            account=account,
            verdict=judged.verdict,
            reason=judged.reason,
            margin_e18=judged.margin,
            required_e18=judged.required,
            reward_b0=judged.reward_b0,
            value_e18=rescale(judged.reward_b0, pool.decimals_b0, 18),
            gas=gas_limit(pool.flavour, holder, len(self._signatures(holder))),
        )

    def assess_sent(self, account: str, data: bytes) -> Assessment:
        """The verdict by the readings in the call data, where the chain has no newer ones yet.

        The others that are on their way are left out: they were sent because all pass in their order.
        """
        holder = self._account(account)
        if holder is None:
            return self.assess(account)
        carried = {}
        for signature in signatures_of(data):
            oracle = self._mirrored.oracles.get(signature.oracle_id)
            if oracle is None or oracle.kind is not OracleKind.OFFCHAIN:
                return Assessment(account, Verdict.UNASSESSABLE, readings.takes_none(signature.oracle_id, oracle))
            if signature.timestamp > oracle.timestamp:
                carried[signature.oracle_id] = signature
        key = tuple(sorted((oracle_id, signature.timestamp) for oracle_id, signature in carried.items()))
        if key not in self._sent:
            here = self._outlook
            window = Window(here.number, here.earliest, here.latest)
            self._sent[key] = Outlook(with_signatures(self._mirrored, carried), window, here)
        judged = self._sent[key].judge(holder)
        gas = gas_limit(self._mirrored.pool.flavour, holder, len(self._signatures(holder)))
        return Assessment(account, judged.verdict, judged.reason, judged.margin, judged.required, gas=gas)

    def close(self, account: str) -> None:
        """Assume the account liquidated: pool, symbols and guard move as the contract would move them."""
        holder = self._account(account)
        if holder is None or account in self._closed:
            return
        self._outlook.close(holder)
        self._closed.add(account)

    def call(self, account: str) -> ContractCall:
        """``liquidate`` with the signatures that bring the account's own oracles up to the prices assumed here."""
        holder = self._account(account)
        if holder is None:
            raise ProtocolError("an account of this market", f"{account} came", "ask for one of the candidates")
        signatures = self._signatures(holder)
        return ContractCall(
            to=self._pool,
            data=encode_liquidate(holder.p_token_id, signatures),
            gas_limit=gas_limit(self._outlook.market.pool.flavour, holder, len(signatures)),
        )

    def _account(self, account: str) -> AccountState | None:
        return self._outlook.market.accounts.get(int(account))

    def _signatures(self, holder: AccountState) -> list[bytes]:
        """One for every price and volatility that the account's settlement reads and that is newer than the chain's."""
        needed: dict[str, None] = {}
        for position in holder.positions:
            symbol = self._outlook.market.symbols.get(position.symbol_id)
            if symbol is not None:
                needed[symbol.params.price_id] = None
                if symbol.params.volatility_id is not None:
                    needed[symbol.params.volatility_id] = None
        return [self._fresher[oracle_id].encoded for oracle_id in needed if oracle_id in self._fresher]


def with_readings(state: MarketState, fresher: Mapping[str, SignedReading]) -> MarketState:
    """The market once the oracles have taken these readings."""
    return with_signatures(state, {oracle_id: reading.signature for oracle_id, reading in fresher.items()})


def with_signatures(state: MarketState, signatures: Mapping[str, OracleSignature]) -> MarketState:
    """The market once the oracles have taken these readings, by oracle id."""
    if not signatures:
        return state
    oracles = dict(state.oracles)
    for oracle_id, reading in signatures.items():
        oracles[oracle_id] = replace(oracles[oracle_id], value=reading.value, timestamp=reading.timestamp)
    return replace(state, oracles=oracles)
