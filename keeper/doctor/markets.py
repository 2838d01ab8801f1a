"""Examining a market: code, wiring and answers of its contracts, its prices, and whether we may liquidate."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from keeper.chain.answers import text
from keeper.chain.configured import endpoints_of, native_price_of
from keeper.chain.endpoint import redacted
from keeper.chain.rpc import Rpc
from keeper.doctor.findings import Finding, fault, fine, refused, warning
from keeper.errors import ChainError, KeeperError
from keeper.fixed import ONE
from keeper.market_desk import MarketDesk, head_of, open_market
from keeper.protocols.deri.market import DeriMarket
from keeper.protocols.deri.price_server import TIMEOUT_S, UnusableError, ask, described, parse
from keeper.protocols.deri.privileger import deri
from keeper.protocols.deri.readings import expires_at
from keeper.protocols.deri.stake.account import read_stakes
from keeper.protocols.deri.state import OracleKind, SymbolKind
from keeper.protocols.meridian.market import MeridianMarket
from keeper.protocols.registry import contract_of, figures_of, unit_of, worth_of
from keeper.settings import DeriSettings, MarketSettings, Mode, Settings


async def examine_market(name: str, settings: Settings) -> AsyncIterator[Finding]:
    """Everything about one market that can be wrong before the first block."""
    wanted = settings.markets[name]
    chain = settings.chains[wanted.chain]
    try:
        async with Rpc(endpoints_of(chain), chain.chain_id) as rpc:
            await head_of(rpc)
            code = [finding async for finding in _code(name, wanted, rpc)]
    except KeeperError as error:
        yield refused(f"market {name}", error)
        return
    for finding in code:
        yield finding
    if any(finding.remedy for finding in code):
        return
    subject = f"market {name} wiring"
    try:
        async with open_market(settings, name, listen_s=0) as desk:
            yield fine(subject, f"{desk.market.accounts_watched()} accounts read at block {desk.head.number}")
            yield await _native_price(desk)
            async for finding in _prices(desk):
                yield finding
            async for finding in _rights(desk, settings.mode):
                yield finding
    except KeeperError as error:
        yield refused(subject, error)


async def _code(name: str, wanted: MarketSettings, rpc: Rpc) -> AsyncIterator[Finding]:
    manager = None if isinstance(wanted, DeriSettings) else wanted.position_manager
    for what, address in (("contract", contract_of(wanted)), ("position manager", manager)):
        if address is None:
            continue
        subject = f"market {name} {what} {address}"
        if len(text(await rpc.request("eth_getCode", [address, "latest"]))) > len("0x"):
            yield fine(subject, "it has code")
        else:
            yield fault(subject, f"there is no contract on chain {rpc.chain_id}", "correct the address or the chain")


async def _native_price(desk: MarketDesk) -> Finding:
    subject = f"market {desk.name} native coin"
    price = native_price_of(desk.settings, worth_of(desk.settings).native_price_e18)
    try:
        await price.refresh(desk.rpc, desk.head.timestamp)
    except ChainError as error:
        return fault(subject, error.came, "check native_price_feed or native_price_oracle")
    return fine(subject, f"worth {price.value_e18 / ONE:,.4f} {unit_of(desk.settings)}")


async def _prices(desk: MarketDesk) -> AsyncIterator[Finding]:
    figures = figures_of(desk.market)
    if figures is not None and figures.mismatches:
        came = "positions do not add up to their symbols"
        yield fault(f"market {desk.name} sums", came, "this is another version of the contracts: don't go live")
    if isinstance(desk.market, DeriMarket):
        async for finding in _deri_prices(desk, desk.market):
            yield finding
        return
    if isinstance(desk.market, MeridianMarket):
        subject = f"market {desk.name} prices"
        failing = desk.market.unassessable()
        for reason, count in failing.items():
            yield fault(subject, f"{count} positions are not assessable: {reason}", "they wait for a price")
        if not failing:
            yield fine(subject, f"{len(desk.market.mirror.feeds.quotes)} tokens have one on the chain")


async def _deri_prices(desk: MarketDesk, market: DeriMarket) -> AsyncIterator[Finding]:
    state, now = market.mirror.state, desk.head.timestamp
    for symbol in state.symbols.values():
        params = symbol.params
        subject = f"market {desk.name} symbol {params.name}"
        missing = [each for each in (params.price_id, params.volatility_id) if each and each not in state.oracles]
        if params.kind is SymbolKind.UNKNOWN:
            yield fault(subject, "its implementation is not known", "accounts that hold it are left alone")
        elif missing:
            yield fault(subject, f"there is no oracle {missing[0]}", "accounts that hold it are left alone")
        else:
            yield fine(subject, params.kind.value)
    signed = {oracle.name: oracle for oracle in state.oracles.values() if oracle.kind is OracleKind.OFFCHAIN}
    assert isinstance(desk.settings, DeriSettings)
    if signed and not desk.settings.price_servers:
        came = f"none is configured, and {len(signed)} prices are signed off the chain"
        yield fault(f"market {desk.name} price servers", came, "set price_servers")
    for url in desk.settings.price_servers:
        yield await _server(f"market {desk.name} price server {redacted(url)}", url, market, now)
    for oracle in market.state().oracles.values():
        subject = f"market {desk.name} price {oracle.name}"
        due = expires_at(oracle)
        if oracle.fault:
            yield fault(subject, oracle.fault, "accounts that need it wait")
        elif due is not None and due <= now:
            yield fault(
                subject, f"it expired {now - due} s ago", "look at the price server: accounts that need it wait"
            )


async def _server(subject: str, url: str, market: DeriMarket, now: int) -> Finding:
    """Ask a server once for everything; what it says has to be whole, signed and fresh."""
    remedy = "look at the server and at its URL"
    oracles = {o.name: o for o in market.mirror.state.oracles.values() if o.kind is OracleKind.OFFCHAIN}
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            body, _ = await ask(session, url, list(oracles))
        records, faults = parse(body)
    except (aiohttp.ClientError, TimeoutError, UnusableError) as error:
        return fault(subject, described(error), remedy)
    for record in records:
        if record.name not in oracles:
            faults.append(f"{record.name}: not asked for")
        elif problem := market.prices.offer(record, oracles[record.name], now):
            faults.append(f"{record.name}: {problem}")
    left_out = oracles.keys() - {record.name for record in records}
    faults += [f"{name}: left out" for name in sorted(left_out)]
    if faults:
        return fault(subject, "; ".join(faults[:5]), remedy)
    newest = max((record.timestamp for record in records), default=now)
    return fine(subject, f"{len(records)} prices with good signatures, {max(0, now - newest)} s old")


async def _rights(desk: MarketDesk, mode: Mode) -> AsyncIterator[Finding]:
    found = fault if mode is Mode.LIVE else warning
    for address, right in desk.rights().items():
        subject = f"market {desk.name} right of {address}"
        if right.allowed:
            yield fine(subject, right.detail)
        else:
            yield found(subject, f"{right.reason}: {right.detail}", right.remedy)
    if isinstance(desk.settings, DeriSettings):
        try:
            reading = await read_stakes(desk.settings.pool, desk.liquidators, desk.reader, desk.head)
        except ChainError as error:
            yield refused(f"market {desk.name} allowance", error)
            return
        for address, wallet in reading.wallets.items() if reading else ():
            subject = f"market {desk.name} allowance of {address}"
            if wallet.allowance:
                came = f"the privileger may take {deri(wallet.allowance)} more than is staked"
                yield warning(subject, came, "`keeper stake deposit` approves what it deposits; revoke what is left")
            else:
                yield fine(subject, "nothing is approved that is not staked")
