"""The recording of `keeper stake` in the README: two commands on a local market, written to docs/images/stake.svg.

    .venv/bin/python -m scripts.picture_stake

The market, its people and its clock are the same each time, and so is the picture.
"""

from __future__ import annotations

import asyncio
import io
import re
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from rich.console import Console
from rich.text import Text

from keeper.cli import stake, stake_tables
from keeper.devnet.anvil import AnvilOptions, run_anvil
from keeper.devnet.deri import DeriDevnet
from keeper.devnet.deri_deploy import deri_market
from keeper.devnet.deri_world import ONE, account_key, address_of, three_futures
from keeper.settings import load
from keeper.stake_desk import open_desk

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "stake.svg"
STARTED = 1_790_000_000
DAY_S = 86_400
WORLD = replace(three_futures(3), lock_seconds=3 * DAY_S, stakes_deri=(60_000, 45_000, 30_000, 12_500))
WIDTH = 130
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""The font would be fetched from elsewhere; the reader's own does as well."""


async def record(console: Console) -> None:
    """Play the two commands to ``console``."""
    async with run_anvil(AnvilOptions(timestamp=STARTED)) as node, deri_market(node, WORLD) as deri:
        second = address_of(account_key(WORLD, "second signer"))
        await deri.confirm(await deri.mint_deri(second, 60_000 * ONE))
        await node.set_next_block_timestamp(STARTED + DAY_S)
        await deri.confirm(await deri.stake(deri.liquidator, 38_000 * ONE))
        await node.set_next_block_timestamp(STARTED + DAY_S + WORLD.lock_seconds + 3_600)
        await node.mine()
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "keeper.toml"
            config.write_text(configuration(deri, second))
            async with open_desk(load(config), None) as desk:
                view = await desk.look(desk.signers())
        console.print(Text("$ keeper stake status", style="bold cyan"))
        console.print(stake_tables.status_table(view))
        console.print()
        console.print(Text("$ keeper stake plan --margin 25", style="bold cyan"))
        console.print(stake_tables.plan_text(view, stake.plans_of(view, Decimal(25))))


def configuration(deri: DeriDevnet, second: str) -> str:
    """Looking needs no key: the files that are named don't exist."""
    signers = "\n".join(
        f'[[chains.local.signers]]\naddress = "{address}"\nkey_file = "none"' for address in (deri.liquidator, second)
    )
    return f"""
[chains.local]
chain_id = 31337
endpoints = ["{deri.node.http_url}"]
{signers}
[markets.deri-lite]
protocol = "deri-v3"
chain = "local"
pool = "{deri.pool.address}"
native_price_b0 = 300
stakes_start_block = 0
"""


def main() -> None:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    asyncio.run(record(console))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    picture = console.export_svg(title="keeper stake", unique_id="stake")
    PICTURE.write_text(_FONTS.sub("", picture))


if __name__ == "__main__":
    main()
