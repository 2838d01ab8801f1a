"""`keeper replay`: the past, as this keeper would have seen it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from keeper.chain.configured import lane_settings_of, liquidators_of
from keeper.chain.endpoint import Endpoint
from keeper.chain.logs import PastLogs
from keeper.chain.rpc import Rpc
from keeper.cli.options import ConfigOption, MarketOption, console, quiet_settings
from keeper.cli.progress import progress
from keeper.market_desk import chosen
from keeper.protocols.registry import contract_of, make_market, unit_of, worth_of
from keeper.replay.findings import Finding, Line, as_csv, as_json, line_of
from keeper.replay.history import History, check_range
from keeper.replay.walk import Price, Replay
from keeper.settings import Settings
from keeper.store.mirror import Identity, MirrorStore

SHOWN = 40
"""Lines of the table on a terminal; all of them are in the file."""


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int


def _written(value: str) -> Path:
    path = Path(value)
    if path.suffix not in (".csv", ".json"):
        raise typer.BadParameter("expected a name that ends with .csv or .json")
    if not os.access(path.absolute().parent, os.W_OK):
        # Now, and not after hours of walking.
        raise typer.BadParameter(f"the folder {path.absolute().parent} can't be written")
    return path


def replay(
    config: ConfigOption,
    first: Annotated[int, typer.Option("--from", metavar="BLOCK", help="The first block.")],
    last: Annotated[int, typer.Option("--to", metavar="BLOCK", help="The last block.")],
    market: MarketOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", parser=_written, metavar="FILE", help="A .csv or .json file to write.")
    ] = None,
) -> None:
    """Walk through past blocks: what was liquidated, what we would have, who was earlier. Run it again to go on."""
    settings = quiet_settings(config)
    names = chosen(settings, market)
    found = asyncio.run(_replay(settings, names, _Range(first, last)))
    lines = [
        line_of(name, finding, worth_of(settings.markets[name]).native_price_e18)
        for name, findings in found.items()
        for finding in findings
    ]
    if out is not None:
        out.write_text(as_csv(lines) if out.suffix == ".csv" else as_json(lines))
    for name in names:
        console().print(table(name, unit_of(settings.markets[name]), [line for line in lines if line.market == name]))


async def _replay(settings: Settings, names: Sequence[str], wanted: _Range) -> dict[str, list[Finding]]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found = {}
    with progress(*columns) as shown:
        for name in names:
            found[name] = await _walk(settings, name, wanted, shown)
    return found


async def _walk(settings: Settings, name: str, wanted: _Range, shown: Progress) -> list[Finding]:
    market_settings = settings.markets[name]
    chain = settings.chains[market_settings.chain]
    liquidators = liquidators_of(market_settings.chain, chain)
    urls = (chain.archive,) if chain.archive is not None else chain.endpoints
    endpoints = [Endpoint(url, at, chain.requests_per_second) for at, url in enumerate(urls)]
    async with Rpc(endpoints, chain.chain_id) as rpc:
        history = History(rpc)
        await check_range(history, wanted.first, wanted.last)
        path = settings.store.path.with_name(f"{settings.store.path.stem}.{name}.replay.sqlite")
        store = await MirrorStore.open(path, Identity(chain.chain_id, name, contract_of(market_settings)))
        try:
            lane = lane_settings_of(chain)
            price = Price(worth_of(market_settings), lane.fees.tip_wei, lane.fee_rules)
            market = make_market(name, market_settings, liquidators, None, PastLogs(rpc))
            walked = Replay(market, liquidators[0], history, price, wanted.first, store)
            task = shown.add_task(name, total=wanted.last - wanted.first + 1)
            async for at in walked.run(wanted.last):
                shown.update(
                    task,
                    completed=at.number - wanted.first + 1,
                    description=f"{name}: block {at.number:,}, {len(at.findings)} found",
                )
        finally:
            await store.close()
    return walked.findings


def table(name: str, unit: str, lines: Sequence[Line]) -> Table:
    """The first findings of a market, and what all of them add up to."""
    counts = Counter(line.verdict.split(" by ")[0] for line in lines)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "nothing happened"
    made = Table(title=f"{name}: {said}", caption=f"and {len(lines) - SHOWN} more" if len(lines) > SHOWN else None)
    made.add_column("account")
    for heading in ("our block", "their block"):
        made.add_column(heading, justify="right")
    made.add_column("ours against theirs")
    for heading in (f"reward {unit}", f"profit {unit}"):
        made.add_column(heading, justify="right")
    made.add_column("by")
    made.add_column("note")
    for line in lines[:SHOWN]:
        made.add_row(
            _short(line.account),
            _number(line.our_block),
            _number(line.their_block),
            line.verdict,
            "" if line.reward is None else f"{line.reward:,.4f}",
            "" if line.profit is None else f"{line.profit:,.4f}",
            _short(line.their_address),
            line.reason or (f"not allowed then: {line.refusal}" if line.refusal else ""),
        )
    return made


def _number(block: int | None) -> str:
    return "" if block is None else f"{block:,}"


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:8]}…{name[-4:]}"
