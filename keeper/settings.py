"""What an operator may configure, and how it is read: a TOML file, overridden by ``KEEPER_...`` variables.

Secrets are never values here: they are paths of files. An endpoint may be given as ``file:PATH`` so that a URL with
credentials stays out of the configuration too. Unknown keys are refused.
"""

from __future__ import annotations

import enum
import ipaddress
import tomllib
from collections.abc import Iterator
from contextvars import ContextVar
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from eth_utils import is_address, to_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from keeper.errors import ConfigError

_GWEI = 10**9


def _checksummed(value: str) -> str:
    if not is_address(value):
        raise ValueError("expected an address (0x and 40 hexadecimal digits)")
    return to_checksum_address(value)


_folder = ContextVar("folder", default=Path())
"""What relative paths count from: the folder of the file that is being read."""


def _placed(value: Path) -> Path:
    return _folder.get() / value


def _endpoint(value: str) -> str:
    if value.startswith("file:"):
        path = _placed(Path(value.removeprefix("file:")))
        try:
            value = path.read_text().strip()
        except OSError as error:
            raise ValueError(f"expected a readable file with one URL at {path}: {error.strerror}") from None
    if urlsplit(value).scheme not in {"http", "https", "ws", "wss"}:
        # The value itself is not named: it may hold a credential.
        raise ValueError("expected a URL that starts with http://, https://, ws:// or wss://, or file:PATH")
    return value


Address = Annotated[str, AfterValidator(_checksummed)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
Placed = Annotated[Path, AfterValidator(_placed)]


class Mode(enum.StrEnum):
    """Where a plan ends: on the network, on a fork of it, or in the journal only."""

    LIVE = "live"
    DRY_RUN = "dry-run"
    OBSERVE = "observe"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SignerSettings(_Section):
    """One account that sends. Exactly one of ``keystore`` (with ``password_file``), ``key_file`` or ``remote``."""

    address: Address
    keystore: Placed | None = None
    password_file: Placed | None = None
    key_file: Placed | None = None
    remote: Endpoint | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _one_source(self) -> SignerSettings:
        sources = [name for name in ("keystore", "key_file", "remote") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"expected exactly one of keystore, key_file and remote, got {', '.join(sources) or 'none'}"
            )
        if self.password_file is not None and self.keystore is None:
            raise ValueError("password_file belongs to a keystore, and there is none")
        return self


class GasSettings(_Section):
    """What a transaction may cost. Figures in gwei may have decimals; inside, everything is wei."""

    policy: Literal["fixed-tip", "percentile-tip", "profit-share", "legacy"] = "fixed-tip"
    tip_gwei: Decimal = Field(default=Decimal(1), ge=0)
    tip_percentile: int = Field(default=60, ge=0, le=100)
    profit_share_percent: int = Field(default=30, ge=0, le=100)
    max_fee_gwei: Decimal = Field(default=Decimal(50), gt=0)
    budget_per_hour: Decimal = Field(default=Decimal(1), gt=0, description="native coin")
    budget_per_day: Decimal = Field(default=Decimal(5), gt=0, description="native coin")
    low_balance: Decimal = Field(default=Decimal("0.1"), ge=0, description="native coin; warns below it")
    data_fee: Literal["none", "op-stack", "arbitrum"] = "none"

    @property
    def tip_wei(self) -> int:
        return int(self.tip_gwei * _GWEI)

    @property
    def max_fee_wei(self) -> int:
        return int(self.max_fee_gwei * _GWEI)


class ChainSettings(_Section):
    """One chain: how to reach it, who sends on it, and at what price."""

    chain_id: int = Field(gt=0)
    endpoints: tuple[Endpoint, ...] = Field(min_length=1, repr=False)
    """Websocket and HTTP endpoints, best first."""
    requests_per_second: int = Field(default=100, gt=0)
    silence_blocks: int = Field(default=8, ge=2)
    """No head for this many block times means a dead connection."""
    clock_slack_seconds: int = Field(default=0, ge=0)
    """Widens the window in which the next block's timestamp is expected."""
    gas: GasSettings = GasSettings()
    signers: tuple[SignerSettings, ...] = ()
    liquidator: Address | None = None
    """Whose place dry-run and observe take when no signer is configured."""
    watch_mempool: bool = False
    """See liquidations of others that wait to be mined, and leave what is theirs. Asks a websocket endpoint for every
    pending transaction: cheap on a node of one's own, dear at a provider."""
    archive: Endpoint | None = Field(default=None, repr=False)
    """A node that keeps the state of past blocks, for `keeper replay`; None: the endpoints are tried."""


class RelaySettings(_Section):
    """A private way for one market's transactions. The endpoint keeps them to itself until they are mined."""

    kind: Literal["raw", "private", "bundle"]
    """raw: ``eth_sendRawTransaction``; private: ``eth_sendPrivateTransaction``; bundle: ``eth_sendBundle``, signed."""
    url: Endpoint = Field(repr=False)
    identity_key_file: Placed | None = None
    """For bundles: a key that earns a reputation with the relay and has nothing to do with the money."""

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if (self.kind == "bundle") != (self.identity_key_file is not None):
            raise ValueError("identity_key_file is for a relay of kind bundle, which needs one")
        return self


class _AnyMarket(_Section):
    chain: str
    native_price_feed: Address | None = None
    """A Chainlink feed of the native coin in the unit of account; until it is read the configured figure counts."""
    native_price_oracle: Address | None = None
    """The same from a contract with ``value()``, 18 decimals: a pool's own oracle, say."""
    native_price_max_age_seconds: int = Field(default=86_400, gt=0)
    relay: RelaySettings | None = None
    """None: the chain's public endpoints, all at once."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.native_price_feed is not None and self.native_price_oracle is not None:
            raise ValueError("expected native_price_feed or native_price_oracle, got both")
        return self


class DeriSettings(_AnyMarket):
    """A pool of Deri Protocol V3."""

    protocol: Literal["deri-v3"]
    pool: Address
    price_servers: tuple[Endpoint, ...] = Field(default=(), repr=False)
    poll_seconds: float = Field(default=0.5, gt=0, le=60)
    native_price_b0: Decimal = Field(gt=0)
    """What one native coin is worth in the pool's base token, for weighing a reward against gas."""
    min_profit_b0: Decimal = Decimal(0)
    shadow_accounts: int = Field(default=2, ge=0)
    """Accounts compared with the chain by ``eth_call`` each block; 0 turns the shadow check off."""
    shadow_stops_sending: bool = True
    headroom_alert_percent: Decimal = Field(default=Decimal(5), ge=0)
    """An alert when the others need to add less than this share of what they staked to put us below the average."""
    stakes_start_block: int | None = Field(default=None, ge=0)
    """From where the privileger's events are read, for the rank among the stakers; None: it is not asked for."""


class MeridianSettings(_AnyMarket):
    """A vault of Meridian Trade (GMX v1 style)."""

    protocol: Literal["meridian"]
    vault: Address
    position_manager: Address | None = None
    """None: the vault's own route."""
    fee_receiver: Address | None = None
    native_price_usd: Decimal = Field(gt=0)
    min_profit_usd: Decimal = Decimal(0)
    close_state_2: Literal["never", "always", "budget"] = "never"
    state_2_budget_per_day: Decimal = Field(default=Decimal(0), ge=0, description="native coin")
    state_2_max_cost: Decimal = Field(default=Decimal("0.01"), ge=0, description="native coin, for one closing")
    settings_seconds: int = Field(default=10, ge=0)
    """How often the vault's settings and lists, which change without an event, are read again."""
    start_block: int = Field(default=0, ge=0)


MarketSettings = Annotated[DeriSettings | MeridianSettings, Field(discriminator="protocol")]


class StoreSettings(_Section):
    path: Placed = Field(Path("var/keeper.sqlite"), validate_default=True)


class LogSettings(_Section):
    format: Literal["auto", "json", "text"] = "auto"
    """auto: text on a terminal, else JSON."""
    level: Literal["debug", "info", "warning", "error"] = "info"


class HttpSettings(_Section):
    """The console, the metrics and the health checks."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65535)
    """0 takes a free one; the log names it."""
    token_file: Placed | None = None
    """Whoever shows this token may pause, resume, and have a stopped market read anew. Without one nobody may."""
    read_without_token: bool = False
    """On an address that others reach, reading asks for the token too, unless this is set."""

    @property
    def is_local(self) -> bool:
        """Nobody but this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @model_validator(mode="after")
    def _guarded(self) -> HttpSettings:
        if not self.is_local and self.token_file is None:
            raise ValueError("listening on an address that others reach asks for a token_file; or use 127.0.0.1")
        return self


class AlertSettings(_Section):
    """Who is told when something needs attention."""

    urls_file: Placed | None = None
    """One Apprise URL a line (mail, Telegram, Slack, a webhook ...). They hold credentials: only a file takes them."""
    least_level: Literal["info", "warning", "critical"] = "warning"
    quiet_minutes: float = Field(default=15, ge=0)
    """The same thing is not told again for this long."""
    summary_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] | None = "08:00"
    """When the daily summary is sent (UTC); leave the URLs out to have none."""


class ForkSettings(_Section):
    """The fork of the network on which a dry run and a rehearsal act."""

    anvil: Placed | None = None
    """The program; None: `anvil` on the PATH. A dry run without one simulates at the node."""


class Settings(BaseSettings):
    """The whole configuration. ``load`` is the way to make one."""

    model_config = SettingsConfigDict(
        env_prefix="KEEPER_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    mode: Mode = Mode.LIVE
    chains: dict[str, ChainSettings] = Field(min_length=1)
    markets: dict[str, MarketSettings] = Field(min_length=1)
    store: StoreSettings = Field(default_factory=StoreSettings)
    log: LogSettings = LogSettings()
    http: HttpSettings = HttpSettings()
    alerts: AlertSettings = AlertSettings()
    fork: ForkSettings = ForkSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name, market in self.markets.items():
            if market.chain not in self.chains:
                raise ValueError(f"market {name!r} names chain {market.chain!r}; known: {', '.join(self.chains)}")
        if self.mode is Mode.LIVE:
            for name in {market.chain for market in self.markets.values()}:
                if not self.chains[name].signers:
                    raise ValueError(f"mode live needs at least one [[chains.{name}.signers]]; or set mode = 'observe'")
        return self


def urls_of(settings: Settings) -> Iterator[str]:
    """Every URL of the configuration that may hold a credential."""
    for chain in settings.chains.values():
        yield from chain.endpoints
        if chain.archive is not None:
            yield chain.archive
        yield from (signer.remote for signer in chain.signers if signer.remote is not None)
    for market in settings.markets.values():
        if market.relay is not None:
            yield market.relay.url
        if isinstance(market, DeriSettings):
            yield from market.price_servers


def load(path: Path) -> Settings:
    """Read the configuration; relative paths in it count from the folder of the file.

    Raises ``ConfigError`` naming every key that is wrong, never a value (it may be a credential).
    """
    try:
        raw = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"a configuration file at {path}", f"it can't be read ({error.strerror})", "pass --config FILE"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("valid TOML", f"{path}: {error}", "correct that line") from None
    before = _folder.set(path.resolve().parent)
    try:
        return Settings(**raw)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            "a valid configuration", f"{path} has {faults}", "see config/ for commented examples"
        ) from None
    finally:
        _folder.reset(before)
