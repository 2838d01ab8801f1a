"""Where an owner's commands about stakes meet the chain: reading what is there, depositing, withdrawing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from keeper.chain.answers import fields
from keeper.chain.blocks import header_of
from keeper.chain.calls import PinnedReader
from keeper.chain.configured import endpoints_of, lane_settings_of, unlock
from keeper.chain.errand import Errands
from keeper.chain.rpc import Rpc
from keeper.errors import ChainError, ConfigError
from keeper.model import Outcome
from keeper.protocols.deri.stake import moves
from keeper.protocols.deri.stake.account import StakeReading, read_stakers, read_stakes
from keeper.protocols.deri.stake.moves import Move
from keeper.protocols.deri.stake.stakers import find_users
from keeper.settings import ChainSettings, DeriSettings, Mode, Settings
from keeper.store.hold import hold
from keeper.store.journal import Journal

DEVELOPMENT_CHAINS = frozenset({1337, 31337})
"""Chain ids of local nodes: nothing there is worth a question."""


@dataclass(frozen=True, slots=True)
class StakeView:
    """One look at a market's stakes. ``reading`` is None where the pool has no privileger."""

    market: str
    chain_id: int
    signers: tuple[str, ...]
    reading: StakeReading | None
    note: str = ""
    """Why the stakers are not known, if they are not."""


class StakeDesk:
    """Owns a connection to one market's chain. ``open_desk`` makes one."""

    def __init__(self, market: str, pool: DeriSettings, chain: ChainSettings, settings: Settings, rpc: Rpc) -> None:
        self.market = market
        self.live = chain.chain_id not in DEVELOPMENT_CHAINS
        """Real money may be at stake."""
        self._pool = pool
        self._chain = chain
        self._settings = settings
        self._rpc = rpc
        self._reader = PinnedReader(rpc)

    def signers(self, only: Sequence[str] = ()) -> tuple[str, ...]:
        """The addresses to look at: those asked for, else all that are configured. Raises ``ConfigError`` for none."""
        configured = tuple(entry.address for entry in self._chain.signers)
        found = tuple(only) or configured or ((self._chain.liquidator,) if self._chain.liquidator else ())
        if not found:
            raise ConfigError(
                f"an address to look at on {self._pool.chain}",
                "no signer is configured",
                "add a [[chains...signers]], or name one with --signer",
            )
        return found

    def signer(self, only: str | None) -> str:
        """The one signer that acts. Raises ``ConfigError`` if it is not configured, or not named among several."""
        configured = [entry.address for entry in self._chain.signers]
        if only is None and len(configured) == 1:
            return configured[0]
        if only is None or only not in configured:
            raise ConfigError(
                "one of the configured signers to act",
                f"{only} is none" if only else f"there are {len(configured)}",
                f"name one with --signer: {', '.join(configured) or 'none is configured'}",
            )
        return only

    async def look(self, signers: Sequence[str], from_block: int | None = None) -> StakeView:
        """Read the stakes at the present head; the stakers are looked for from ``from_block`` (else the setting) on."""
        head = header_of(fields(await self._rpc.request("eth_getBlockByNumber", ["latest", False])))
        reading = await read_stakes(self._pool.pool, signers, self._reader, head)
        first = self._pool.stakes_start_block if from_block is None else from_block
        note = ""
        if reading is not None and first is None:
            note = f"not asked for: set markets.{self.market}.stakes_start_block, or pass --from-block"
        elif reading is not None and first is not None:
            try:
                users = await find_users(self._rpc, reading.parts, first, head)
                reading = await read_stakers(reading, users, self._reader)
            except ChainError as error:
                note = f"no endpoint has the privileger's events from block {first} on ({error.came})"
            else:
                if reading.stakers is None:
                    note = f"the events from block {first} on don't name everybody who staked; ask from an earlier one"
        return StakeView(self.market, self._chain.chain_id, tuple(signers), reading, note)

    async def deposit(self, reading: StakeReading, signer: str, amount: int) -> list[Outcome]:
        """Approve and deposit; what was mined. Raises ``StakeError`` if it is refused."""
        moves.check_deposit(reading, signer, amount)
        async with self._errands(signer) as send:
            return await moves.carry_out_deposit(reading, signer, amount, self._rpc, send)

    async def withdraw(self, reading: StakeReading, signer: str, amount: int, *, force: bool) -> list[Outcome]:
        """Withdraw; what was mined. Raises ``StakeError`` if it is refused: then nothing was sent."""
        moves.check_withdrawal(reading, signer, amount, force=force)
        async with self._errands(signer) as send:
            return await moves.carry_out_withdrawal(reading, signer, amount, self._rpc, send, force=force)

    @asynccontextmanager
    async def _errands(self, address: str) -> AsyncIterator[moves.Send]:
        if self._settings.mode is not Mode.LIVE:
            raise ConfigError(
                "mode live for a command that sends",
                f"the mode is {self._settings.mode.value}, which never sends",
                "set KEEPER_MODE=live for this command",
            )
        entry = next(entry for entry in self._chain.signers if entry.address == address)
        async with AsyncExitStack() as stack:
            stack.enter_context(hold(self._settings.store.path))
            journal = await Journal.open(self._settings.store.path)
            stack.push_async_callback(journal.close)
            signer = await unlock(entry)
            stack.push_async_callback(signer.close)
            errands = Errands(self._rpc, signer, journal, lane_settings_of(self._chain))
            stack.push_async_callback(errands.close)
            await errands.start()

            async def send(move: Move) -> Outcome:
                return await errands.send(self.market, f"stake {move.action}", move.to, move.data, move.gas_limit)

            yield send


@asynccontextmanager
async def open_desk(settings: Settings, market: str | None) -> AsyncIterator[StakeDesk]:
    """The desk of a Deri market; ``market`` may be None where there is one only. Raises ``ConfigError``."""
    name, pool = _choose(settings, market)
    chain = settings.chains[pool.chain]
    async with Rpc(endpoints_of(chain), chain.chain_id) as rpc:
        yield StakeDesk(name, pool, chain, settings, rpc)


def _choose(settings: Settings, market: str | None) -> tuple[str, DeriSettings]:
    stakable = {name: entry for name, entry in settings.markets.items() if isinstance(entry, DeriSettings)}
    names = ", ".join(stakable) or "none"
    if market is None:
        if len(stakable) == 1:
            return next(iter(stakable.items()))
        raise ConfigError(
            "one market with stakes (protocol deri-v3)", f"the configuration has {names}", "pass --market"
        )
    if market not in stakable:
        came = "it has no stakes: open to all, or by a list" if market in settings.markets else "there is none"
        raise ConfigError(f"a market {market!r} with stakes (protocol deri-v3)", came, f"use one of: {names}")
    return market, stakable[market]
