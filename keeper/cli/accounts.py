"""`keeper accounts`: who is nearest to liquidation now."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, TypeAlias

import typer
from rich.table import Table

from keeper.cli.options import ConfigOption, JsonOption, MarketOption, console, quiet_settings
from keeper.cli.progress import waiting
from keeper.market_desk import MarketDesk, Standing, chosen, open_market
from keeper.model import Verdict
from keeper.protocols.market import Trigger
from keeper.settings import Settings

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_WEI = 10**18


def accounts(
    config: ConfigOption,
    top: Annotated[int, typer.Option("--top", "-n", min=1, max=1000, help="How many, of each market.")] = 20,
    market: MarketOption = None,
    as_json: JsonOption = False,
) -> None:
    """The accounts nearest to liquidation now: margin, maintenance, distance, triggers, reward, eligibility."""
    settings = quiet_settings(config)
    names = chosen(settings, market)
    asyncio.run(_show(settings, names, top, as_json=as_json))


async def _show(settings: Settings, names: Sequence[str], top: int, *, as_json: bool) -> None:
    found: list[Json] = []
    for name in names:
        async with AsyncExitStack() as stack:
            with waiting(f"reading {name}"):
                desk = await stack.enter_async_context(open_market(settings, name))
                standings = desk.standings(top)
            if as_json:
                found.append(document(desk, standings))
            else:
                out = console()
                out.print(table(desk, standings))
                for line in eligibility_lines(desk):
                    out.print(line, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(found, indent=2))


def table(desk: MarketDesk, standings: Sequence[Standing]) -> Table:
    """The accounts of one market, nearest first."""
    made = Table(title=f"{desk.name}: {desk.market.accounts_watched()} accounts at block {desk.head.number}")
    made.add_column("account")
    for heading in ("margin", "maintenance", "left", "distance"):
        made.add_column(heading, justify="right")
    made.add_column("liquidatable at")
    made.add_column("reward there", justify="right")
    for standing in standings:
        it = standing.assessment
        reward = next((trigger.value_e18 for trigger in standing.triggers if trigger.value_e18), it.value_e18)
        made.add_row(
            _short(it.account),
            _money(it.margin_e18),
            _money(it.required_e18),
            _money(it.margin_e18 - it.required_e18),
            "now" if it.verdict is Verdict.LIQUIDATABLE else _percent(standing.percent),
            "\n".join(map(_trigger, standing.triggers)) or it.reason or "no price",
            _money(reward),
        )
    return made


def eligibility_lines(desk: MarketDesk) -> list[str]:
    """Who may liquidate in the market, one sentence each."""
    lines = []
    for address, right in desk.rights().items():
        verdict = "may liquidate" if right.allowed else f"may not liquidate ({right.reason})"
        remedy = f"; {right.remedy}" if right.remedy else ""
        lines.append(f"{address} {verdict}: {right.detail}{remedy}")
    return lines


def document(desk: MarketDesk, standings: Sequence[Standing]) -> Json:
    """The same for programs: amounts as integers in strings where they outgrow a double."""
    return {
        "market": desk.name,
        "block": desk.head.number,
        "block_hash": desk.head.hash,
        "accounts_watched": desk.market.accounts_watched(),
        "liquidators": [
            {"address": address, "allowed": right.allowed, "reason": right.reason, "detail": right.detail}
            for address, right in desk.rights().items()
        ],
        "accounts": [
            {
                "account": standing.assessment.account,
                "verdict": standing.assessment.verdict.value,
                "reason": standing.assessment.reason,
                "margin_e18": str(standing.assessment.margin_e18),
                "maintenance_e18": str(standing.assessment.required_e18),
                "distance_percent": standing.percent if math.isfinite(standing.percent) else None,
                "reward_e18": str(standing.assessment.value_e18),
                "triggers": [
                    {
                        "price": trigger.name,
                        "id": trigger.price,
                        "now": str(trigger.now),
                        "at": str(trigger.value),
                        "decimals": trigger.decimals,
                        "percent": trigger.percent,
                        "reward_e18": str(trigger.value_e18),
                    }
                    for trigger in standing.triggers
                ],
            }
            for standing in standings
        ],
    }


def _short(account: str) -> str:
    return account if len(account) <= 14 else f"{account[:8]}…{account[-4:]}"


def _money(value_e18: int) -> str:
    return f"{value_e18 / _WEI:,.2f}"


def _trigger(trigger: Trigger) -> str:
    return f"{trigger.name} {trigger.value / 10**trigger.decimals:,.6g} ({trigger.percent:+.2f}%)"


def _percent(percent: float) -> str:
    return f"{percent:.2f}%" if math.isfinite(percent) else "no price"
