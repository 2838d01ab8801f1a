"""The Deri V3 market behind ``keeper.protocols.market.Market``."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from keeper.model import Advance, Eligibility, Header, Log, LogFilter, Outcome, PriceTick, Reader, Row, Window
from keeper.protocols.deri import abi, privileger
from keeper.protocols.deri.book import Book
from keeper.protocols.deri.distance import Distance, Distances, distances, nearest
from keeper.protocols.deri.mirror import Changes, Mirror
from keeper.protocols.deri.outlook import Outlook
from keeper.protocols.deri.price_server import PriceServers, SignedPrices, SignedReading
from keeper.protocols.deri.readings import expires_at
from keeper.protocols.deri.round import DeriRound, with_readings
from keeper.protocols.deri.shadow import Shadow, Simulator
from keeper.protocols.deri.stake.watch import StakeWatch
from keeper.protocols.deri.state import MarketState

_log = structlog.get_logger(__name__)


VAULTS_POLLED = 64
"""Of the vaults that can't be taken apart, so many near ones and so many others are read each block."""


@dataclass(frozen=True, slots=True)
class DeriMarketConfig:
    """What it takes to watch one pool."""

    name: str
    pool: str
    price_servers: tuple[str, ...] = field(default=(), repr=False)
    """Base URLs; may hold credentials, so they are not shown."""
    poll_seconds: float = 0.5
    liquidators: tuple[str, ...] = ()
    """The addresses whose right to liquidate is followed."""
    shadow_accounts: int = 0
    """Accounts that the chain itself judges each block; 0: none."""
    shadow_stops_sending: bool = True
    headroom_alert_percent: Decimal = Decimal(5)
    """Less head-room than this share of what the others have staked raises an alert."""


class Age(enum.Enum):
    """How near a signed price is to the end of its ``delayAllowance``."""

    FRESH = "fresh"
    STALE = "stale"
    """More than half of it is over."""
    EXPIRED = "expired"


class DeriMarket:
    """Owns one pool's mirror, its signed prices, and what follows from both."""

    def __init__(self, config: DeriMarketConfig, simulator: Simulator | None = None) -> None:
        """Without a ``simulator`` there is no shadow check."""
        self.name = config.name
        self.mirror = Mirror(config.name, config.pool, config.liquidators)
        self.prices = SignedPrices()
        self.stakes = StakeWatch(config.name, config.liquidators, config.headroom_alert_percent)
        self.liquidators = config.liquidators
        self._liquidators = frozenset(config.liquidators)
        self._servers = PriceServers(
            config.name,
            config.price_servers,
            config.poll_seconds,
            self.prices,
            oracles=lambda: self.mirror.state.oracles,
            now=lambda: self.mirror.head.timestamp,
        )
        self._book = Book()
        self._outlook: Outlook | None = None
        """The last round's: lends what prices did not change."""
        self.shadow = Shadow(
            config.name,
            self.mirror,
            self._open_round,
            lambda count: [distance.p_token_id for distance in self.nearest(count)],
            simulator,
            config.shadow_accounts,
            stops_sending=config.shadow_stops_sending,
        )
        self._polled_to = 0
        self._ages: dict[str, Age] = {}
        self._blocked: dict[str, str] = {}
        self._read_at = 0
        """The block at which everything was read from the chain; 0 if it came from the store."""
        self._log = _log.bind(market=config.name)

    # The mirror

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Read everything at ``head``. Raises ``ProtocolError`` if the contracts are not what they should be."""
        await self.mirror.bootstrap(reader, head)
        self._read_at = head.number
        self._follow(Changes(everything=True))
        self._follow_stakes((), reader)
        self.shadow.notice(reader)

    async def restore(self, rows: Sequence[Row], head: Header) -> None:
        """Take the place of ``bootstrap`` with what the store kept at ``head``. Raises ``StoreError`` if unusable."""
        self.mirror.restore(rows, head)
        self._follow(Changes(everything=True))

    async def apply(self, advance: Advance, reader: Reader) -> None:
        """Bring the mirror to ``advance.head``."""
        self._follow(await self.mirror.apply(advance, reader))
        self._follow_ages()
        self._follow_failures()
        self._follow_stakes(advance.logs, reader)
        self.shadow.notice(reader)

    def log_filter(self) -> LogFilter:
        return self.mirror.log_filter()

    def rows(self) -> Sequence[Row]:
        return self.mirror.rows()

    def digest(self) -> str:
        return self.mirror.digest()

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        """Read so many accounts, drawn at random, anew at the mirror's head; those that differ from the mirror."""
        return [str(p_token_id) for p_token_id in await self.mirror.audit(reader, accounts)]

    # Prices

    async def watch(self, emit: Callable[[PriceTick], None]) -> None:
        """Poll the price servers, and compare the stakes with the contract now and then, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._servers.watch(emit), name=f"{self.name}.price-servers")
            tasks.create_task(self.stakes.run(), name=f"{self.name}.stakes")
            tasks.create_task(self.shadow.run(), name=f"{self.name}.shadow")

    def take(self, tick: PriceTick) -> bool:
        """Whether the tick still says something: a newer reading, or the chain itself, may have overtaken it."""
        oracles = self.mirror.state.oracles
        for oracle_id, value in tick.prices_e18:
            oracle = oracles.get(oracle_id)
            reading = self.prices.fresher(oracle) if oracle is not None else None
            if reading is not None and reading.value == value:
                return True
        return False

    def fresher(self) -> dict[str, SignedReading]:
        """The signed readings that are newer than what the oracles hold, by oracle id."""
        found = {}
        for oracle_id, oracle in self.mirror.state.oracles.items():
            if (reading := self.prices.fresher(oracle)) is not None:
                found[oracle_id] = reading
        return found

    def state(self) -> MarketState:
        """The market at the mirror's head with the signed prices in it: what the next transaction would see."""
        return with_readings(self.mirror.state, self.fresher())

    # Verdicts

    def round(self, window: Window) -> DeriRound:
        """A fresh what-if copy for the block that comes next."""
        return self._open_round(window)

    def _open_round(self, window: Window) -> DeriRound:
        fresher = self.fresher()
        mirrored = self.mirror.state
        self._outlook = Outlook(with_readings(mirrored, fresher), window, self._outlook, mirrored.oracles)
        return DeriRound(self.mirror.wiring.pool, mirrored, self._outlook, self._book, fresher)

    def eligibility(self, liquidator: str, at: int) -> Eligibility:
        """Whether ``liquidator`` may liquidate at that second, from the mirrored stakes.

        Nobody may while the shadow check has found that the mirror or the engine is wrong.
        """
        if self.shadow.stopped:
            return Eligibility(
                False,
                "shadow-mismatch",
                f"the chain disagrees with the keeper: {self.shadow.stopped}",
                remedy="see the log; once it is understood, have the market read anew in the console",
            )
        return privileger.eligibility(self.mirror.state.privileger, liquidator, at)

    def read_anew(self) -> bool:
        """Have everything read from the chain with the next block, which clears what the shadow check has stopped.

        False if nothing is stopped, or if that reading is due already.
        """
        if not self.shadow.stopped or self.mirror.distrusted:
            return False
        self.mirror.distrust()
        return True

    def closures(self, logs: Sequence[Log]) -> Sequence[tuple[str, str]]:
        """Accounts liquidated: ``Trade`` with a fee of -1, one for each symbol closed."""
        found: dict[tuple[str, str], None] = {}
        for log in logs:
            if abi.is_trade(log, self.mirror.wiring.symbol_manager):
                trade = abi.trade_of(log)
                if trade.fee == abi.LIQUIDATED_FEE:
                    found[str(trade.p_token_id), log.transaction_hash] = None
        return list(found)

    def realised_reward_b0(self, outcome: Outcome, logs: Sequence[Log]) -> int:
        """What the receipt's logs say was paid: B0's ``Transfer`` from the pool to one of our liquidators."""
        parts = self.mirror.wiring
        paid = 0
        for log in logs:
            if log.address != parts.token_b0 or len(log.topics) != 3 or log.topics[0] != abi.TRANSFER:
                continue
            sender, receiver = abi.address_of(log.topics[1]), abi.address_of(log.topics[2])
            if sender == parts.pool and (receiver in self._liquidators or not self._liquidators):
                paid += abi.uint_at(log.data, 0)
        return paid

    def accounts_watched(self) -> int:
        return len(self.mirror.state.accounts)

    def measure(self) -> tuple[Book, Distances]:
        """Every account's distance to liquidation at the prices of now, for people."""
        return self._book, distances(self._book, self._next_second().first)

    def nearest(self, count: int) -> list[Distance]:
        """The accounts nearest to liquidation at the prices of now, for people."""
        return nearest(*self.measure(), count)

    def unassessable(self) -> dict[int, str]:
        """The accounts that can't be assessed at the prices of now, and why."""
        outlook = self._next_second()
        return self._book.unassessable(self._book.screen(outlook.first, outlook.last))

    # What follows from a change

    def _follow(self, changes: Changes) -> None:
        state = self.mirror.state
        if changes.everything:
            self._book = Book(state.accounts.values())
            self._outlook = None
            self.shadow.clear("everything was read anew")
        for p_token_id in changes.accounts if not changes.everything else ():
            account = state.accounts.get(p_token_id)
            if account is None:
                self._book.remove(p_token_id)
            else:
                self._book.put(account)
        if not self.mirror.takes_vaults_apart:
            self.mirror.vaults_polled = self._vaults_to_poll()

    def _vaults_to_poll(self) -> list[int]:
        """The accounts nearest to liquidation, and some of the others in turn: collateral alone may bring one near."""
        near = [distance.p_token_id for distance in self.nearest(VAULTS_POLLED)]
        everybody = list(self.mirror.state.accounts)
        start = self._polled_to % max(len(everybody), 1)
        self._polled_to = start + VAULTS_POLLED
        return list(dict.fromkeys(near + everybody[start : self._polled_to]))

    def _next_second(self) -> Outlook:
        """The market a second after the head, in the block after it."""
        head = self.mirror.head
        window = Window(head.number + 1, head.timestamp + 1, head.timestamp + 1)
        return Outlook(self.state(), window, self._outlook)

    def _follow_ages(self) -> None:
        """Say once that a price goes stale while there is time to do something, and once that it has expired."""
        now = self.mirror.head.timestamp
        for oracle in self.state().oracles.values():
            due = expires_at(oracle)
            if due is None:
                continue
            age = Age.FRESH if due - now > oracle.delay_allowance_s // 2 else Age.STALE if due > now else Age.EXPIRED
            before = self._ages.get(oracle.oracle_id, Age.FRESH)
            self._ages[oracle.oracle_id] = age
            if age is before:
                continue
            if age is Age.FRESH:
                self._log.info("a price is fresh again", price=oracle.name)
            else:
                self._log.warning(
                    "a price goes stale" if age is Age.STALE else "a price has expired",
                    price=oracle.name,
                    expires_in_seconds=due - now,
                    remedy="look at the price servers" if age is Age.STALE else "its accounts wait for a new reading",
                )

    def _follow_failures(self) -> None:
        """Name what can't be priced, and how many accounts hold it, whenever that changes."""
        outlook = self._next_second()
        screen = self._book.screen(outlook.first, outlook.last)
        blocked, symbols = dict(screen.blocked), self.mirror.state.symbols
        if blocked == self._blocked:
            return
        held = Counter(self._book.unassessable(screen).values())
        for key, reason in blocked.items():
            if self._blocked.get(key) != reason:
                name = symbols[key].params.name if key in symbols else key
                self._log.warning("accounts are not assessable", holding=name, reason=reason, accounts=held[reason])
        for key in self._blocked.keys() - blocked.keys():
            name = symbols[key].params.name if key in symbols else key
            self._log.info("accounts are assessable again", holding=name)
        self._blocked = blocked

    def _follow_stakes(self, logs: Sequence[Log], reader: Reader) -> None:
        # Looking back over blocks that were read whole, a new log filter finds the upgrades of long ago.
        news = [log for log in logs if log.block_number > self._read_at]
        self.stakes.observe(self.mirror.head, self.mirror.wiring, self.mirror.state.privileger, news, reader)
