"""`keeper dry-run`: act on a fork for a while, then say what would have happened."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from keeper import app
from keeper.cli.options import ConfigOption, console
from keeper.cli.progress import counting
from keeper.engine.dry_run import DryRunRecord, Taken, Trial
from keeper.ops import logs
from keeper.protocols.registry import unit_of, worth_of
from keeper.settings import AlertSettings, HttpSettings, Mode, Settings, load

_WEI = 10**18
TICK_S = 0.5
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(value: str) -> float:
    if (found := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value)) is None or not float(found[1]):
        raise typer.BadParameter("expected a length of time like 90s, 10m or 2h")
    return float(found[1]) * _UNITS[found[2] or "s"]


def dry_run(
    config: ConfigOption,
    length: Annotated[
        float | None,
        typer.Option("--for", parser=_duration, metavar="TIME", help="Like 90s, 10m or 2h. Else until Ctrl-C."),
    ] = None,
) -> None:
    """Decide on the live chain, act on a fork, print what would have happened. Sends nothing and needs no key."""
    settings = dry(load(config))
    record = DryRunRecord()
    try:
        asyncio.run(_run(settings, record, length))
    finally:
        # Also of a run that ended before its time: what it has shown, it has shown.
        for made in report(settings, record):
            console().print(made)


async def _run(settings: Settings, record: DryRunRecord, length: float | None) -> None:
    with counting() as shown:
        # Now, so that the lines of the log are put above what is shown.
        secrets = logs.configure(settings.log.format, settings.log.level)
        ticking = asyncio.create_task(_tick(shown, record, length))
        try:
            await app.run(settings, secrets, record=record, stop_after_s=length)
        finally:
            ticking.cancel()


async def _tick(shown: Progress, record: DryRunRecord, length: float | None) -> None:
    task = shown.add_task("", total=length)
    while True:
        gone = shown.tasks[0].elapsed or 0.0
        shown.update(task, completed=gone, description=so_far(record, None if length is None else length - gone))
        await asyncio.sleep(TICK_S)


def so_far(record: DryRunRecord, left_s: float | None) -> str:
    """One line about a dry run that goes on; ``left_s`` is how long it still will, None until it is stopped."""
    done = sum(trial.ok for trial in record.trials)
    said = f"{done} of {len(record.trials)} tried went through, {len(record.skips)} left, {len(record.missed())} missed"
    return said if left_s is None else f"{timedelta(seconds=max(0, round(left_s)))} to go: {said}"


def dry(settings: Settings) -> Settings:
    """The same keeper, dry: with a store of its own, and without console and alerts, so that it may run beside."""
    path = settings.store.path
    return settings.model_copy(
        update={
            "mode": Mode.DRY_RUN,
            "store": settings.store.model_copy(update={"path": path.with_name(f"{path.stem}.dry-run{path.suffix}")}),
            "http": HttpSettings(enabled=False),
            "alerts": AlertSettings(summary_at=None),
        }
    )


def report(settings: Settings, record: DryRunRecord) -> list[Table]:
    """What would have happened, market by market."""
    made = []
    for name, market in settings.markets.items():
        native_e18, unit = worth_of(market).native_price_e18, unit_of(market)
        trials = [trial for trial in record.trials if trial.market == name]
        made.append(_trials(name, trials, record, native_e18, unit))
        skips = Counter(reason for (where, _), (reason, _) in record.skips.items() if where == name)
        missed = [taken for taken in record.missed() if taken.market == name]
        if skips or missed:
            made.append(_left(name, skips, missed, record))
    return made


def _trials(name: str, trials: Sequence[Trial], record: DryRunRecord, native_e18: int, unit: str) -> Table:
    def shown(wei: int) -> str:
        return f"{wei * native_e18 / _WEI / _WEI:,.4f}"

    done = [trial for trial in trials if trial.ok]
    table = Table(title=f"{name}: what would have happened", show_footer=True)
    table.add_column("account", footer=f"{len(done)} of {len(trials)}")
    table.add_column("block", justify="right")
    table.add_column(f"reward {unit}", justify="right", footer=shown(sum(trial.value_wei for trial in done)))
    table.add_column("gas", justify="right", footer=f"{sum(trial.gas_used for trial in trials):,}")
    table.add_column(f"fee {unit}", justify="right", footer=shown(sum(trial.fee_wei for trial in trials)))
    table.add_column(f"profit {unit}", justify="right", footer=shown(sum(trial.profit_wei for trial in trials)))
    table.add_column("for real")
    for trial in trials:
        taken = record.taken.get((name, trial.account))
        table.add_row(
            _short(trial.account),
            f"{trial.block_number:,}",
            shown(trial.value_wei) if trial.ok else f"[red]{trial.reason}[/red]",
            f"{trial.gas_used:,}" if trial.executed else f"≤ {trial.gas_used:,}",
            shown(trial.fee_wei),
            shown(trial.profit_wei),
            first(trial, taken),
        )
    return table


def first(trial: Trial, taken: Taken | None) -> str:
    """Who was earlier, and by how much."""
    if taken is None:
        return "nobody"
    if taken.block_number is None:
        return f"somebody, in {taken.transaction_hash}"
    blocks = taken.block_number - trial.block_number
    count = f"{abs(blocks)} block{'s' if abs(blocks) != 1 else ''}"
    when = f"{count} after us" if blocks > 0 else f"{count} before us" if blocks < 0 else "in the same block"
    return f"{_short(taken.by)}, {when}"


def _left(name: str, skips: Counter[str], missed: Sequence[Taken], record: DryRunRecord) -> Table:
    table = Table(title=f"{name}: what was left, and why")
    table.add_column("what")
    table.add_column("accounts", justify="right")
    for reason, count in skips.most_common():
        table.add_row(reason, str(count))
    for taken in missed:
        reason = record.skips.get((name, taken.account), ("", 0))[0] or "never decided on"
        where = f"in block {taken.block_number:,}" if taken.block_number else "for real"
        table.add_row(f"{_short(taken.account)} was liquidated by {_short(taken.by)} {where}; here: {reason}", "1")
    return table


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:8]}…{name[-4:]}"
