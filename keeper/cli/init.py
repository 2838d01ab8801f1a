"""`keeper init`: a few questions, and a commented configuration that `keeper doctor` can judge."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from eth_utils import is_address, to_checksum_address

from keeper.errors import ConfigError
from keeper.settings import load


@dataclass(frozen=True, slots=True)
class Network:
    """What is known of a chain, and the pools published on it."""

    chain_id: int
    coin: str
    gas: str
    coin_price: str
    """One native coin in dollars, as a start: to be kept current."""
    pools: dict[str, str]


NETWORKS = {
    "bnb": Network(
        56,
        "BNB",
        'policy = "percentile-tip"           # what recent blocks paid, at tip_percentile\ntip_percentile = 60\n'
        "tip_gwei = 0.1\nmax_fee_gwei = 10",
        "600",
        {
            "lite": "0xD2D950e338478eF7FeB092F840920B3482FcaC40",
            "option": "0x243681B8Cd79E3823fF574e07B2378B8Ab292c1E",
        },
    ),
    "arbitrum": Network(
        42161,
        "ETH",
        'policy = "fixed-tip"                # first come, first served: a tip buys nothing\ntip_gwei = 0\n'
        'max_fee_gwei = 2\ndata_fee = "arbitrum"',
        "3000",
        {"pool1": "0xDE3447Eb47EcDf9B5F90E7A6960a14663916CeE8"},
    ),
    "local": Network(31337, "ETH", 'policy = "fixed-tip"\ntip_gwei = 1\nmax_fee_gwei = 100', "300", {}),
}


def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("keeper.toml"),
    network: Annotated[str | None, typer.Option(help=f"One of {', '.join(NETWORKS)}.")] = None,
    protocol: Annotated[str, typer.Option(help="deri-v3 or meridian.")] = "deri-v3",
    pool: Annotated[
        str | None, typer.Option(help="A published pool's name, or the address of a pool or vault.")
    ] = None,
    endpoint: Annotated[list[str] | None, typer.Option(help="A URL or file:PATH, best first; repeat it.")] = None,
    price_server: Annotated[list[str] | None, typer.Option(help="Deri: a URL or file:PATH; repeat it.")] = None,
    keystore: Annotated[Path | None, typer.Option(help="The encrypted keystore; `none` to observe only.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="The file with its password.")] = None,
    address: Annotated[str | None, typer.Option(help="The liquidator, if the keystore does not say.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration. What no option says is asked for."""
    if output.exists() and not force:
        raise ConfigError(f"no file at {output} yet", "there is one", "pass --force, or another --output")
    chosen = _network(network or _ask("network", f"Network ({', '.join(NETWORKS)})", "bnb"))
    known = "".join(f", or {name}" for name in chosen.pools)
    contract = _contract(
        chosen, pool or _ask("pool", f"Pool or vault (an address{known})", next(iter(chosen.pools), ""))
    )
    endpoints = endpoint or _ask("endpoint", "Endpoints, best first (URLs or file:PATH, with spaces)", "").split()
    servers = price_server or []
    if protocol == "deri-v3" and not servers:
        servers = _ask("price-server", "Price servers (URLs or file:PATH, with spaces)", "").split()
    keystore = keystore or Path(_ask("keystore", "Keystore file (none: observe only)", "none"))
    if str(keystore) == "none":
        keystore = None
    elif password_file is None:
        password_file = Path(_ask("password-file", "File with its password", "password"))
    liquidator = _liquidator(address, keystore)
    text = _document(protocol, chosen, contract, endpoints, servers, liquidator, keystore, password_file)
    output.parent.mkdir(parents=True, exist_ok=True)
    before = output.read_text() if output.exists() else None
    output.write_text(text)
    try:
        load(output)
    except ConfigError:
        _restore(output, before)
        raise
    typer.echo(f"{output} written; next: keeper doctor --config {output}")


def _restore(output: Path, before: str | None) -> None:
    if before is None:
        output.unlink()
    else:
        output.write_text(before)


def _ask(option: str, question: str, default: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(f"--{option}", "it was not given, and nobody is there to be asked", "pass it")
    return str(typer.prompt(question, default=default or None))


def _network(name: str) -> Network:
    if name not in NETWORKS:
        raise ConfigError(f"a network out of {', '.join(NETWORKS)}", repr(name), "start from an example in config/")
    return NETWORKS[name]


def _contract(network: Network, pool: str) -> str:
    found = network.pools.get(pool, pool)
    if not is_address(found):
        known = ", ".join(network.pools) or "none"
        raise ConfigError(f"an address, or a pool known by name ({known})", repr(pool), "correct --pool")
    return str(to_checksum_address(found))


def _liquidator(address: str | None, keystore: Path | None) -> str:
    """Who liquidates: as told, as the keystore says, or as answered."""
    if address is None and keystore is not None:
        try:
            address = str(json.loads(keystore.read_text()).get("address", ""))
        except (OSError, ValueError, AttributeError) as error:
            came = getattr(error, "strerror", None) or "it is no keystore"
            raise ConfigError(f"an encrypted keystore at {keystore}", str(came), "correct --keystore") from None
    address = address or _ask("address", "Address of the liquidator", "")
    if not is_address(address):
        raise ConfigError("the liquidator's address", repr(address), "pass --address")
    return str(to_checksum_address(address))


def _document(
    protocol: str,
    network: Network,
    contract: str,
    endpoints: list[str],
    servers: list[str],
    liquidator: str,
    keystore: Path | None,
    password_file: Path | None,
) -> str:
    signer = f'liquidator = "{liquidator}"      # whose place observe and dry-run take'
    if keystore is not None:
        signer = f'[[chains.main.signers]]\naddress = "{liquidator}"\nkeystore = {json.dumps(str(keystore.absolute()))}'
        if password_file is not None:
            signer += f"\npassword_file = {json.dumps(str(password_file.absolute()))}"
    before, after = (signer, "") if keystore is None else ("", "\n" + signer + "\n")
    return f"""\
# Written by `keeper init`. Every key can be overridden by the environment (KEEPER_MODE=live); unknown keys are refused;
# relative paths count from the folder of this file.

# observe: decide, send nothing. live: send. Go live when what you see convinces you.
mode = "observe"

[store]
path = "keeper.sqlite"              # the journal; each market's mirror gets a file of its own beside it

[http]
port = 8787                         # console, metrics, /ready; on 127.0.0.1 only
# token_file = "token"              # whoever shows this token may pause and resume

[alerts]
# urls_file = "alerts"              # one Apprise URL a line: mail, Telegram, Slack, webhooks
least_level = "warning"

[chains.main]
chain_id = {network.chain_id}
endpoints = {json.dumps(endpoints)}     # best first; a URL with a key belongs into a file: "file:PATH"
{before}
[chains.main.gas]
{network.gas}
budget_per_hour = 0.05              # {network.coin}; a breaker: beyond it nothing is sent
budget_per_day = 0.2
low_balance = 0.05                  # {network.coin}; warns below it
{after}
[markets.main]
chain = "main"
{_market(protocol, network, contract, servers)}"""


def _market(protocol: str, network: Network, contract: str, servers: list[str]) -> str:
    if protocol == "meridian":
        return f"""\
protocol = "meridian"
vault = "{contract}"
start_block = 0                     # a block before the vault's first position: a later one starts sooner
native_price_usd = {network.coin_price}              # one {network.coin} in dollars: keep it current
min_profit_usd = 1
"""
    if protocol != "deri-v3":
        raise ConfigError("protocol deri-v3 or meridian", repr(protocol), "correct --protocol")
    return f"""\
protocol = "deri-v3"
pool = "{contract}"
price_servers = {json.dumps(servers)}
poll_seconds = 0.3
native_price_b0 = {network.coin_price}               # one {network.coin} in the base token: keep it current
min_profit_b0 = 1
"""
