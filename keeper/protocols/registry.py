"""Which code answers for which protocol: a name in the configuration to the market it makes.

To add a protocol: write its ``Market``, give it a settings section with a ``protocol`` of its own, and name it here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from keeper.chain.fork import Fork
from keeper.errors import ConfigError
from keeper.model import Header, History, Log, Row, Window
from keeper.protocols.deri import figures as deri_figures
from keeper.protocols.deri import triggers as deri_triggers
from keeper.protocols.deri.abi import liquidated_by
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.past import PastReadings
from keeper.protocols.deri.rows import parse
from keeper.protocols.deri.shadow import Simulator
from keeper.protocols.deri.staging import DeriStage
from keeper.protocols.deri.stake.watch import Alert as StakeAlert
from keeper.protocols.deri.state import OracleKind, PoolState
from keeper.protocols.market import Market, Trigger, Worth
from keeper.protocols.meridian import events as meridian_events
from keeper.protocols.meridian import figures as meridian_figures
from keeper.protocols.meridian import standing as meridian_standing
from keeper.protocols.meridian.market import MeridianMarket, MeridianMarketConfig
from keeper.protocols.meridian.staging import MeridianStage
from keeper.protocols.meridian.unpaid import Policy, UnpaidTerms
from keeper.settings import DeriSettings, MarketSettings, MeridianSettings
from keeper.views import Figures


def make_market(
    name: str,
    settings: MarketSettings,
    liquidators: Sequence[str],
    simulator: Simulator | None = None,
    history: History | None = None,
) -> Market:
    """The market that the settings describe. ``liquidators`` are the addresses that may send in it.

    With a ``simulator`` the market has the chain itself check a few of its verdicts each block. ``history`` gives logs
    of the past to a protocol that can't do without (Meridian).
    """
    if isinstance(settings, DeriSettings):
        return DeriMarket(
            DeriMarketConfig(
                name=name,
                pool=settings.pool,
                price_servers=settings.price_servers,
                poll_seconds=settings.poll_seconds,
                liquidators=tuple(liquidators),
                headroom_alert_percent=settings.headroom_alert_percent,
                shadow_accounts=settings.shadow_accounts,
                shadow_stops_sending=settings.shadow_stops_sending,
            ),
            simulator,
        )
    if history is None:
        raise ConfigError(
            f"logs of the past for market {name!r}",
            "there are none",
            "a vault can't list its positions: give its chain's",
        )
    return MeridianMarket(
        MeridianMarketConfig(
            name=name,
            vault=settings.vault,
            position_manager=settings.position_manager,
            fee_receiver=settings.fee_receiver,
            liquidators=tuple(liquidators),
            start_block=settings.start_block,
            settings_every_s=settings.settings_seconds,
            unpaid=_unpaid(settings),
        ),
        history,
    )


def _unpaid(settings: MeridianSettings) -> UnpaidTerms:
    """What the operator will spend on closings that pay nobody."""
    return UnpaidTerms(
        policy=Policy(settings.close_state_2),
        most_wei=_e18(settings.state_2_max_cost),
        budget_wei=_e18(settings.state_2_budget_per_day),
        native_price_e18=_e18(settings.native_price_usd),
        min_profit_e18=_e18(settings.min_profit_usd),
    )


def figures_of(market: Market) -> Figures | None:
    """What people see of a market whose mirror stands; None for a protocol that shows nothing."""
    if isinstance(market, DeriMarket):
        return deri_figures.figures_of(market)
    if isinstance(market, MeridianMarket):
        return meridian_figures.figures_of(market)
    return None


def read_anew(market: Market) -> bool:
    """Have a market in which the chain's disagreement has stopped the sending read anew, which clears it.

    False if there is nothing to clear, or if the reading is due already.
    """
    return isinstance(market, DeriMarket) and market.read_anew()


def listen(market: Market, tell: Callable[[StakeAlert], None]) -> None:
    """Have what a market notices about our stakes told, where it has any."""
    if isinstance(market, DeriMarket):
        market.stakes.listen(tell)


def nearest_of(market: Market, window: Window, count: int) -> list[tuple[float, str]]:
    """The accounts nearest to liquidation, each with the percent by which the price that hurts most has to move."""
    if isinstance(market, DeriMarket):
        return [(one.percent, str(one.p_token_id)) for one in market.nearest(count)]
    if isinstance(market, MeridianMarket):
        return meridian_standing.nearest(market, window, count)
    return []


def unassessable_of(market: Market) -> Counter[str]:
    """How many accounts can't be assessed at the prices of now, by reason."""
    if isinstance(market, DeriMarket):
        return Counter(market.unassessable().values())
    return Counter(market.unassessable()) if isinstance(market, MeridianMarket) else Counter()


def triggers_of(market: Market, account: str, window: Window) -> list[Trigger]:
    """The prices at which an account becomes liquidatable, nearest first."""
    if isinstance(market, DeriMarket):
        holder = market.mirror.state.accounts.get(int(account))
        return deri_triggers.triggers(market.state(), holder, window) if holder is not None else []
    if isinstance(market, MeridianMarket):
        return meridian_standing.triggers(market, account, window)
    return []


class Stage(Protocol):
    """Moves a market's prices on a fork, for rehearsals."""

    async def prepare(self, head: Header) -> Header:
        """Make the fork's prices ours. The head of the fork at which the market then stands."""
        ...

    async def move(self, trigger: Trigger, value: int, head: Header) -> Header:
        """Let one price be ``value``, in the trigger's decimals. The head to act on, at which the market stands."""
        ...

    async def restore(self, head: Header) -> None:
        """The fork was taken back to ``head``; let the market follow."""
        ...

    def preferred(self, trigger: Trigger) -> bool:
        """Whether an account is best brought down by this price."""
        ...


def stage_of(market: Market, fork: Fork) -> Stage:
    """What moves the market's prices on a fork. Raises ``ConfigError`` for a protocol that can't be rehearsed."""
    if isinstance(market, DeriMarket):
        return DeriStage(market, fork)
    if isinstance(market, MeridianMarket):
        return MeridianStage(market, fork)
    raise ConfigError(f"a market that can be rehearsed, {market.name!r}", "its protocol has no stage", "leave it out")


class PastPrices(Protocol):
    """Prices of the past that are not in the state of the chain, for replays."""

    def transactions(self, logs: Sequence[Log]) -> list[str]:
        """The hashes of the transactions that carry some."""
        ...

    def learn(self, call_data: bytes) -> None:
        """Take the prices out of such a transaction."""
        ...

    def tell(self, until: int) -> None:
        """Let the market hear what was known at that second."""
        ...


def past_prices_of(market: Market) -> PastPrices | None:
    """Where a market's signed prices of the past come from; None if all its prices are on the chain."""
    return PastReadings(market) if isinstance(market, DeriMarket) else None


def is_liquidation(market: Market, account: str, logs: Sequence[Log], call_data: bytes) -> bool:
    """Whether a transaction that closed an account liquidated it; ``logs`` are the transaction's."""
    if not isinstance(market, MeridianMarket):
        return True
    return meridian_events.is_liquidation(account, logs, call_data)


def account_of_call(settings: MarketSettings, data: bytes) -> str | None:
    """The account that a call of the market's contract (``contract_of``) would liquidate; None if it is none.

    Only Deri's calls are read: on Meridian anybody may close a position through several contracts.
    """
    p_token_id = liquidated_by(data) if isinstance(settings, DeriSettings) else None
    return None if p_token_id is None else str(p_token_id)


def prices_heard(market: Market) -> bool:
    """Whether every price that is signed off the chain was heard since it was last written to the chain."""
    if not isinstance(market, DeriMarket):
        return True
    signed = {key for key, oracle in market.mirror.state.oracles.items() if oracle.kind is OracleKind.OFFCHAIN}
    return signed <= market.fresher().keys()


def reward_unit(settings: MarketSettings, rows: Sequence[Row]) -> tuple[str, int]:
    """The name of what rewards are counted in, and its decimals; ``rows`` are those of the market's mirror, if any."""
    if not isinstance(settings, DeriSettings):
        return "USD", 18
    records = [parse(row)[1] for row in rows]
    return "B0", next((record.decimals_b0 for record in records if isinstance(record, PoolState)), 18)


def contract_of(settings: MarketSettings) -> str:
    """The address that tells a market from every other of its chain."""
    return settings.pool if isinstance(settings, DeriSettings) else settings.vault


def unit_of(settings: MarketSettings) -> str:
    """The unit of account, in which rewards are weighed against gas."""
    return "B0" if isinstance(settings, DeriSettings) else "USD"


def worth_of(settings: MarketSettings) -> Worth:
    """What the operator wants of a liquidation, in the market's unit of account (Deri: B0, Meridian: USD)."""
    if isinstance(settings, DeriSettings):
        return Worth(_e18(settings.native_price_b0), _e18(settings.min_profit_b0))
    return Worth(_e18(settings.native_price_usd), _e18(settings.min_profit_usd))


def _e18(value: Decimal) -> int:
    return int(value * 10**18)
