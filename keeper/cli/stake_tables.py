"""What `keeper stake` shows: tables for people, plain data for programs. Every amount is exact."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from keeper.model import Eligibility
from keeper.protocols.deri.privileger import duration, eligibility, stake_of
from keeper.protocols.deri.stake.account import StakeReading, Token
from keeper.protocols.deri.stake.amounts import format_amount
from keeper.protocols.deri.stake.plan import Headroom, SecondSigner, StakePlan, headroom, rank
from keeper.stake_desk import StakeView

Json: TypeAlias = "bool | int | str | Sequence[Json] | dict[str, Json] | None"


# --- status ----------------------------------------------------------------------------------------------------------


def status_json(view: StakeView) -> dict[str, Json]:
    """`keeper stake status --json`. Amounts are decimal numbers of the token, as text."""
    reading = view.reading
    return {
        "market": view.market,
        "chain_id": view.chain_id,
        "privileger": None if reading is None else _privileger_json(reading),
        "note": view.note or None,
        "signers": [_signer_json(reading, signer) for signer in view.signers],
    }


def status_table(view: StakeView) -> RenderableType:
    """`keeper stake status`: one column for each signer."""
    reading = view.reading
    if reading is None:
        return Text(f"{view.market}: the pool has no privileger, anyone may liquidate. No stake is needed.")
    state, token = reading.privileger, reading.token
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    for signer in view.signers:
        table.add_column(signer, overflow="fold")
    answers = [eligibility(state, signer, reading.head.timestamp) for signer in view.signers]
    stakes = [stake_of(state, signer) for signer in view.signers]
    rooms = [_room(reading, signer) for signer in view.signers]
    _row(table, "may liquidate", [_allowed(answer) for answer in answers])
    _row(table, "why", [Text(answer.detail) for answer in answers])
    if any(answer.remedy for answer in answers):
        _row(table, "what helps", [Text(answer.remedy) for answer in answers])
    _row(table, "stake", [_amount(stake.amount, token) for stake in stakes])
    _row(table, "rank", [_rank(reading, signer) for signer in view.signers])
    _row(table, "head-room: others may add", [_room_now(room, token) for room in rooms])
    _row(
        table,
        "  after one more joins with the least",
        [_signed(room.with_newcomer if room else None, token) for room in rooms],
    )
    if reading.stakers is not None:
        _row(
            table,
            "  after the smallest of them leaves",
            [_signed(room.without_smallest if room else None, token) for room in rooms],
        )
    _row(table, "lock ends", [_lock(reading, signer) for signer in view.signers])
    _row(table, "wallet", [_amount(reading.wallets[signer].balance, token) for signer in view.signers])
    _row(table, "allowance", [_amount(reading.wallets[signer].allowance, token) for signer in view.signers])
    heading = Text.assemble((view.market, "bold"), f"   chain {view.chain_id}, block {reading.head.number}")
    facts = Text(
        f"{state.stakes_count} stakers hold {format_amount(state.stakes_total, token.decimals)} {token.symbol}; "
        f"the average is {_average(reading)}. A deposit is at least "
        f"{format_amount(state.min_deposit_amount, token.decimals)} and locks for {duration(state.min_lock_time_s)}."
    )
    parts: list[RenderableType] = [heading, facts, Padding(table, (1, 0, 0, 0))]
    if view.note:
        parts.append(Padding(Text(f"Rank: {view.note}.", style="dim"), (1, 0, 0, 0)))
    return Group(*parts)


# --- plan ------------------------------------------------------------------------------------------------------------


def plan_json(view: StakeView, plans: Sequence[StakePlan]) -> dict[str, Json]:
    """`keeper stake plan --json`."""
    reading = view.reading
    return {
        "market": view.market,
        "chain_id": view.chain_id,
        "privileger": None if reading is None else _privileger_json(reading),
        "plans": [] if reading is None else [_plan_json(reading, plan) for plan in plans],
    }


def plan_text(view: StakeView, plans: Sequence[StakePlan]) -> RenderableType:
    """`keeper stake plan`: sentences, because each of them is a decision to take."""
    reading = view.reading
    if reading is None:
        return Text(f"{view.market}: the pool has no privileger, anyone may liquidate. No stake is needed.")
    return Group(*(Padding(_plan(reading, plan), (0, 0, 1, 0)) for plan in plans))


def _plan(reading: StakeReading, plan: StakePlan) -> RenderableType:
    token, margin = reading.token, f"{plan.margin_percent.normalize():f} %"
    answer = eligibility(reading.privileger, plan.liquidator, reading.head.timestamp)
    lines = [
        Text(plan.liquidator, style="bold"),
        Text.assemble(_allowed(answer), f"  {answer.detail}"),
    ]
    deposits = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 2))
    _row(deposits, "the least deposit that qualifies", [_deposit(plan.least, token)])
    if plan.margin_percent:
        wanted = f"to stay so while the others add {margin}"
        _row(deposits, wanted, [_deposit(plan.with_margin, token)])
    parts: list[RenderableType] = [*lines, deposits]
    if not plan.with_margin:
        return Group(*parts)
    lock = duration(plan.lock_s)
    if not plan.interrupts:
        parts.append(Text(f"A deposit locks the whole stake: this signer may liquidate {lock} after it."))
        return Group(*parts)
    parts.append(
        Text(f"A top-up restarts the lock: this signer, which may liquidate now, could not for {lock}.", style="yellow")
    )
    if plan.second is not None:
        parts.append(Text(_alternative(plan.second, token, lock)))
    return Group(*parts)


def _alternative(second: SecondSigner, token: Token, lock: str) -> str:
    who = second.address or "a second signer"
    if second.deposit is None:
        return f"No stake of {who} could stand in at this margin: the two would outbid each other. Ask for less."
    if second.ready:
        return f"{who} may liquidate now and stands in meanwhile."
    if not second.deposit:
        return f"Instead: wait until {who} may liquidate, then top up this one; it stands in meanwhile."
    amount = f"{format_amount(second.deposit, token.decimals)} {token.symbol}"
    advice = f"Instead: deposit {amount} for {who} first, wait {lock} until it may liquidate, then top up this one."
    if second.keeps_first:
        return f"{advice} Unless others move the average, one of the two may liquidate at every moment."
    return f"{advice} But that deposit moves the average above this signer: for {lock} none could liquidate."


# --- what a deposit or a withdrawal is about to do -------------------------------------------------------------------


def before_deposit(reading: StakeReading, signer: str, amount: int) -> str:
    """The question before a deposit."""
    token, state = reading.token, reading.privileger
    staked, lock = stake_of(state, signer).amount, duration(state.min_lock_time_s)
    answer = eligibility(state, signer, reading.head.timestamp)
    cost = f"; it may liquidate now, and could not for {lock}" if answer.allowed else f"; it is then locked for {lock}"
    return (
        f"Deposit {format_amount(amount, token.decimals)} {token.symbol} from {signer} with the privileger "
        f"{reading.parts.privileger}: its stake goes from {format_amount(staked, token.decimals)} to "
        f"{format_amount(staked + amount, token.decimals)}{cost}."
    )


def before_withdrawal(reading: StakeReading, signer: str, amount: int, *, disqualifies: bool) -> str:
    """The question before a withdrawal."""
    token = reading.token
    staked = stake_of(reading.privileger, signer).amount
    cost = "; it then falls below the average and may not liquidate" if disqualifies else ""
    return (
        f"Withdraw {format_amount(amount, token.decimals)} {token.symbol} to {signer}: its stake goes from "
        f"{format_amount(staked, token.decimals)} to {format_amount(staked - amount, token.decimals)}{cost}."
    )


# --- pieces ----------------------------------------------------------------------------------------------------------


def _row(table: Table, label: str, cells: Sequence[Text]) -> None:
    table.add_row(Text(label, style="dim"), *cells)


def _allowed(answer: Eligibility) -> Text:
    return Text("yes", style="bold green") if answer.allowed else Text(f"no: {answer.reason}", style="bold red")


def _amount(amount: int, token: Token) -> Text:
    return Text(f"{format_amount(amount, token.decimals)} {token.symbol}")


def _signed(amount: int | None, token: Token) -> Text:
    if amount is None:
        return Text("-")
    return Text(f"{format_amount(amount, token.decimals)} {token.symbol}", style="red" if amount < 0 else "")


def _deposit(amount: int, token: Token) -> Text:
    if not amount:
        return Text("nothing is missing", style="green")
    return Text.assemble((f"{format_amount(amount, token.decimals)} {token.symbol}", "bold"))


def _room(reading: StakeReading, signer: str) -> Headroom | None:
    if not stake_of(reading.privileger, signer).amount:
        return None
    return headroom(reading.privileger, signer, reading.stakers)


def _room_now(room: Headroom | None, token: Token) -> Text:
    if room is None:
        return Text("-")
    if room.present is None or room.percent is None:
        return Text("there are no others")
    cell = _signed(room.present, token)
    return cell.append(f" ({room.percent:.1f} % of what they hold)")


def _rank(reading: StakeReading, signer: str) -> Text:
    count = reading.privileger.stakes_count
    if not stake_of(reading.privileger, signer).amount:
        return Text("-")
    if reading.stakers is None:
        return Text(f"? of {count}")
    return Text(f"{rank(reading.stakers, signer)} of {count}")


def _lock_end(reading: StakeReading, signer: str) -> int | None:
    """When the lock ends or ended, in seconds since the epoch; None if there never was one."""
    stake = stake_of(reading.privileger, signer)
    return stake.timestamp + reading.privileger.min_lock_time_s if stake.timestamp else None


def _lock(reading: StakeReading, signer: str) -> Text:
    end = _lock_end(reading, signer)
    if end is None:
        return Text("-")
    moment = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    left = end - reading.head.timestamp
    return Text(f"{moment}, in {duration(left)}", style="yellow") if left > 0 else Text(f"{moment}, over")


def _average(reading: StakeReading) -> str:
    """Rounded up to a hundredth: what is no less is no less than the average."""
    state, token = reading.privileger, reading.token
    if not state.stakes_count:
        return "nothing"
    unit = 10 ** max(token.decimals - 2, 0)
    rounded = -(-state.stakes_total // (state.stakes_count * unit)) * unit
    return f"{format_amount(rounded, token.decimals)} {token.symbol}"


def _privileger_json(reading: StakeReading) -> dict[str, Json]:
    state, token = reading.privileger, reading.token
    return {
        "address": reading.parts.privileger,
        "token": {"address": token.address, "symbol": token.symbol, "decimals": token.decimals},
        "block": reading.head.number,
        "timestamp": reading.head.timestamp,
        "lock_seconds": state.min_lock_time_s,
        "least_deposit": format_amount(state.min_deposit_amount, token.decimals),
        "total": format_amount(state.stakes_total, token.decimals),
        "stakers": state.stakes_count,
    }


def _signer_json(reading: StakeReading | None, signer: str) -> dict[str, Json]:
    if reading is None:
        return {"address": signer, "eligibility": _eligibility_json(eligibility(None, signer, 0))}
    state, decimals, wallet = reading.privileger, reading.token.decimals, reading.wallets[signer]
    room = _room(reading, signer)
    return {
        "address": signer,
        "eligibility": _eligibility_json(eligibility(state, signer, reading.head.timestamp)),
        "stake": format_amount(stake_of(state, signer).amount, decimals),
        "rank": None if reading.stakers is None else rank(reading.stakers, signer),
        "headroom": None
        if room is None
        else {
            "present": _optional(room.present, decimals),
            "percent": None if room.percent is None else f"{room.percent:.4f}",
            "with_newcomer": format_amount(room.with_newcomer, decimals),
            "without_smallest": _optional(room.without_smallest, decimals),
        },
        "lock_end": _lock_end(reading, signer),
        "balance": format_amount(wallet.balance, decimals),
        "allowance": format_amount(wallet.allowance, decimals),
    }


def _plan_json(reading: StakeReading, plan: StakePlan) -> dict[str, Json]:
    decimals, second = reading.token.decimals, plan.second
    return {
        "address": plan.liquidator,
        "staked": format_amount(plan.staked, decimals),
        "margin_percent": f"{plan.margin_percent.normalize():f}",
        "least_deposit": format_amount(plan.least, decimals),
        "deposit_with_margin": format_amount(plan.with_margin, decimals),
        "lock_seconds": plan.lock_s,
        "interrupts": plan.interrupts,
        "second_signer": None
        if second is None
        else {
            "address": second.address or None,
            "deposit": _optional(second.deposit, decimals),
            "ready": second.ready,
            "keeps_first": second.keeps_first,
        },
    }


def _eligibility_json(answer: Eligibility) -> dict[str, Json]:
    return {
        "allowed": answer.allowed,
        "reason": answer.reason,
        "detail": answer.detail,
        "until": answer.until,
        "remedy": answer.remedy or None,
    }


def _optional(amount: int | None, decimals: int) -> str | None:
    return None if amount is None else format_amount(amount, decimals)
