"""``scripts/devnet``: a local market that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import enum
import json
import secrets
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalMarket, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deploy_deri, deri_market, price_server
from keeper.devnet.deri_world import DeriWorld, all_kinds, full_pool, three_futures
from keeper.devnet.oracle_server import chain_clock, serve
from keeper.devnet.rpc import DevNode, connect
from keeper.devnet.wander import wander
from keeper.errors import KeeperError

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)


class Kind(enum.StrEnum):
    FUTURES = "futures"
    """A Lite pool with three futures."""
    ALL = "all-kinds"
    """A Lite pool with futures, everlasting options and powers."""
    FULL = "full"
    """A full pool: all kinds, vaults, and some prices from feeds on chain."""


_WORLDS = {Kind.FUTURES: three_futures, Kind.ALL: all_kinds, Kind.FULL: full_pool}
STAKE_DERI = 60_000 * 10**18

Traders = Annotated[int, typer.Option(help="Accounts with positions.", min=0)]
OfKind = Annotated[Kind, typer.Option(help="Which market.")]
Seed = Annotated[int, typer.Option(help="Another seed gives other accounts.")]
StateDir = Annotated[Path, typer.Option(help="Where devnet.json and the keeper's files go.")]
Staked = Annotated[bool, typer.Option("--staked", help="Deposit DERI for the liquidator, so that it qualifies.")]
Wanders = Annotated[bool, typer.Option("--wander", help="Prices swing by themselves, wider and wider.")]


@app.callback()
def _commands() -> None:
    """A local market for tests, demos and trying things out."""


@app.command()
def deri(
    traders: Traders = 200,
    kind: OfKind = Kind.FUTURES,
    seed: Seed = 1,
    port: Annotated[int, typer.Option(help="Anvil's port; 0 takes a free one.")] = 8545,
    price_port: Annotated[int, typer.Option(help="The price server's port; 0 takes a free one.")] = 8546,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks; 0 mines one per transaction.")] = 1.0,
    chain_id: Annotated[int, typer.Option(help="The chain id of the Anvil that is started.")] = 31337,
    rpc: Annotated[str | None, typer.Option(help="Use this running Anvil instead of starting one.")] = None,
    host: Annotated[str, typer.Option(help="Where Anvil and the price server listen.")] = "127.0.0.1",
    state_dir: StateDir = Path("var/devnet"),
    staked: Staked = False,
    wanders: Wanders = False,
) -> None:
    """A Deri V3 pool, and a server of signed prices (moved by POST /control)."""
    options = AnvilOptions(block_time=block_time or None, chain_id=chain_id, port=port, host=host)
    world = _WORLDS[kind](traders, seed=seed)
    _run(_run_deri(world, options, rpc, price_port, state_dir, staked=staked, wanders=wanders))


@app.command()
def deploy(
    rpc: Annotated[str, typer.Option(help="A running Anvil, as the keeper will reach it too.")],
    price_url: Annotated[str, typer.Option(help="Where the price server will be, as the keeper will reach it.")],
    traders: Traders = 200,
    kind: OfKind = Kind.FUTURES,
    seed: Seed = 1,
    state_dir: StateDir = Path("var/devnet"),
    staked: Staked = False,
    http_host: Annotated[str, typer.Option(help="Where the keeper's console is to listen.")] = "127.0.0.1",
) -> None:
    """Deploy the pool and end: for a chain and a price server that run on their own. Once is enough."""
    _run(_deploy(_WORLDS[kind](traders, seed=seed), rpc, price_url, state_dir, http_host, staked=staked))


@app.command()
def prices(
    rpc: Annotated[str, typer.Option(help="The chain whose time the prices carry.")],
    traders: Traders = 200,
    kind: OfKind = Kind.FUTURES,
    seed: Seed = 1,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 8546,
    wanders: Wanders = False,
) -> None:
    """Serve the signed prices of a pool that was deployed with the same kind and seed."""
    _run(_serve_prices(_WORLDS[kind](traders, seed=seed), rpc, host, port, wanders=wanders))


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        asyncio.run(work)
    except KeeperError as error:
        typer.echo(f"devnet: {error}", err=True)
        raise typer.Exit(1) from None


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _run_deri(
    world: DeriWorld,
    options: AnvilOptions,
    rpc: str | None,
    price_port: int,
    folder: Path,
    *,
    staked: bool,
    wanders: bool,
) -> None:
    stop = _told_to_stop()
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(connect(rpc) if rpc else run_anvil(options))
        devnet = await stack.enter_async_context(deri_market(node, world, host=options.host, port=price_port))
        if staked:
            await devnet.confirm(await devnet.stake(devnet.liquidator, STAKE_DERI))
        chain_id = await node.chain_id()
        config = _write_files(devnet, chain_id, folder, devnet.oracle.url)
        _tell(devnet, folder, config)
        moving = asyncio.create_task(wander(devnet.oracle, world)) if wanders else None
        await stop.wait()
        if moving is not None:
            moving.cancel()


async def _deploy(world: DeriWorld, rpc: str, price_url: str, folder: Path, http_host: str, *, staked: bool) -> None:
    async with connect(rpc) as node:
        if await _deployed(node, folder):
            typer.echo("the pool is there already")
            return
        devnet = await deploy_deri(node, world)
        if staked:
            await devnet.confirm(await devnet.stake(devnet.liquidator, STAKE_DERI))
        config = _write_files(devnet, await node.chain_id(), folder, price_url, http_host)
        _tell(devnet, folder, config)


async def _deployed(node: DevNode, folder: Path) -> bool:
    """Whether this very chain holds the pool that the files speak of."""
    try:
        known = json.loads((folder / "devnet.json").read_text())
        pool = known["addresses"]["pool"]
    except (OSError, ValueError, KeyError):
        return False
    return await node.rpc("eth_getCode", pool, "latest") not in ("0x", None)


async def _serve_prices(world: DeriWorld, rpc: str, host: str, port: int, *, wanders: bool) -> None:
    stop = _told_to_stop()
    async with connect(rpc) as node, serve(price_server(world, chain_clock(node)), host=host, port=port) as server:
        typer.echo(f"price server  {server.url}")
        moving = asyncio.create_task(wander(server, world)) if wanders else None
        await stop.wait()
        if moving is not None:
            moving.cancel()


def _write_files(devnet: DeriDevnet, chain_id: int, folder: Path, price_url: str, http_host: str = "127.0.0.1") -> Path:
    """``devnet.json``, and a keystore, a token and a configuration for a keeper; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    market = LocalMarket("deri", devnet.pool.address, price_url)
    token = folder / "token"
    token.write_text(secrets.token_urlsafe(24) + "\n")
    token.chmod(0o600)
    # Reading is open here also on other addresses: whoever forwards the port decides who reaches it.
    http = f'host = "{http_host}"\ntoken_file = "token"\nread_without_token = true'
    config = write_config(folder, devnet.node.http_url, [market], devnet.liquidator_key, chain_id=chain_id, http=http)
    (folder / "devnet.json").write_text(json.dumps({"chain_id": chain_id, **devnet.describe()}, indent=2) + "\n")
    return config


def _tell(devnet: DeriDevnet, folder: Path, config: Path) -> None:
    typer.echo(
        f"pool          {devnet.pool.address} with {len(devnet.traders)} accounts\n"
        f"node          {devnet.node.http_url}\n"
        f"price server  {devnet.oracle.url}\n"
        f"liquidator    {devnet.liquidator} (has DERI)\n"
        f"addresses     {folder / 'devnet.json'}\n"
        f"ready         keeper run --config {config}"
    )


if __name__ == "__main__":
    app(prog_name="devnet")
