"""The mirror of one vault: its positions, its running figures and settings, and the prices it goes by.

Events say what is dirty. Positions come from events alone where those say everything (absolute values, in the head's
own block); what else is dirty is read at the head's hash, together with the prices. Settings emit nothing and are read
again at a rhythm. A block that holds nothing but price events that are understood costs no read at all.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

import structlog

from keeper.errors import ProtocolError, StoreError
from keeper.model import Advance, Header, History, LogFilter, Reader, Row
from keeper.protocols.meridian import events
from keeper.protocols.meridian.book import Book
from keeper.protocols.meridian.feeds import Feeds
from keeper.protocols.meridian.reads import Answer, Batch
from keeper.protocols.meridian.state import Access, Params, Position, Timelock, Token, Vault
from keeper.protocols.meridian.wiring import Wiring, discover

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_PATIENCE = 3
"""A price in the settings' way makes them wait for this many times their rhythm at most."""
_TOPICS = events.POSITION_TOPICS | events.TOKEN_TOPICS
_ALL_TOPICS = _TOPICS | {events.SET_LIQUIDATOR, events.ANSWER_UPDATED, events.PRICE_UPDATE}
_PARAMS = (
    "maxLeverage()",
    "liquidationFeeUsd()",
    "marginFeeBasisPoints()",
    "minProfitTime()",
    "fundingInterval()",
    "fundingRateFactor()",
    "stableFundingRateFactor()",
)
_TOKEN_SETTINGS = ("tokenDecimals(address)", "stableTokens(address)", "minProfitBasisPoints(address)")
_TOKEN_FIGURES = (
    "poolAmounts(address)",
    "reservedAmounts(address)",
    "feeReserves(address)",
    "guaranteedUsd(address)",
    "globalShortSizes(address)",
    "cumulativeFundingRates(address)",
    "lastFundingTimes(address)",
)


@dataclass(slots=True)
class _Dirty:
    """What the logs say may have changed since the last successful read."""

    positions: dict[str, Position] = field(default_factory=dict)
    """To be read, by key; the value says whose they are."""
    tokens: set[str] = field(default_factory=set)
    settings: bool = False
    prices: bool = False
    rounds: bool = False


class Mirror:
    """Owns the records of one vault. The records are immutable; they are replaced as the chain moves."""

    def __init__(
        self,
        market: str,
        vault: str,
        manager: str | None,
        history: History,
        *,
        liquidators: Sequence[str] = (),
        start_block: int = 0,
        settings_every_s: int = 10,
    ) -> None:
        self.positions: dict[str, Position] = {}
        self.book = Book()
        self.feeds = Feeds(market)
        self.unreadable: dict[str, str] = {}
        """Tokens whose figures the chain does not give, and why."""
        self._log = _log.bind(market=market)
        self._address = vault
        self._manager = manager
        self._history = history
        self._liquidators = tuple(liquidators)
        self._start_block = start_block
        self._settings_every_s = settings_every_s
        self._settings_at = 0
        self._wiring: Wiring | None = None
        self._params: Params | None = None
        self._tokens: dict[str, Token] = {}
        self._access: Access | None = None
        self._head: Header | None = None
        self._dirty = _Dirty()
        self._behind = False
        self._unsaved: set[tuple[str, str]] | None = None
        """Rows changed since they were last asked for; None: all."""

    # What it knows

    @property
    def head(self) -> Header:
        """The block as of which everything here is true."""
        return _known(self._head)

    @property
    def vault(self) -> Vault:
        return Vault(_known(self._params), self._tokens)

    @property
    def access(self) -> Access:
        return _known(self._access)

    @property
    def wiring(self) -> Wiring:
        return _known(self._wiring)

    def log_filter(self) -> LogFilter:
        """Every address whose events make something here dirty."""
        addresses = {self._address} | ({self._manager} if self._manager else set())
        if self._wiring is not None:
            addresses |= self._wiring.emitters().keys()
            addresses |= {self._wiring.fast_events} if self._wiring.fast_events else set()
        return LogFilter(frozenset(addresses), frozenset(_ALL_TOPICS))

    async def audit(self, reader: Reader, positions: int) -> list[str]:
        """Read so many positions, drawn at random, anew at ``head``; those that differ from what is known, by key."""
        sample = random.sample(sorted(self.positions), min(positions, len(self.positions)))
        batch = Batch()
        asked = {key: batch.ask(self._address, "positions(bytes32)", key) for key in sample}
        await batch.read(reader, self.head.hash)
        return [key for key, answer in asked.items() if _position(self.positions[key], answer) != self.positions[key]]

    # How it comes to know it

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Find the open positions in the vault's past events and read everything else at ``head``.

        Raises ``ProtocolError`` if the contracts are not what they should be.
        """
        wanted = LogFilter(frozenset({self._address}), frozenset(events.POSITION_TOPICS))
        past = await self._history.logs(wanted, self._start_block, head)
        records = [events.Record(log.topics[0], log.data, 0) for log in past if events.is_whole(log)]
        opened = events.fold(records, funding_interval=1).positions
        self._drop_positions()
        self._wiring = None
        self._dirty = _Dirty(positions=dict(opened), settings=True, rounds=True)
        self._unsaved = None
        await self._read(reader, head)

    async def apply(self, advance: Advance, reader: Reader) -> None:
        """Bring everything to ``advance.head``."""
        head = advance.head
        told = self._told(advance)
        self._mark(advance)
        dirty = self._dirty
        age_s = head.timestamp - self._settings_at
        overdue = age_s >= _PATIENCE * self._settings_every_s
        unread = dirty.positions or dirty.tokens or dirty.settings or dirty.prices or self._behind or overdue
        # What moves without an event is read at every block that tells nothing.
        told_by_all = len({log.block_hash for log in advance.logs}) == head.number - self.head.number
        if not unread and advance.logs and told_by_all and self.feeds.knows(advance.logs, self.wiring, head):
            self.feeds.move(advance.logs, self.wiring, head)
            self._head = head
            return
        # They emit nothing, so a reorg may have undone what was read of them.
        dirty.settings |= age_s >= self._settings_every_s or age_s < 0 or bool(advance.undone)
        dirty.prices = True
        dirty.rounds |= bool(advance.undone)
        self._behind = True
        if self._wiring is not None:
            self.feeds.move(advance.logs, self._wiring, head)
        if advance.undone:
            self.feeds.doubt()
        await self._read(reader, head, told)
        self._behind = False

    def _told(self, advance: Advance) -> list[events.Record]:
        """The position events, if they alone say how the positions stand; else nothing.

        They do when all of them are of the head's block: then its second is the time of every increase.
        """
        if advance.undone or self._behind:
            return []
        ours = [log for log in advance.logs if log.topics and log.topics[0] in events.POSITION_TOPICS]
        if any(log.block_hash != advance.head.hash or not events.is_whole(log) for log in ours):
            return []
        return [events.Record(log.topics[0], log.data, advance.head.timestamp) for log in ours]

    def _mark(self, advance: Advance) -> None:
        for log in (*advance.undone, *advance.logs):
            topic = log.topics[0] if log.topics else b""
            if not events.is_whole(log):
                self._log.error(
                    "an event can't be read: every position is read again", transaction=log.transaction_hash
                )
                self._dirty.positions = self.positions | self._dirty.positions
                self._dirty.settings = True
            elif topic in events.TOKEN_TOPICS:
                self._dirty.tokens.add(events.address_at(log.data, 0))
            elif topic in events.POSITION_TOPICS:
                named = events.identity_of(topic, log.data) or self.positions.get(events.key_at(log.data))
                if named is not None:
                    # The first update of a token's funding clock emits nothing of its own.
                    self._dirty.tokens |= {named.collateral_token, named.index_token}
                    self._dirty.positions.setdefault(events.key_at(log.data), named)
            elif topic == events.SET_LIQUIDATOR:
                self._dirty.settings = True

    def _fold(self, told: Sequence[events.Record]) -> None:
        touched = {events.key_at(record.data): self.positions.get(events.key_at(record.data)) for record in told}
        before = events.Ledger({key: position for key, position in touched.items() if position is not None}, {})
        after = events.fold(told, self.vault.params.funding_interval, before).positions
        for key in touched:
            self._put(key, after.get(key))

    async def _read(self, reader: Reader, head: Header, told: Sequence[events.Record] = ()) -> None:
        """Read what is dirty at ``head`` and take it over; if that fails, nothing has changed and all stays dirty.

        Positions that the events in ``told`` tell whole are not read.
        """
        dirty = self._dirty
        named = dirty.tokens | {t for p in dirty.positions.values() for t in (p.collateral_token, p.index_token)}
        if self._wiring is None or not named <= set(self._wiring.tokens):
            await self._rewire(reader, head)
        wiring = self.wiring
        batch = Batch()
        taking: list[Callable[[], None]] = []
        if dirty.settings:
            taking.append(self._ask_settings(batch, wiring))
            taking.append(self.feeds.ask_terms(batch, wiring))
            dirty.tokens |= set(wiring.tokens)
        taking.append(self._ask_tokens(batch, dirty.tokens, settings=dirty.settings))
        tells = {events.key_at(record.data) for record in told}
        taking.append(self._ask_positions(batch, {k: p for k, p in dirty.positions.items() if k not in tells}))
        take_prices = self.feeds.ask_prices(batch, wiring)
        rewired = self._ask_wiring(batch, wiring) if dirty.settings else lambda: False
        await batch.read(reader, head.hash)
        if rewired():
            self._log.warning("the vault's contracts were exchanged: the market is wired anew")
            await self._rewire(reader, head)
            await self._read(reader, head, told)
            return
        for take in taking:
            take()
        self._fold(told)
        take_prices(head.timestamp)
        if dirty.rounds:
            await self.feeds.learn_rounds(reader, head.hash, wiring)
        if dirty.settings:
            self._settings_at = head.timestamp
        self._dirty = _Dirty()
        self._head = head

    async def _rewire(self, reader: Reader, head: Header) -> None:
        named = {t for p in self._dirty.positions.values() for t in (p.collateral_token, p.index_token)}
        more = frozenset(named | self._dirty.tokens | self._tokens.keys())
        self._wiring = await discover(reader, head.hash, self._address, self._manager, more)
        self._dirty.settings = self._dirty.rounds = True

    def _ask_wiring(self, batch: Batch, wiring: Wiring) -> Callable[[], bool]:
        feed = wiring.price_feed
        governor, price_feed = batch.ask(self._address, "gov()"), batch.ask(self._address, "priceFeed()")
        rules, count = (
            batch.ask(self._address, "vaultUtils()"),
            batch.ask(self._address, "allWhitelistedTokensLength()"),
        )
        secondary, enabled = batch.ask(feed, "secondaryPriceFeed()"), batch.ask(feed, "isSecondaryPriceEnabled()")
        sources = {token: batch.ask(feed, "priceFeeds(address)", token) for token in wiring.sources}
        emitters = {token: batch.ask(source.address, "aggregator()") for token, source in wiring.sources.items()}

        def moved(answer: Answer, known: str) -> bool:
            return answer.ok and answer.address() != known

        def rewired() -> bool:
            uses_fast = secondary.ok and enabled.ok and enabled.flag() and secondary.uint() != 0
            fast = secondary.address() if uses_fast else None
            if moved(rules, wiring.rules):
                self._log.error(
                    "the vault's rules were exchanged: the keeper's may not be theirs any more",
                    was=wiring.rules,
                    now=rules.address(),
                    remedy="compare them, rehearse, and stop this market until then",
                )
            return (
                moved(governor, wiring.governor)
                or moved(rules, wiring.rules)
                or moved(price_feed, wiring.price_feed)
                or count.uint() != wiring.listed
                or fast != wiring.secondary_feed
                or any(moved(answer, wiring.sources[token].address) for token, answer in sources.items())
                or any(moved(answer, wiring.sources[token].emitter) for token, answer in emitters.items())
            )

        return rewired

    def _ask_settings(self, batch: Batch, wiring: Wiring) -> Callable[[], None]:
        vault, manager, governor = wiring.vault, wiring.manager, wiring.governor
        params = [batch.ask(vault, getter) for getter in _PARAMS]
        private = batch.ask(vault, "inPrivateLiquidationMode()")
        asked = [*self._liquidators, *([manager] if manager else [])]
        listed = {address: batch.ask(vault, "isLiquidator(address)", address) for address in asked}
        at_manager = {a: batch.ask(manager, "isLiquidator(address)", a) for a in self._liquidators} if manager else {}
        margin_fee = batch.ask(governor, "marginFeeBasisPoints()")
        handles = [batch.ask(governor, f"{name}(address)", manager) for name in _HANDLERS] if manager else []
        admin = batch.ask(governor, "admin()")

        def take() -> None:
            params_now = Params(*(answer.uint() for answer in params))
            is_handler = any(answer.ok and answer.flag() for answer in handles)
            is_handler |= admin.ok and admin.address() == manager
            timelock = Timelock(governor, margin_fee.uint(), is_handler) if margin_fee.ok else None
            access = Access(
                private_mode=private.flag(),
                vault_liquidators=_listed(listed),
                manager=manager,
                manager_liquidators=_listed(at_manager),
                timelock=timelock,
            )
            if params_now != self._params:
                self._changed("params", "vault")
            self._params, self._access = params_now, access

        return take

    def _ask_tokens(self, batch: Batch, tokens: Iterable[str], *, settings: bool) -> Callable[[], None]:
        vault = self._address
        figures = {token: [batch.ask(vault, getter, token) for getter in _TOKEN_FIGURES] for token in tokens}
        # A transfer to the vault is no event of the vault's: balances are asked for along with the prices.
        balances = {token: batch.ask(token, "balanceOf(address)", vault) for token in {*self._tokens, *figures}}
        fixed = {
            token: [batch.ask(vault, getter, token) for getter in _TOKEN_SETTINGS]
            for token in figures
            if settings or token not in self._tokens
        }

        def take() -> None:
            for address, balance in balances.items():
                if address in figures:
                    self._take_token(address, figures[address], balance, fixed.get(address))
                elif balance.ok and address not in self.unreadable:
                    self._keep_token(replace(self._tokens[address], balance=balance.uint()))

        return take

    def _keep_token(self, token: Token) -> None:
        if token != self._tokens.get(token.address):
            self._tokens = {**self._tokens, token.address: token}
            self._changed("token", token.address)

    def _take_token(self, address: str, figures: list[Answer], balance: Answer, fixed: list[Answer] | None) -> None:
        bad = next((a for a in (*figures, balance, *(fixed or ())) if not a.ok), None)
        before = self._tokens.get(address)
        if bad is not None:
            if address not in self.unreadable:
                self._log.warning("a token can't be read: its positions are left", token=address, reason=bad.reason)
            self.unreadable[address] = bad.reason
        else:
            self.unreadable.pop(address, None)
        numbers = [answer.uint() if answer.ok else 0 for answer in figures]
        decimals, is_stable, min_profit = 0, False, 0
        if fixed is not None and bad is None:
            decimals, is_stable, min_profit = fixed[0].uint(), fixed[1].flag(), fixed[2].uint()
        elif before is not None:
            decimals, is_stable, min_profit = before.decimals, before.is_stable, before.min_profit_basis_points
        pool, reserved, fees, guaranteed, shorts, rate, last = numbers
        token = Token(
            address=address,
            decimals=decimals,
            is_stable=is_stable,
            min_profit_basis_points=min_profit,
            pool_amount=pool,
            reserved_amount=reserved,
            fee_reserve=fees,
            guaranteed_e30=guaranteed,
            global_short_size_e30=shorts,
            funding_rate=rate,
            last_funding_time=last,
            balance=balance.uint() if balance.ok else 0,
        )
        self._keep_token(token)

    def _ask_positions(self, batch: Batch, wanted: dict[str, Position]) -> Callable[[], None]:
        asked = {key: batch.ask(self._address, "positions(bytes32)", key) for key in wanted}

        def take() -> None:
            for key, answer in asked.items():
                self._put(key, _position(wanted[key], answer))

        return take

    def _put(self, key: str, position: Position | None) -> None:
        if position == self.positions.get(key):
            return
        self._changed("position", key)
        if position is None:
            del self.positions[key]
            self.book.remove(key)
        else:
            self.positions[key] = position
            self.book.put(key, position)

    def _drop_positions(self) -> None:
        self.positions = {}
        self.book = Book()

    # What the store keeps

    def rows(self) -> Sequence[Row]:
        """What has changed since the last call; everything after a bootstrap."""
        wanted = self._unsaved if self._unsaved is not None else self._every_row()
        self._unsaved = set()
        return [Row(kind, key, self._payload(kind, key)) for kind, key in sorted(wanted)]

    def restore(self, rows: Sequence[Row], head: Header) -> None:
        """Take over what the store kept. Prices and rights come with the first block. Raises ``StoreError``."""
        try:
            kept = {
                kind: {r.key: json.loads(r.payload) for r in rows if r.kind == kind and r.payload} for kind in _KINDS
            }
            params = Params(**kept["params"]["vault"])
            tokens = {key: Token(**fields) for key, fields in kept["token"].items()}
            positions = {key: Position(**fields) for key, fields in kept["position"].items()}
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                "a whole mirror of the vault", f"its rows are not ({error!r})", "it is read anew"
            ) from error
        self._params, self._tokens = params, tokens
        self._drop_positions()
        for key, position in positions.items():
            self._put(key, position)
        self._wiring, self._access = None, None
        self._dirty = _Dirty(settings=True, rounds=True)
        self._settings_at = 0
        self._head = head
        self._unsaved = set()

    def digest(self) -> str:
        """A hash over every kept record. Equal digests mean equal mirrors."""
        hashed = hashlib.sha256()
        for kind, key in sorted(self._every_row()):
            hashed.update(f"{kind}\0{key}\0".encode() + (self._payload(kind, key) or b"") + b"\0")
        return hashed.hexdigest()

    def _every_row(self) -> set[tuple[str, str]]:
        return {
            ("params", "vault"),
            *(("token", key) for key in self._tokens),
            *(("position", key) for key in self.positions),
        }

    def _payload(self, kind: str, key: str) -> bytes | None:
        record = {"params": self._params, "token": self._tokens.get(key), "position": self.positions.get(key)}[kind]
        return json.dumps(asdict(record)).encode() if record is not None else None

    def _changed(self, kind: str, key: str) -> None:
        if self._unsaved is not None:
            self._unsaved.add((kind, key))


def _position(named: Position, answer: Answer) -> Position | None:
    """What ``positions(bytes32)`` says of a position whose owner and tokens are known; None if it is closed."""
    held = replace(
        named,
        size_e30=answer.uint(0),
        collateral_e30=answer.uint(1),
        average_price_e30=answer.uint(2),
        entry_funding_rate=answer.uint(3),
        reserve_amount=answer.uint(4),
        realised_pnl_e30=answer.signed(5),
        last_increased_time=answer.uint(6),
    )
    return held if held.size_e30 else None


_KINDS = ("params", "token", "position")
_HANDLERS = ("isHandler", "isKeeper")


def _listed(answers: dict[str, Answer]) -> frozenset[str]:
    return frozenset(address for address, answer in answers.items() if answer.ok and answer.flag())


def _known(value: T | None) -> T:
    if value is None:
        raise ProtocolError("a market that was read", "it was not yet", "call bootstrap, or restore and apply, first")
    return value
