"""`keeper rehearse`: liquidate every account that is near, on a fork, with today's configuration and contracts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Annotated

import typer
from rich.table import Table

from keeper.cli.options import ConfigOption, JsonOption, MarketOption, console, quiet_settings
from keeper.cli.progress import counting
from keeper.market_desk import chosen
from keeper.protocols.registry import contract_of, unit_of
from keeper.rehearsal import Act, Result, rehearse
from keeper.settings import Settings

ALL = 1_000_000
_STYLE = {Result.PASSED: "green", Result.FAILED: "bold red", Result.UNREACHABLE: "dim"}


def rehearse_command(
    config: ConfigOption,
    top: Annotated[int, typer.Option("--top", "-n", min=1, help="How many accounts of each market.")] = 20,
    everybody: Annotated[bool, typer.Option("--all", help="Every account.")] = False,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move each near account past its trigger on a fork and liquidate it there. Exit code 1 if one can't be."""
    settings = quiet_settings(config)
    names = chosen(settings, market)
    acts = asyncio.run(_rehearse(settings, names, ALL if everybody else top, show=not as_json))
    if as_json:
        typer.echo(json.dumps([_document(act) for act in acts], indent=2))
    raise typer.Exit(1 if any(act.result is Result.FAILED for act in acts) else 0)


async def _rehearse(settings: Settings, names: list[str], count: int, *, show: bool) -> list[Act]:
    found: list[Act] = []
    for name in names:
        acts = await _acts(settings, name, count)
        if show:
            console().print(table(name, contract_of(settings.markets[name]), unit_of(settings.markets[name]), acts))
        found += acts
    return found


async def _acts(settings: Settings, name: str, count: int) -> list[Act]:
    acts: list[Act] = []
    with counting() as shown:
        task = shown.add_task(f"{name}: reading the market", total=None)

        def expect(accounts: int) -> None:
            shown.update(task, total=accounts, description=f"{name}: {accounts} accounts")

        async for act in rehearse(settings, name, count, expect):
            acts.append(act)
            if act.account:
                shown.update(task, advance=1, description=f"{name}: {_counted(acts)}")
    return acts


def _counted(acts: list[Act]) -> str:
    counts = Counter(act.result for act in acts)
    return ", ".join(f"{counts[result]} {result.value}" for result in Result if counts[result])


def table(name: str, contract: str, unit: str, acts: list[Act]) -> Table:
    """Passes and failures of one market, with reasons."""
    made = Table(title=f"{name} ({contract}): {_counted(acts) or 'nobody is there'}")
    for heading in ("account", "result", "price moved"):
        made.add_column(heading)
    made.add_column(f"reward {unit}", justify="right")
    made.add_column("gas / limit", justify="right")
    made.add_column("reason", overflow="fold")
    for act in acts:
        moved = f"{act.trigger.name} {act.trigger.percent:+.2f}%" if act.trigger else ""
        gas = f"{act.gas_used:,} / {act.gas_limit:,}" if act.gas_limit else ""
        style = _STYLE[act.result]
        made.add_row(
            act.account if len(act.account) <= 14 else f"{act.account[:8]}…{act.account[-4:]}",
            f"[{style}]{act.result.value}[/{style}]",
            moved,
            f"{act.reward_b0 / 10**act.reward_decimals:,.4f}" if act.reward_b0 else "",
            gas,
            act.reason,
        )
    return made


def _document(act: Act) -> dict[str, str | int | float | None]:
    return {
        "market": act.market,
        "account": act.account,
        "result": act.result.value,
        "reason": act.reason,
        "price": act.trigger.name if act.trigger else None,
        "percent": act.trigger.percent if act.trigger else None,
        "promised_raw": str(act.promised_b0),
        "reward_raw": str(act.reward_b0),
        "gas_limit": act.gas_limit,
        "gas_used": act.gas_used,
    }
