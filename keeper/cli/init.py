"""`keeper init`: a few questions, and a commented configuration that `keeper doctor` accepts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

import typer
from eth_utils import is_address, to_checksum_address
from pydantic import TypeAdapter, ValidationError

from keeper.cli.template import NETWORKS, Market, Network, NetworkName, Protocol, Sender, document
from keeper.errors import ConfigError
from keeper.settings import Endpoint, load

NONE = "none"
"""The answer of whoever has no such thing."""

_T = TypeVar("_T")


def init(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("keeper.toml"),
    network: Annotated[NetworkName | None, typer.Option(help="The chain, with gas settings that suit it.")] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="By itself, what is at home on the network.")] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="The address of a pool or vault; or lite, option (bnb), pool1 (arbitrum).", metavar="POOL"),
    ] = None,
    position_manager: Annotated[
        str | None, typer.Option(help="Meridian: its address; `none` to call the vault itself.", metavar="ADDRESS")
    ] = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="A URL or file:PATH, best first; repeat it.", metavar="URL")
    ] = None,
    price_server: Annotated[
        list[str] | None,
        typer.Option(help="Deri: a URL or file:PATH; repeat it. `none` if no price is signed.", metavar="URL"),
    ] = None,
    keystore: Annotated[
        str | None, typer.Option(help="The encrypted keystore; `none` to observe only.", metavar="FILE")
    ] = None,
    password_file: Annotated[Path | None, typer.Option(help="The file with its password.", metavar="FILE")] = None,
    address: Annotated[
        str | None, typer.Option(help="The liquidator, if the keystore does not say.", metavar="ADDRESS")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented configuration. What no option says is asked for."""
    _check_output(output, force=force)
    chain = _given("network", network, f"Network ({', '.join(NETWORKS)})", _network, "bnb")
    spoken = protocol or chain.protocol
    market = _market(spoken, chain, pool, position_manager, price_server)
    endpoints = _given("endpoint", endpoint, "Endpoints, best first (URLs or file:PATH, with spaces)", _endpoints)
    sender = _sender(keystore, password_file, address)
    _write(output, document(chain, market, endpoints, sender))
    typer.echo(f"{output} written; next: keeper doctor --config {output}")


# Asking and checking


def _given(option: str, value: object, question: str, accept: Callable[[str], _T], default: str = "") -> _T:
    """What the option says, else what is answered; a wrong answer is asked for again. Raises ``ConfigError``."""
    if value is not None:
        return accept(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    if not _somebody_is_there():
        raise ConfigError(f"--{option}", "it was not given, and nobody is there to be asked", "pass it")
    while True:
        try:
            return accept(str(typer.prompt(question, default=default or None)).strip())
        except ConfigError as error:
            typer.echo(f"Expected {error.expected}, but {error.came}.")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _check_output(output: Path, *, force: bool) -> None:
    if output.is_dir():
        raise ConfigError("a file to write", f"{output} is a folder", "pass another --output")
    if output.exists() and not force:
        raise ConfigError(f"no file at {output} yet", "there is one", "pass --force, or another --output")


def _network(name: str) -> Network:
    for known, network in NETWORKS.items():
        if name == known:
            return network
    raise ConfigError(f"a network out of {', '.join(NETWORKS)}", repr(name), "start from an example in config/")


def _market(
    protocol: Protocol, network: Network, pool: str | None, manager: str | None, servers: list[str] | None
) -> Market:
    if protocol == "meridian":
        if servers:
            raise ConfigError("no --price-server: a vault's prices are on the chain", "one was given", "leave it out")
        vault = _given("pool", pool, "Address of the vault", lambda said: _address(said, "the vault's address"))
        if manager is None and not _somebody_is_there():
            manager = NONE
        question = f"Address of the position manager ({NONE}: the vault itself)"
        return Market(protocol, vault, _given("position-manager", manager, question, _manager, NONE))
    if manager is not None:
        raise ConfigError("--position-manager with a vault of Meridian", "the market is Deri's", "leave it out")
    known = "".join(f", or {name}" for name in network.pools)
    question = f"Pool (an address{known})"
    contract = _given("pool", pool, question, lambda said: _pool(network, said), next(iter(network.pools), ""))
    question = f"Price servers (URLs or file:PATH, with spaces; {NONE}: no price is signed)"
    return Market(protocol, contract, servers=_given("price-server", servers, question, _servers))


def _sender(keystore: str | None, password_file: Path | None, address: str | None) -> Sender:
    held = _given("keystore", keystore, f"Keystore file ({NONE}: observe only)", _keystore, NONE)
    if held is None:
        if password_file is not None:
            raise ConfigError("--password-file with a --keystore", "there is no keystore", "leave it out")
    else:
        password_file = _given("password-file", password_file, "File with its password", _readable, "password")
        address = address or held.address or None
    liquidator = _given("address", address, "Address of the liquidator", _liquidator)
    return Sender(liquidator, held.path if held else None, password_file)


def _pool(network: Network, said: str) -> str:
    known = f", or a pool known by name ({', '.join(network.pools)})" if network.pools else ""
    return _address(network.pools.get(said, said), f"an address{known}")


def _manager(said: str) -> str | None:
    return None if said == NONE else _address(said, f"the position manager's address, or {NONE}")


def _liquidator(said: str) -> str:
    return _address(said, "the liquidator's address")


def _address(said: str, expected: str) -> str:
    if not is_address(said):
        raise ConfigError(expected, f"{said!r} is no address", "an address is 0x and 40 hexadecimal digits")
    return str(to_checksum_address(said))


def _endpoints(said: str) -> tuple[str, ...]:
    return _urls(said, "endpoints")


def _servers(said: str) -> tuple[str, ...]:
    return () if said == NONE else _urls(said, "price servers")


def _urls(said: str, what: str) -> tuple[str, ...]:
    """URLs as the settings take them; the path of a file counts from here, not from where the configuration goes."""
    expected = f"{what} as URLs (http://, https://, ws:// or wss://) or file:PATH"
    found = []
    for word in said.split():
        try:
            url = TypeAdapter(Endpoint).validate_python(word)
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            came = reason if word.startswith("file:") else "one is neither"
            raise ConfigError(expected, came, "correct it") from None
        if not urlsplit(url).hostname:
            # The value itself is not named: it may hold a credential.
            raise ConfigError(expected, "one names no host", "correct it")
        found.append(f"file:{Path(word.removeprefix('file:')).absolute()}" if word.startswith("file:") else word)
    if not found:
        raise ConfigError(expected, "there is none", "name at least one")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Keystore:
    path: Path
    address: str
    """As the file says, which it need not; else empty."""


def _keystore(said: str) -> _Keystore | None:
    if said == NONE:
        return None
    path = _readable(said)
    try:
        content = json.loads(path.read_text())
    except ValueError:  # Also of bytes that are no text.
        content = None
    if not isinstance(content, dict) or "crypto" not in map(str.lower, content):
        raise ConfigError(f"an encrypted keystore at {path}", "it is none", "name the JSON file, not the key")
    return _Keystore(path, str(content.get("address") or ""))


def _readable(said: str) -> Path:
    path = Path(said).absolute()
    try:
        path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"a readable file at {path}", str(error.strerror), "correct the path, or its rights"
        ) from None
    return path


# Writing


def _write(output: Path, text: str) -> None:
    """Write what loads; else leave everything as it was. Raises ``ConfigError``."""
    before = output.read_text() if output.exists() else None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    except OSError as error:
        raise ConfigError(f"to write {output}", str(error.strerror), "pass another --output") from None
    try:
        load(output)
    except ConfigError:
        if before is None:
            output.unlink()
        else:
            output.write_text(before)
        raise
