"""The one place where things are wired together: settings in, a running keeper out."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import structlog

from keeper.chain.answers import fields
from keeper.chain.blocks import header_of
from keeper.chain.books import Claims
from keeper.chain.calls import PinnedReader
from keeper.chain.clock import Clock
from keeper.chain.configured import (
    data_fee_of,
    endpoints_of,
    lane_settings_of,
    native_price_of,
    relay_of,
    stand_in_of,
    unlock,
)
from keeper.chain.fee_watch import FeeWatch
from keeper.chain.heads import Heads, HistoryLostError
from keeper.chain.lane import Lane
from keeper.chain.logs import PastLogs
from keeper.chain.mempool import Waiting, watch
from keeper.chain.native_price import FixedPrice, NativePrice
from keeper.chain.proving import FirstThatWorks, ForkGround, SimulatedGround
from keeper.chain.relay import PublicRelay, Relay
from keeper.chain.rpc import Rpc
from keeper.chain.simulate import Simulator
from keeper.engine.dry_run import DryRunExecutor, DryRunRecord, NotedDecisions
from keeper.engine.executors import Executor, Observer
from keeper.engine.live import LiveExecutor
from keeper.engine.loop import DecisionLog, MarketLoop
from keeper.engine.recovery import insist, rebuild, recover
from keeper.engine.room import GasUse
from keeper.errors import ChainError, KeeperError, ProtocolError, StoreError
from keeper.model import Header, LogFilter, Outcome, Row
from keeper.ops.logs import Secrets
from keeper.ops.picture import Following
from keeper.ops.station import Station
from keeper.protocols.market import Market, Worth
from keeper.protocols.registry import account_of_call, contract_of, figures_of, listen, make_market, read_anew, worth_of
from keeper.settings import ChainSettings, MarketSettings, Mode, Settings, urls_of
from keeper.store.hold import hold
from keeper.store.journal import Journal
from keeper.store.ledger import gas_used
from keeper.store.mirror import Identity, MirrorStore
from keeper.views import Level

_log = structlog.get_logger(__name__)

RELAY_S = 5.0
"""How long a private relay may take to answer."""

PRICE_S = 30.0
"""Between readings of the native coin's price."""

CURSOR_BLOCKS = 32
"""A market that nothing touches still moves its stored cursor this often."""


@dataclass(slots=True)
class Chain:
    """One chain at run time: how it is asked, when its next block comes, and who sends on it."""

    name: str
    settings: ChainSettings
    rpc: Rpc
    reader: PinnedReader
    clock: Clock
    executor: Executor
    head: Header
    hear: Callable[[Outcome], None]
    """Is told every outcome, for people."""
    loops: dict[str, MarketLoop] = field(default_factory=dict)
    following: dict[str, Following] = field(default_factory=dict)
    seen_at: float = field(default_factory=time.monotonic)
    """When the head was seen, in ``time.monotonic()`` seconds."""
    tended: int = 0
    """The last head at which the lanes have done their work."""
    _heads: asyncio.Queue[Header] = field(default_factory=asyncio.Queue)

    def saw(self, head: Header) -> None:
        """A market has followed the chain to ``head``; the first to say so moves clock and lanes."""
        if head.hash != self.head.hash and head.number >= self.head.number:
            self.head = head
            self.seen_at = time.monotonic()
            self.clock.observe(head)
            self._heads.put_nowait(head)

    async def tend(self) -> None:
        """Let the lanes look after what is on its way, at every head; only the newest counts."""
        while True:
            head = await self._heads.get()
            while not self._heads.empty():
                head = self._heads.get_nowait()
            await self.executor.on_head(head)
            self.tended = head.number

    def tell(self, outcome: Outcome) -> None:
        """What became of a liquidation, to whoever listens and to its market's loop."""
        self.hear(outcome)
        if (loop := self.loops.get(outcome.market)) is not None:
            loop.on_outcome(outcome)

    def realised(self, outcome: Outcome) -> int | None:
        """What a mined liquidation paid; None while its market has not been read."""
        loop = self.loops.get(outcome.market)
        if loop is None or loop.head is None:
            return None
        return loop.market.realised_reward_b0(outcome, outcome.logs)


async def run(
    settings: Settings, secrets: Secrets, *, record: DryRunRecord | None = None, stop_after_s: float | None = None
) -> None:
    """Run the keeper until SIGTERM or SIGINT, or for so long. Raises ``KeeperError`` if it can't start.

    In mode dry-run ``record`` is told what was tried.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    work = asyncio.create_task(_work(settings, secrets, record if record is not None else DryRunRecord()))
    waiting = asyncio.create_task(stopped.wait())
    await asyncio.wait({work, waiting}, timeout=stop_after_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not work.done():
        _log.info("stopping")
        work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        pass
    except BaseExceptionGroup as errors:
        on_purpose, others = errors.split(KeeperError)
        if on_purpose is None or others is not None:
            raise
        raise _first(on_purpose) from None
    _log.info("stopped")


def _first(errors: BaseExceptionGroup[KeeperError]) -> KeeperError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _work(settings: Settings, secrets: Secrets, record: DryRunRecord) -> None:
    for url in urls_of(settings):
        secrets.add_url(url)
    prices = {name: worth_of(market).native_price_e18 for name, market in settings.markets.items()}
    station = Station(settings, secrets, figures_of=figures_of, read_anew=read_anew, native_price_e18=prices)
    async with AsyncExitStack() as stack:
        stack.enter_context(hold(settings.store.path))
        await stack.enter_async_context(station)
        journal = await Journal.open(settings.store.path)
        stack.push_async_callback(journal.close)
        markets: dict[str, Market] = {}
        used = {market.chain for market in settings.markets.values()}
        chains = {name: await _open_chain(name, settings, journal, station, record, stack) for name in sorted(used)}
        decisions = NotedDecisions(record, journal) if settings.mode is Mode.DRY_RUN else journal
        station.watch(chains)
        for name, wanted in settings.markets.items():
            chain = chains[wanted.chain]
            markets[name] = make_market(
                name, wanted, chain.executor.senders(), Simulator(chain.rpc), PastLogs(chain.rpc)
            )
            listen(markets[name], station.stakes)
        async with asyncio.TaskGroup() as tasks:
            for chain in chains.values():
                tasks.create_task(chain.tend(), name=f"{chain.name}.lanes")
                tasks.create_task(_watch_mempool(chain, settings.markets), name=f"{chain.name}.mempool")
            for name, wanted in settings.markets.items():
                chain = chains[wanted.chain]
                store = await _open_mirror(name, wanted, chain, settings.store.path, stack)
                gas_use = GasUse(await gas_used(journal.engine, name))
                follower = _Follower(
                    markets[name], wanted, chain, station.decisions(decisions), store, station, gas_use
                )
                tasks.create_task(follower.run(), name=f"{name}.heads")
                tasks.create_task(_follow_price(name, follower.native_price, chain.rpc), name=f"{name}.native-price")


async def _open_chain(
    name: str,
    settings: Settings,
    journal: Journal,
    station: Station,
    record: DryRunRecord,
    stack: AsyncExitStack,
) -> Chain:
    """Reach a chain, check that it is the right one, and make ready who sends on it."""
    wanted = settings.chains[name]
    rpc = await stack.enter_async_context(Rpc(endpoints_of(wanted), wanted.chain_id))
    head = header_of(fields(await rpc.request("eth_getBlockByNumber", ["latest", False])))
    clock = Clock(wanted.clock_slack_seconds)
    clock.observe(head)
    chain = Chain(
        name, wanted, rpc, PinnedReader(rpc), clock, Observer("", lambda outcome: None), head, station.outcome
    )
    if settings.mode is Mode.LIVE:
        chain.executor = await _lanes(chain, settings.markets, journal, station, stack)
    elif settings.mode is Mode.DRY_RUN:
        chain.executor = await _dry_end(chain, settings.fork.anvil, record)
    else:
        chain.executor = Observer(stand_in_of(name, wanted), chain.tell)
    stack.push_async_callback(chain.executor.close)
    return chain


async def _lanes(
    chain: Chain,
    wanted: Mapping[str, MarketSettings],
    journal: Journal,
    station: Station,
    stack: AsyncExitStack,
) -> LiveExecutor:
    """One lane for each signer, reconciled with the chain."""
    settings = lane_settings_of(chain.settings)
    claims: Claims = {}
    relays = await _relays(chain, wanted, stack)
    lanes = []
    for entry in chain.settings.signers:
        signer = await unlock(entry)
        stack.push_async_callback(signer.close)
        lane = Lane(
            signer,
            chain.rpc,
            PublicRelay(chain.rpc),
            journal,
            settings,
            claims=claims,
            relays=relays,
            data_fee=data_fee_of(chain.settings),
            realised=chain.realised,
            outcomes=chain.tell,
            timed=station.metrics.timed,
        )
        await lane.start(chain.head)
        lanes.append(lane)
    return LiveExecutor(lanes)


async def _watch_mempool(chain: Chain, wanted: Mapping[str, MarketSettings]) -> None:
    """Tell the lanes of others' liquidations that wait to be mined, where that is wanted."""
    executor = chain.executor
    if not chain.settings.watch_mempool or not isinstance(executor, LiveExecutor):
        return
    markets = {contract_of(market): (name, market) for name, market in wanted.items() if market.chain == chain.name}

    def tell(waiting: Waiting) -> None:
        name, market = markets[waiting.to]
        if (account := account_of_call(market, waiting.data)) is not None:
            executor.rival_seen(name, account, waiting.hash, waiting.fees)

    await watch(chain.rpc, markets, tell)


async def _relays(chain: Chain, wanted: Mapping[str, MarketSettings], stack: AsyncExitStack) -> dict[str, Relay]:
    """The private ways of this chain's markets; what has none goes to the public endpoints."""
    private = {name: m.relay for name, m in wanted.items() if m.chain == chain.name and m.relay is not None}
    if not private:
        return {}
    session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=RELAY_S)))
    return {name: relay_of(relay, session) for name, relay in private.items()}


async def _follow_price(name: str, price: NativePrice, rpc: Rpc) -> None:
    """Keep the worth of the native coin current. While it can't be read the last figure counts."""
    failing = False
    while not isinstance(price, FixedPrice):
        try:
            await price.refresh(rpc, int(time.time()))
        except ChainError as error:
            if not failing:
                _log.warning("native price not read", market=name, error=str(error))
            failing = True
        else:
            if failing:
                _log.info("native price read again", market=name)
            failing = False
        await asyncio.sleep(PRICE_S)


async def _dry_end(chain: Chain, anvil: Path | None, record: DryRunRecord) -> DryRunExecutor:
    """A fork to try things on, or the node's own simulation. There is no lane, no signer and no key."""
    wanted, lane = chain.settings, lane_settings_of(chain.settings)
    fees = FeeWatch(chain.rpc, lane.fees, data_fee_of(wanted))
    await fees.refresh()
    fork = ForkGround(anvil, wanted.endpoints, wanted.chain_id)
    ground = FirstThatWorks(fork, SimulatedGround(chain.rpc))
    await ground.start()
    return DryRunExecutor(
        stand_in_of(chain.name, wanted),
        ground,
        chain.rpc,
        chain.clock.window,
        fees,
        chain.realised,
        chain.tell,
        record,
        lane.fee_rules,
    )


async def _open_mirror(
    name: str, settings: MarketSettings, chain: Chain, journal: Path, stack: AsyncExitStack
) -> MirrorStore:
    """The market's mirror, in a file of its own beside the journal."""
    identity = Identity(chain.settings.chain_id, name, contract_of(settings))
    store = await MirrorStore.open(journal.with_name(f"{journal.stem}.{name}.mirror.sqlite"), identity)
    stack.push_async_callback(store.close)
    return store


class _Follower:
    """Follows the chain for one market: keeps its mirror's store, and starts over when history is lost."""

    def __init__(
        self,
        market: Market,
        settings: MarketSettings,
        chain: Chain,
        decisions: DecisionLog,
        store: MirrorStore,
        station: Station,
        gas_use: GasUse,
    ) -> None:
        self._market = market
        self._chain = chain
        self._store = store
        self._wanted = worth_of(settings)
        self.native_price = native_price_of(settings, self._wanted.native_price_e18)
        self._heads = Heads(chain.rpc, LogFilter(frozenset()), silence_blocks=chain.settings.silence_blocks)
        self._loop = MarketLoop(
            market,
            chain.reader,
            chain.clock,
            chain.executor,
            decisions,
            self._worth,
            self._save,
            station.metrics.timed,
            gas_use,
        )
        chain.loops[market.name] = self._loop
        chain.following[market.name] = self._heads
        self._station = station
        station.join(self._loop)
        self._saved = 0
        self._failing = False

    def _worth(self) -> Worth:
        """What is wanted at the native coin's present price; the configured one until another is read."""
        return replace(self._wanted, native_price_e18=self.native_price.value_e18 or self._wanted.native_price_e18)

    async def run(self) -> None:
        parts = self._market, self._store, self._heads, self._chain.reader
        head = await insist(self._market.name, lambda: recover(*parts), ChainError)
        while True:
            _log.info(
                "watching", market=self._market.name, number=head.number, accounts=self._market.accounts_watched()
            )
            # What was read just now stays: the collector need not walk it again and again while milliseconds count.
            gc.collect()
            gc.freeze()
            try:
                await self._follow(head)
            except* HistoryLostError as errors:
                _log.warning("history lost", market=self._market.name, came=str(errors.exceptions[0]))
            head = await insist(self._market.name, lambda: rebuild(*parts), ChainError, ProtocolError, StoreError)

    async def _follow(self, head: Header) -> None:
        self._chain.saw(head)
        async with self._heads, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop.run(head), name=f"{self._market.name}.loop")
            async for advance in self._heads.advances():
                self._chain.saw(advance.head)
                self._loop.offer(advance)

    async def _save(self, head: Header, rows: Sequence[Row]) -> None:
        """Keep what has changed, true at ``head``. A store that can't be written is told once and tried again."""
        self._heads.log_filter = self._market.log_filter()
        if not rows and not self._failing and head.number < self._saved + CURSOR_BLOCKS:
            return
        try:
            await self._store.save(rows, self._heads.recent.up_to(head.hash))
        except StoreError as error:
            if not self._failing:
                _log.error("store unwritable", market=self._market.name, error=str(error))
                self._station.condition("store-unwritable", "store", Level.CRITICAL, str(error))
            self._failing = True
            return
        if self._failing:
            _log.info("store writable", market=self._market.name)
            self._station.condition("store-unwritable", "store", Level.CRITICAL, None)
        self._failing = False
        self._saved = head.number
