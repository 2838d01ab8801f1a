"""`keeper stake`: where the stake stands, what to deposit, and doing it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
from eth_utils import is_address, to_checksum_address
from rich.console import Console, RenderableType

from keeper.cli import stake_tables as tables
from keeper.cli.options import ConfigOption, JsonOption
from keeper.cli.progress import waiting
from keeper.model import Outcome
from keeper.ops import logs
from keeper.protocols.deri.privileger import stake_of
from keeper.protocols.deri.stake.account import StakeReading
from keeper.protocols.deri.stake.amounts import StakeError, parse_amount
from keeper.protocols.deri.stake.moves import check_deposit, check_withdrawal, disqualifies
from keeper.protocols.deri.stake.plan import NEWCOMER, StakePlan, plan
from keeper.settings import Settings, load
from keeper.stake_desk import StakeDesk, StakeView, open_desk

app = typer.Typer(
    help="The DERI stake that decides who may liquidate: status, plan, deposit, withdraw.", no_args_is_help=True
)

MAX_MARGIN_PERCENT = 10_000
_NEGATIVE_IS_NO_OPTION = {"ignore_unknown_options": True}
"""So that `deposit -5` is told about the amount and not about an option."""


def _address(value: str) -> str:
    if not is_address(value):
        raise typer.BadParameter("expected an address (0x and 40 hexadecimal digits)")
    return str(to_checksum_address(value))


def _percent(value: str) -> Decimal:
    try:
        percent = Decimal(value)
    except InvalidOperation:
        percent = Decimal(-1)
    if not 0 <= percent <= MAX_MARGIN_PERCENT:
        raise typer.BadParameter(f"expected a percentage from 0 to {MAX_MARGIN_PERCENT}")
    return percent


MarketOption = Annotated[str | None, typer.Option("--market", "-m", help="Which market, if there are several.")]
SignersOption = Annotated[
    list[str] | None,
    typer.Option("--signer", "-s", parser=_address, metavar="ADDRESS", help="An address to look at; may be repeated."),
]
SignerOption = Annotated[
    str | None,
    typer.Option("--signer", "-s", parser=_address, metavar="ADDRESS", help="Who acts, if several are configured."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask on a live network.")]
AmountArgument = Annotated[str, typer.Argument(metavar="AMOUNT", help="In whole tokens, like 10000 or 10000.5.")]


@app.command()
def status(
    config: ConfigOption,
    market: MarketOption = None,
    signer: SignersOption = None,
    from_block: Annotated[
        int | None,
        typer.Option(min=0, metavar="BLOCK", help="From where the other stakers are looked for, for the rank."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Stake, average, rank, head-room, lock end, wallet balance and allowance, for each signer."""
    view = asyncio.run(_look(_settings(config), market, signer or (), from_block))
    _show(as_json, lambda: tables.status_json(view), lambda: tables.status_table(view))


@app.command("plan")
def plan_deposit(
    config: ConfigOption,
    margin: Annotated[
        Decimal,
        typer.Option(parser=_percent, metavar="PERCENT", help="Stay qualified while the others add this much."),
    ] = Decimal(0),
    market: MarketOption = None,
    signer: SignersOption = None,
    as_json: JsonOption = False,
) -> None:
    """The least deposit that qualifies, one that stays so with a margin, and what it costs in time."""
    view = asyncio.run(_look(_settings(config), market, signer or (), None))
    plans = plans_of(view, margin)
    _show(as_json, lambda: tables.plan_json(view, plans), lambda: tables.plan_text(view, plans))


@app.command(context_settings=_NEGATIVE_IS_NO_OPTION)
def deposit(
    config: ConfigOption,
    amount: AmountArgument,
    market: MarketOption = None,
    signer: SignerOption = None,
    yes: YesOption = False,
) -> None:
    """Approve exactly AMOUNT and deposit it. The lock of the whole stake starts anew."""
    asyncio.run(_deposit(_settings(config), market, signer, amount, _asker(yes)))


@app.command(context_settings=_NEGATIVE_IS_NO_OPTION)
def withdraw(
    config: ConfigOption,
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="In whole tokens, like 10000 or 10000.5; or all.")],
    market: MarketOption = None,
    signer: SignerOption = None,
    yes: YesOption = False,
    force: Annotated[bool, typer.Option("--force", help="Even if it disqualifies.")] = False,
) -> None:
    """Withdraw AMOUNT to the signer's wallet. The lock is left as it is."""
    asyncio.run(_withdraw(_settings(config), market, signer, amount, _asker(yes), force=force))


def plans_of(view: StakeView, margin_percent: Decimal) -> list[StakePlan]:
    """A plan for each signer; the others of the same owner stand in for it, a qualified one first."""
    reading = view.reading
    if reading is None:
        return []
    at = reading.head.timestamp
    found = []
    for signer in view.signers:
        others = [other for other in view.signers if other != signer] or [NEWCOMER]
        options = [plan(reading.privileger, signer, at, margin_percent, other) for other in others]
        found.append(min(options, key=_trouble))
    return found


def _trouble(option: StakePlan) -> tuple[bool, bool, int]:
    """How little a second signer is of help: not at all, not at once, only with a large deposit."""
    second = option.second
    if second is None or second.deposit is None:
        return True, True, 0
    return False, not second.ready, second.deposit


Ask = Callable[[StakeDesk, str], None]


def _asker(yes: bool) -> Ask:
    def ask(desk: StakeDesk, question: str) -> None:
        typer.echo(question)
        if desk.live and not yes:
            typer.confirm("Go ahead?", abort=True)

    return ask


def _settings(config: Path) -> Settings:
    settings = load(config)
    # Nothing but what needs attention, and on standard error: standard output may be a program's input.
    secrets = logs.configure(settings.log.format, "warning")
    for chain in settings.chains.values():
        for url in chain.endpoints:
            secrets.add_url(url)
    return settings


async def _look(settings: Settings, market: str | None, only: Sequence[str], from_block: int | None) -> StakeView:
    async with open_desk(settings, market) as desk:
        with waiting("reading the stakes"):
            return await desk.look(desk.signers(only), from_block)


async def _deposit(settings: Settings, market: str | None, only: str | None, text: str, ask: Ask) -> None:
    async with open_desk(settings, market) as desk:
        signer = desk.signer(only)
        reading = _privileged(await _seen(desk, signer))
        amount = parse_amount(text, reading.token.decimals)
        check_deposit(reading, signer, amount)
        ask(desk, tables.before_deposit(reading, signer, amount))
        with waiting("sending, until it is mined"):
            outcomes = await desk.deposit(reading, signer, amount)
        _told(outcomes)
        _print(tables.status_table(await _seen(desk, signer)))


async def _withdraw(
    settings: Settings, market: str | None, only: str | None, text: str, ask: Ask, *, force: bool
) -> None:
    async with open_desk(settings, market) as desk:
        signer = desk.signer(only)
        reading = _privileged(await _seen(desk, signer))
        staked = stake_of(reading.privileger, signer).amount
        amount = staked if text == "all" and staked else parse_amount(text, reading.token.decimals)
        check_withdrawal(reading, signer, amount, force=force)
        falls = disqualifies(reading, signer, amount)
        ask(desk, tables.before_withdrawal(reading, signer, amount, disqualifies=falls))
        with waiting("sending, until it is mined"):
            outcomes = await desk.withdraw(reading, signer, amount, force=force)
        _told(outcomes)
        _print(tables.status_table(await _seen(desk, signer)))


async def _seen(desk: StakeDesk, signer: str) -> StakeView:
    with waiting("reading the stakes"):
        return await desk.look([signer])


def _privileged(view: StakeView) -> StakeReading:
    if view.reading is None:
        raise StakeError(
            f"a privileger at the pool of {view.market}", "it has none: anyone may liquidate", "no stake is needed"
        )
    return view.reading


def _told(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        name = outcome.account.removeprefix("stake ")
        typer.echo(f"{name}: mined in block {outcome.block_number}, {outcome.transaction_hash}")


def _show(as_json: bool, data: Callable[[], Mapping[str, tables.Json]], table: Callable[[], RenderableType]) -> None:
    if as_json:
        typer.echo(json.dumps(data(), indent=2))
    else:
        _print(table())


def _print(what: RenderableType) -> None:
    Console(soft_wrap=False).print(what)
