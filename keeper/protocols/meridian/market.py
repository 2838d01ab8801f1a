"""A Meridian Trade vault behind ``keeper.protocols.market.Market``. An account is a position's key.

The reward's unit is the US dollar with 18 decimals: it is paid in each position's own collateral token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keeper.model import Advance, Eligibility, Header, History, Log, LogFilter, Outcome, PriceTick, Reader, Row, Window
from keeper.protocols.meridian import events
from keeper.protocols.meridian.liquidation import usd_for
from keeper.protocols.meridian.mirror import Mirror
from keeper.protocols.meridian.round import MeridianRound, Setup
from keeper.protocols.meridian.state import Route
from keeper.protocols.meridian.unpaid import UnpaidBudget, UnpaidTerms

_E12 = 10**12
_SPENT = "spent"


@dataclass(frozen=True, slots=True)
class MeridianMarketConfig:
    """What it takes to watch one vault."""

    name: str
    vault: str
    position_manager: str | None = None
    """Liquidate through it; None: through the vault itself."""
    fee_receiver: str | None = None
    """None: the first liquidator."""
    liquidators: tuple[str, ...] = ()
    """The addresses whose right to liquidate is followed."""
    start_block: int = 0
    """A block before the vault's first position."""
    settings_every_s: int = 10
    """How often what emits no event is read again."""
    unpaid: UnpaidTerms = field(default_factory=UnpaidTerms)


class MeridianMarket:
    """Owns one vault's mirror and what follows from it."""

    def __init__(self, config: MeridianMarketConfig, history: History) -> None:
        self.name = config.name
        self.route = Route.POSITION_MANAGER if config.position_manager else Route.VAULT
        self.unpaid = UnpaidBudget(config.unpaid)
        self.mirror = Mirror(
            config.name,
            config.vault,
            config.position_manager,
            history,
            liquidators=config.liquidators,
            start_block=config.start_block,
            settings_every_s=config.settings_every_s,
        )
        self._target = config.position_manager or config.vault
        self._receiver = config.fee_receiver or (config.liquidators[0] if config.liquidators else config.vault)
        self._unpaid_dirty = False

    # The mirror

    async def bootstrap(self, reader: Reader, head: Header) -> None:
        """Read everything at ``head``. Raises ``ProtocolError`` if the contracts are not what they should be."""
        await self.mirror.bootstrap(reader, head)

    async def restore(self, rows: Sequence[Row], head: Header) -> None:
        """Take the place of ``bootstrap`` with what the store kept at ``head``. Raises ``StoreError`` if unusable."""
        for row in rows:
            if row.kind == _SPENT and row.payload is not None:
                self.unpaid.load(row.payload)
        self.mirror.restore(rows, head)

    async def apply(self, advance: Advance, reader: Reader) -> None:
        """Bring the mirror to ``advance.head``. A block of nothing but prices that are understood costs no read."""
        await self.mirror.apply(advance, reader)

    def log_filter(self) -> LogFilter:
        return self.mirror.log_filter()

    def rows(self) -> Sequence[Row]:
        rows = list(self.mirror.rows())
        if self._unpaid_dirty:
            self._unpaid_dirty = False
            rows.append(Row(_SPENT, _SPENT, self.unpaid.dump()))
        return rows

    def digest(self) -> str:
        return self.mirror.digest()

    async def audit(self, reader: Reader, accounts: int) -> Sequence[str]:
        """Read so many positions, drawn at random, anew at the mirror's head; those that differ from the mirror."""
        return await self.mirror.audit(reader, accounts)

    # Prices: all of them are on the chain

    async def watch(self, emit: Callable[[PriceTick], None]) -> None:
        """There is no price source off the chain."""

    def take(self, tick: PriceTick) -> bool:
        return False

    # Verdicts

    def round(self, window: Window) -> MeridianRound:
        """A fresh what-if copy for the block that comes next."""
        mirror = self.mirror
        vault, now = mirror.vault, mirror.head.timestamp
        setup = Setup(
            route=self.route,
            target=self._target,
            fee_receiver=self._receiver,
            margin_fee_basis_points=mirror.access.margin_fee(self.route, vault.params.margin_fee_basis_points),
            unreadable=mirror.unreadable,
            grant_e18=lambda reserved: self.unpaid.grant_e18(reserved, now),
        )
        return MeridianRound(vault, mirror.positions, mirror.feeds.quotes, mirror.book, setup, window)

    def eligibility(self, liquidator: str, at: int) -> Eligibility:
        """Whether the route's contracts let ``liquidator`` liquidate, as of the last reading of the lists."""
        access = self.mirror.access
        refusal = access.refusal(self.route, liquidator)
        if refusal is None:
            if self.route is Route.VAULT and not access.private_mode:
                return Eligibility(True, "open", "the vault lets anybody liquidate")
            return Eligibility(True, "listed", f"{liquidator} is on the list of {self._target}")
        if refusal == "":
            return Eligibility(
                False,
                "governor-not-timelock",
                "the vault's governor has no code, so every call through the position manager reverts",
                remedy="leave position_manager out to use the vault's own route",
            )
        if refusal == "Timelock: forbidden":
            return Eligibility(
                False,
                "manager-not-handler",
                "the position manager is no handler of the vault's timelock",
                remedy="the timelock's admin has to make it one",
            )
        if self.route is Route.POSITION_MANAGER and liquidator in access.manager_liquidators:
            return Eligibility(
                False,
                "manager-not-listed",
                "the vault liquidates privately, and the position manager is not on its list",
                remedy="the vault's governor has to list it",
            )
        return Eligibility(
            False,
            "not-listed",
            f"{liquidator} is not on the list of liquidators of {self._target}",
            remedy="the admin of that contract has to list it",
        )

    def closures(self, logs: Sequence[Log]) -> Sequence[tuple[str, str]]:
        """Positions that are gone: liquidated, closed for the trader, or closed by the trader."""
        return [
            (events.key_at(log.data), log.transaction_hash)
            for log in logs
            if log.topics[:1] in ((events.LIQUIDATE_POSITION,), (events.CLOSE_POSITION,)) and events.is_whole(log)
        ]

    def realised_reward_b0(self, outcome: Outcome, logs: Sequence[Log]) -> int:
        """What the receipt's logs say was paid to the fee receiver, in USD with 18 decimals.

        A closing of state 2 pays nothing; what it cost is counted against its budget here, once for each receipt.
        """
        topics = {log.topics[0] for log in logs if log.topics}
        if events.CLOSE_POSITION in topics and events.LIQUIDATE_POSITION not in topics:
            self.unpaid.record(outcome.fee_wei, self.mirror.head.timestamp)
            self._unpaid_dirty = True
            return 0
        return sum(self._paid_e18(log) for log in logs if log.topics[:1] == (events.TRANSFER,) and len(log.topics) == 3)

    def _paid_e18(self, log: Log) -> int:
        """The worth of a transfer from the vault to the fee receiver, at the token's min price now."""
        token = self.mirror.vault.tokens.get(log.address)
        quote = self.mirror.feeds.quotes.get(log.address)
        sender, receiver = (events.address_at(topic, 0) for topic in log.topics[1:3])
        if token is None or quote is None or sender != self.mirror.wiring.vault or receiver != self._receiver:
            return 0
        price = quote.at(self.mirror.head.timestamp) if quote.read is not None else None
        return usd_for(token, events.uint_at(log.data, 0), price.min_e30) // _E12 if price is not None else 0

    def accounts_watched(self) -> int:
        return len(self.mirror.positions)

    def unassessable(self) -> dict[str, int]:
        """Why positions can't be assessed at the mirror's head, and how many."""
        failing = self.mirror.feeds.failures() | self.mirror.unreadable
        counts: dict[str, int] = {}
        for position in self.mirror.positions.values() if failing else ():
            reason = failing.get(position.index_token) or failing.get(position.collateral_token)
            if reason:
                counts[reason] = counts.get(reason, 0) + 1
        return counts
