"""What the settings say of a chain, in the form that its parts want."""

from __future__ import annotations

from decimal import Decimal

import aiohttp

from keeper.chain.budget import Limits
from keeper.chain.data_fee import DATA_FEES, DataFee
from keeper.chain.endpoint import Endpoint
from keeper.chain.gas import FeeSettings
from keeper.chain.lane import LaneSettings
from keeper.chain.native_price import ChainlinkPrice, FixedPrice, NativePrice, OraclePrice
from keeper.chain.private_relay import BundleRelay, PrivateRelay
from keeper.chain.relay import Relay
from keeper.chain.signer import RemoteSigner, Signer, read_key_file, unlock_keystore
from keeper.errors import ConfigError
from keeper.settings import ChainSettings, MarketSettings, RelaySettings, SignerSettings


def endpoints_of(chain: ChainSettings) -> list[Endpoint]:
    """The endpoints, best first."""
    return [
        Endpoint(url, priority=index, requests_per_second=chain.requests_per_second)
        for index, url in enumerate(chain.endpoints)
    ]


def liquidators_of(name: str, chain: ChainSettings) -> tuple[str, ...]:
    """Who liquidates on a chain, or would: the signers, else the configured address. Raises ``ConfigError`` for none.

    No key is touched.
    """
    found = tuple(entry.address for entry in chain.signers) or ((chain.liquidator,) if chain.liquidator else ())
    if not found:
        raise ConfigError(
            f"the address that would liquidate on {name}", "there is none", f"set chains.{name}.liquidator"
        )
    return found


def stand_in_of(name: str, chain: ChainSettings) -> str:
    """Whose place a mode takes that never sends. Raises ``ConfigError`` for nobody's."""
    return liquidators_of(name, chain)[0]


def lane_settings_of(chain: ChainSettings) -> LaneSettings:
    """How a lane on this chain behaves."""
    gas = chain.gas
    return LaneSettings(
        chain_id=chain.chain_id,
        fees=FeeSettings(
            policy=gas.policy,
            tip_wei=gas.tip_wei,
            max_fee_wei=gas.max_fee_wei,
            tip_percentile=gas.tip_percentile,
            share_percent=gas.profit_share_percent,
        ),
        limits=Limits(_wei(gas.budget_per_hour), _wei(gas.budget_per_day)),
        low_balance_wei=_wei(gas.low_balance),
    )


async def unlock(entry: SignerSettings) -> Signer:
    """The signer behind an entry. Raises ``SignerError`` if it can't be unlocked or reached."""
    if entry.keystore is not None:
        return await unlock_keystore(entry.keystore, entry.password_file, entry.address)
    if entry.key_file is not None:
        return read_key_file(entry.key_file, entry.address)
    assert entry.remote is not None
    return await RemoteSigner.connect(entry.remote, entry.address)


def data_fee_of(chain: ChainSettings) -> DataFee:
    """What the chain charges for call data besides the gas."""
    return DATA_FEES[chain.gas.data_fee]()


def native_price_of(market: MarketSettings, fixed_e18: int) -> NativePrice:
    """Where the worth of a native coin comes from; ``fixed_e18`` is the configured figure."""
    if market.native_price_feed is not None:
        return ChainlinkPrice(market.native_price_feed, market.native_price_max_age_seconds)
    if market.native_price_oracle is not None:
        return OraclePrice(market.native_price_oracle)
    return FixedPrice(fixed_e18)


def relay_of(settings: RelaySettings, session: aiohttp.ClientSession) -> Relay:
    """A market's private way. Raises ``SignerError`` if its identity can't be read."""
    match settings.kind:
        case "raw":
            return PrivateRelay(settings.url, "eth_sendRawTransaction", session)
        case "private":
            return PrivateRelay(settings.url, "eth_sendPrivateTransaction", session)
        case "bundle":
            assert settings.identity_key_file is not None
            return BundleRelay(settings.url, read_key_file(settings.identity_key_file), session)


def _wei(coins: Decimal) -> int:
    return int(coins * 10**18)
