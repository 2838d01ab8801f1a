"""What `keeper init` writes: a commented configuration, with what is known of each network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

NetworkName = Literal["bnb", "arbitrum", "base", "fuse", "telos", "local"]
Protocol = Literal["deri-v3", "meridian"]


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of a chain, and of the protocol that is at home there."""

    chain_id: int
    coin: str
    coin_price: str
    """One native coin in dollars, as a start: to be kept current."""
    protocol: Protocol
    gas: str
    budget: tuple[str, str, str]
    """In coins: for an hour, for a day, and the balance below which it warns."""
    pools: dict[str, str] = field(default_factory=dict)
    """Published pools of Deri by name."""


_PERCENTILE = 'policy = "percentile-tip"           # what recent blocks paid, at tip_percentile\ntip_percentile = 60\n'
NETWORKS: dict[NetworkName, Network] = {
    "bnb": Network(
        56,
        "BNB",
        "600",
        "deri-v3",
        _PERCENTILE + "tip_gwei = 0.1\nmax_fee_gwei = 10",
        ("0.05", "0.2", "0.05"),
        {
            "lite": "0xD2D950e338478eF7FeB092F840920B3482FcaC40",
            "option": "0x243681B8Cd79E3823fF574e07B2378B8Ab292c1E",
        },
    ),
    "arbitrum": Network(
        42161,
        "ETH",
        "3000",
        "deri-v3",
        'policy = "fixed-tip"                # first come, first served: a tip buys nothing\ntip_gwei = 0\n'
        'max_fee_gwei = 2\ndata_fee = "arbitrum"',
        ("0.05", "0.2", "0.05"),
        {"pool1": "0xDE3447Eb47EcDf9B5F90E7A6960a14663916CeE8"},
    ),
    "base": Network(
        8453,
        "ETH",
        "3000",
        "meridian",
        'policy = "profit-share"             # a tip of up to profit_share_percent of what is left of the reward\n'
        'profit_share_percent = 30\nmax_fee_gwei = 5\ndata_fee = "op-stack"',
        ("0.05", "0.2", "0.02"),
    ),
    "fuse": Network(
        122, "FUSE", "0.03", "meridian", _PERCENTILE + "tip_gwei = 1\nmax_fee_gwei = 100", ("20", "100", "10")
    ),
    "telos": Network(
        40,
        "TLOS",
        "0.1",
        "meridian",
        'policy = "legacy"                   # a gas price instead of a base fee and a tip\nmax_fee_gwei = 1000',
        ("20", "100", "10"),
    ),
    "local": Network(
        31337,
        "ETH",
        "300",
        "deri-v3",
        'policy = "fixed-tip"\ntip_gwei = 1\nmax_fee_gwei = 100',
        ("0.05", "0.2", "0.05"),
    ),
}


@dataclass(frozen=True, slots=True)
class Market:
    """The market to watch; ``manager`` and ``servers`` are of one protocol each."""

    protocol: Protocol
    contract: str
    manager: str | None = None
    servers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who liquidates. Without a keystore nothing can be sent, only watched."""

    address: str
    keystore: Path | None = None
    password_file: Path | None = None


def document(network: Network, market: Market, endpoints: tuple[str, ...], sender: Sender) -> str:
    """The whole file. It starts by observing: to send is a decision of its own."""
    per_hour, per_day, low = network.budget
    coins = f"# {network.coin}; "
    if sender.keystore is None:
        stand_in, signer = f'liquidator = "{sender.address}"      # whose place observe and dry-run take\n', ""
    else:
        stand_in = ""
        signer = (
            f'\n[[chains.main.signers]]\naddress = "{sender.address}"\nkeystore = {_toml(str(sender.keystore))}\n'
            f"password_file = {_toml(str(sender.password_file))}\n"
        )
    return f"""\
# Written by `keeper init`. Every key can be overridden by the environment (KEEPER_MODE=live); unknown keys are refused;
# relative paths count from the folder of this file, but after "file:" they have to be absolute.

# observe: decide, send nothing. live: send. Go live when what you see convinces you.
mode = "observe"

[store]
path = "keeper.sqlite"              # the journal; each market's mirror gets a file of its own beside it

[http]
port = 8787                         # console, metrics, /ready; on 127.0.0.1 only
# token_file = "token"              # whoever shows this token may use the console's switches

[alerts]
# urls_file = "alerts"              # one Apprise URL a line: mail, Telegram, Slack, webhooks
least_level = "warning"

# For `keeper rehearse` and mode = "dry-run": where Anvil is, if not on the PATH.
# [fork]
# anvil = "/usr/local/bin/anvil"

[chains.main]
chain_id = {network.chain_id}
# Best first. A URL with a key belongs into a file that only the keeper can read: "file:/run/secrets/node".
endpoints = {_toml(list(endpoints))}
{stand_in}
[chains.main.gas]
{network.gas}
{f"budget_per_hour = {per_hour}":35} {coins}a breaker: beyond it nothing is sent
{f"budget_per_day = {per_day}":35} {coins}the same for a day
{f"low_balance = {low}":35} {coins}warns below it
{signer}
[markets.main]
chain = "main"
{_market_lines(network, market)}"""


def _market_lines(network: Network, market: Market) -> str:
    worth = f"# one {network.coin}"
    if market.protocol == "meridian":
        price = f"native_price_usd = {network.coin_price}"
        manager = f'position_manager = "{market.manager}"'
        return f"""\
protocol = "meridian"
vault = "{market.contract}"
{manager if market.manager else "# position_manager = ...           # without one the vault itself is called"}
start_block = 0                     # a block before the vault's first position: a later one starts sooner
{price:35} {worth} in dollars: keep it current
min_profit_usd = 1
"""
    price = f"native_price_b0 = {network.coin_price}"
    return f"""\
protocol = "deri-v3"
pool = "{market.contract}"
price_servers = {_toml(list(market.servers))}
poll_seconds = 0.3
{price:35} {worth} in the base token: keep it current
min_profit_b0 = 1
"""


def _toml(value: object) -> str:
    """A text, or a list of texts: JSON's form of it is TOML's too, but for characters beyond 16 bits."""
    return json.dumps(value, ensure_ascii=False)
