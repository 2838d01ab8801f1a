"""The Deri engine and its book, measured: figures for ``make bench``.

A market as the largest deployments have it: nine symbols of the three kinds on three prices, every account in all nine
(the worst case), a few under water. Times are medians of repeated runs in one process.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypedDict

from keeper.fixed import ONE
from keeper.protocols.deri.book import Book
from keeper.protocols.deri.distance import distances
from keeper.protocols.deri.settle import decide, liquidate
from keeper.protocols.deri.state import (
    AccountState,
    Flavour,
    MarketState,
    OracleKind,
    OracleState,
    PoolState,
    Position,
    Symbol,
    SymbolKind,
    SymbolParams,
    SymbolState,
)
from keeper.protocols.deri.symbols import Prepared, prepare

NOW = 1_700_000_000
NUMBER = 1_000
PRICES = {"BTCUSD": 24_000 * ONE, "ETHUSD": 1_500 * ONE, "BNBUSD": 300 * ONE}
LISTED = (
    ("BTCUSD", SymbolKind.FUTURES, 0, False),
    ("ETHUSD", SymbolKind.FUTURES, 0, False),
    ("BNBUSD", SymbolKind.FUTURES, 0, False),
    ("BTCUSD", SymbolKind.OPTION, 20_000, True),
    ("BTCUSD", SymbolKind.OPTION, 20_000, False),
    ("ETHUSD", SymbolKind.OPTION, 1_600, True),
    ("ETHUSD", SymbolKind.OPTION, 1_400, False),
    ("BTCUSD", SymbolKind.POWER, 0, False),
    ("ETHUSD", SymbolKind.POWER, 0, False),
)


class Figure(TypedDict):
    name: str
    value: float
    unit: str
    baseline: float | None
    target: float | None


def run() -> list[Figure]:
    """Measure everything; takes some twenty seconds."""
    market = _market()
    first = prepare(market, NUMBER, NOW)
    last = prepare(market, NUMBER, NOW + 6, first)
    rng = Random(1)
    nine = _account(rng, first, 1, 9)
    one = _account(rng, first, 2, 1)
    found = [
        _figure("deri: prepare 9 symbols from nothing", _micros(lambda: prepare(market, NUMBER, NOW), 200), "us", 250),
        _figure(
            "deri: prepare 9 symbols, prices unchanged", _micros(lambda: prepare(market, NUMBER, NOW, first), 200), "us"
        ),
        _figure("deri: exact decision, 1 symbol", _micros(lambda: decide(first, one), 5000), "us"),
        _figure("deri: exact decision, 9 symbols", _micros(lambda: decide(first, nine), 5000), "us", 15),
        _figure("deri: full settlement, 9 symbols prepared", _micros(lambda: liquidate(first, nine), 500), "us"),
        _figure(
            "deri: full settlement, 9 symbols from nothing",
            _micros(lambda: liquidate(prepare(market, NUMBER, NOW), nine), 200),
            "us",
            300,
        ),
    ]
    for count, target in ((10_000, None), (100_000, 4.0)):
        found += _book_figures(rng, first, last, count, target)
    return found


def _book_figures(rng: Random, first: Prepared, last: Prepared, count: int, target: float | None) -> list[Figure]:
    accounts = [_account(rng, first, p_token_id, 9) for p_token_id in range(1, count + 1)]
    gc.freeze()  # the accounts are there to stay: the collector need not walk them while we measure
    started = time.perf_counter()
    book = Book(accounts)
    bootstrap = time.perf_counter() - started
    candidates = len(book.screen(first, last).candidates)
    what = f"{count:,} accounts x 9"
    figures = [
        _figure(f"deri: screen {what}", _micros(lambda: book.screen(first, last), 50) / 1000, "ms", target),
        _figure(f"deri: candidates of {what}", candidates, "accounts"),
        _figure(f"deri: arrays of {what} from state", bootstrap, "s"),
        _figure(f"deri: one account changed in {what}", _micros(lambda: book.put(accounts[7]), 500), "us"),
        _figure(f"deri: distances of {what}", _micros(lambda: distances(book, first), 5) / 1000, "ms"),
    ]
    if count == 100_000:
        figures.append(_figure("deri: arrays, bytes per account", book.nbytes / count, "bytes"))
        figures.append(_figure("deri: exact state, bytes per account", _size(accounts[:1000]), "bytes"))
    gc.unfreeze()
    return figures


def _figure(name: str, value: float, unit: str, target: float | None = None) -> Figure:
    return Figure(name=name, value=value, unit=unit, baseline=None, target=target)


def _micros(call: Callable[[], object], count: int) -> float:
    """The median time of one call, in microseconds, over ``count`` calls in batches of up to a millisecond."""
    call()
    started = time.perf_counter()
    call()
    batch = max(1, min(count, int(0.001 / max(time.perf_counter() - started, 1e-9))))
    times = []
    for _ in range(max(5, count // batch)):
        started = time.perf_counter()
        for _ in range(batch):
            call()
        times.append((time.perf_counter() - started) / batch)
    return statistics.median(times) * 1e6


def _size(accounts: list[AccountState]) -> float:
    """Mean bytes of an account's records and integers; symbol ids are shared."""
    total = 0
    for account in accounts:
        total += sum(map(sys.getsizeof, (account, account.amount_b0, account.positions)))
        for held in account.positions:
            total += sum(map(sys.getsizeof, (held, held.volume, held.cost, held.cumulative_funding_per_volume)))
    return total / len(accounts)


def _market() -> MarketState:
    oracles = {}
    for name, price in PRICES.items():
        for oracle, value in ((name, price), (f"VOL-{name}", ONE * 7 // 10)):
            oracles[oracle] = OracleState(OracleKind.OFFCHAIN, oracle, oracle, "", value, NOW - 5, 600)
    symbols = [_symbol(index, *listed) for index, listed in enumerate(LISTED)]
    return MarketState(
        pool=PoolState(Flavour.LITE, 10**7 * ONE, 10**5 * ONE, 0, 10 * ONE, 1_000 * ONE, ONE // 2, 18),
        symbols={symbol.params.symbol_id: symbol for symbol in symbols},
        oracles=oracles,
        accounts={},
        vault_markets={},
        privileger=None,
    )


def _symbol(index: int, name: str, kind: SymbolKind, strike: int, is_call: bool) -> Symbol:
    price = PRICES[name]
    params = SymbolParams(
        kind=kind,
        name=f"{name}-{index}",
        symbol_id=f"0x{index:064x}",
        address="",
        price_id=name,
        volatility_id=None if kind is SymbolKind.FUTURES else f"VOL-{name}",
        alpha=ONE // 10,
        funding_period_s=259_200,
        initial_margin_ratio=ONE // 10,
        maintenance_margin_ratio=ONE // 20,
        starting_price_shift_limit=ONE // 100,
        strike_price=strike * ONE,
        min_initial_margin_ratio=ONE // 100,
        is_call=is_call,
    )
    worth = price * price // ONE if kind is SymbolKind.POWER else price
    net_volume = 10**5 * ONE * ONE // worth * (-1) ** index
    net_cost = net_volume * worth // ONE
    return Symbol(params, SymbolState(net_volume, net_cost, price, NOW - 300, 10**22, 0, 0, 10, net_volume, 900))


def _account(rng: Random, prepared: Prepared, p_token_id: int, count: int) -> AccountState:
    """Positions of up to 10,000 USD each, and a margin that one account in a thousand has nearly lost."""
    positions = []
    for symbol_id in rng.sample(list(prepared.symbols), count):
        symbol = prepared.symbols[symbol_id]
        volume = int(rng.uniform(-1e4, 1e4) * 1e36 / symbol.price)
        cost = volume * symbol.price // ONE * rng.randrange(95, 106) // 100
        positions.append(Position(symbol_id, volume, cost, symbol.cumulative_funding - rng.randrange(10**20)))
    account = AccountState(p_token_id, "0x", 0, tuple(positions))
    decision = decide(prepared, account)
    spare = rng.randrange(100, 50_000) if rng.random() > 0.001 else rng.randrange(-100, 0)
    return replace(account, amount_b0=decision.required - decision.margin + spare * ONE)
