"""Which code answers for which protocol: a name in the configuration to the market it makes.

To add a protocol: write its ``Market``, give it a settings section with a ``protocol`` of its own, and name it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from keeper.errors import ConfigError
from keeper.protocols.deri.market import DeriMarket, DeriMarketConfig
from keeper.protocols.deri.shadow import Simulator
from keeper.protocols.market import Market, Worth
from keeper.settings import DeriSettings, MarketSettings


def make_market(
    name: str, settings: MarketSettings, liquidators: Sequence[str], simulator: Simulator | None = None
) -> Market:
    """The market that the settings describe. ``liquidators`` are the addresses that may send in it.

    With a ``simulator`` the market has the chain itself check a few of its verdicts each block.
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
    raise ConfigError(
        "a protocol that the keeper knows", f"market {name!r} is of {settings.protocol!r}", "use one of: deri-v3"
    )


def contract_of(settings: MarketSettings) -> str:
    """The address that tells a market from every other of its chain."""
    return settings.pool if isinstance(settings, DeriSettings) else settings.vault


def worth_of(settings: MarketSettings) -> Worth:
    """What the operator wants of a liquidation, in the market's unit of account (Deri: B0, Meridian: USD)."""
    if isinstance(settings, DeriSettings):
        return Worth(_e18(settings.native_price_b0), _e18(settings.min_profit_b0))
    return Worth(_e18(settings.native_price_usd), _e18(settings.min_profit_usd))


def _e18(value: Decimal) -> int:
    return int(value * 10**18)
