"""``scripts/devnet``: a local market that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import enum
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.daemon import LocalMarket, write_config
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import DeriWorld, all_kinds, full_pool, three_futures
from keeper.devnet.rpc import connect
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


@app.callback()
def _commands() -> None:
    """A local market for tests, demos and trying things out."""


@app.command()
def deri(
    traders: Annotated[int, typer.Option(help="Accounts with positions.", min=0)] = 200,
    kind: Annotated[Kind, typer.Option(help="Which market.")] = Kind.FUTURES,
    seed: Annotated[int, typer.Option(help="Another seed gives other accounts.")] = 1,
    port: Annotated[int, typer.Option(help="Anvil's port; 0 takes a free one.")] = 8545,
    price_port: Annotated[int, typer.Option(help="The price server's port; 0 takes a free one.")] = 8546,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks; 0 mines one per transaction.")] = 1.0,
    chain_id: Annotated[int, typer.Option(help="The chain id of the Anvil that is started.")] = 31337,
    rpc: Annotated[str | None, typer.Option(help="Use this running Anvil instead of starting one.")] = None,
    host: Annotated[str, typer.Option(help="Where Anvil and the price server listen.")] = "127.0.0.1",
    state_dir: Annotated[Path, typer.Option(help="Where devnet.json and the keeper's files go.")] = Path("var/devnet"),
) -> None:
    """A Deri V3 pool, and a server of signed prices (moved by POST /control)."""
    options = AnvilOptions(block_time=block_time or None, chain_id=chain_id, port=port, host=host)
    try:
        asyncio.run(_run_deri(_WORLDS[kind](traders, seed=seed), options, rpc, price_port, state_dir))
    except KeeperError as error:
        typer.echo(f"devnet: {error}", err=True)
        raise typer.Exit(1) from None


async def _run_deri(world: DeriWorld, options: AnvilOptions, rpc: str | None, price_port: int, folder: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(connect(rpc) if rpc else run_anvil(options))
        devnet = await stack.enter_async_context(deri_market(node, world, host=options.host, port=price_port))
        chain_id = await node.chain_id()
        config = _write_files(devnet, chain_id, folder)
        _tell(devnet, folder, config)
        await stop.wait()


def _write_files(devnet: DeriDevnet, chain_id: int, folder: Path) -> Path:
    """``devnet.json``, and a keystore and a configuration for a keeper; the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    market = LocalMarket("deri", devnet.pool.address, devnet.oracle.url)
    config = write_config(folder, devnet.node.http_url, [market], devnet.liquidator_key, chain_id=chain_id)
    (folder / "devnet.json").write_text(json.dumps({"chain_id": chain_id, **devnet.describe()}, indent=2) + "\n")
    return config


def _tell(devnet: DeriDevnet, folder: Path, config: Path) -> None:
    typer.echo(
        f"pool          {devnet.pool.address} with {len(devnet.traders)} accounts\n"
        f"node          {devnet.node.http_url}\n"
        f"price server  {devnet.oracle.url}\n"
        f"liquidator    {devnet.liquidator} (has DERI, has not staked)\n"
        f"addresses     {folder / 'devnet.json'}\n"
        f"ready         keeper run --config {config}"
    )


if __name__ == "__main__":
    app(prog_name="devnet")
