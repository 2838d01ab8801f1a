"""Which contracts make up a market, found from the vault's address alone."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.errors import ProtocolError
from keeper.model import Reader
from keeper.protocols.meridian.reads import Answer, Batch

ZERO_ADDRESS = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Source:
    """A token's primary price source, and who emits its events (a proxy's aggregator, or itself)."""

    address: str
    emitter: str


@dataclass(frozen=True, slots=True)
class Wiring:
    """The addresses of one market. What can be exchanged by a governor is compared at every reading of parameters."""

    vault: str
    manager: str | None
    governor: str
    rules: str
    """``vaultUtils``: the liquidation test and the fees."""
    price_feed: str
    secondary_feed: str | None
    """Set and enabled, else None."""
    fast_events: str | None
    """Who emits the fast feed's ``PriceUpdate``."""
    listed: int
    """``allWhitelistedTokensLength``: it only ever grows."""
    tokens: tuple[str, ...]
    """Whitelisted ones, and those of open positions."""
    sources: dict[str, Source]
    """By token; a token without one has no price."""

    def emitters(self) -> dict[str, list[str]]:
        """Tokens by the address whose ``AnswerUpdated`` moves them."""
        found: dict[str, list[str]] = {}
        for token, source in self.sources.items():
            found.setdefault(source.emitter, []).append(token)
        return found


async def discover(
    reader: Reader, block_hash: str, vault: str, manager: str | None, more_tokens: frozenset[str]
) -> Wiring:
    """Follow the addresses from the vault on.

    ``more_tokens`` are those that positions name beside the whitelisted ones. Raises ``ProtocolError`` if the vault or
    the manager is not what the configuration says.
    """
    batch = Batch()
    governor, price_feed = batch.ask(vault, "gov()"), batch.ask(vault, "priceFeed()")
    count, rules = batch.ask(vault, "allWhitelistedTokensLength()"), batch.ask(vault, "vaultUtils()")
    managed = batch.ask(manager, "vault()") if manager else None
    await batch.read(reader, block_hash)
    if managed is not None and managed.address() != vault:
        raise ProtocolError(
            f"a position manager of the vault {vault}",
            f"{manager} belongs to {managed.address()}",
            "correct position_manager, or leave it out to use the vault's own route",
        )

    feed = price_feed.address()
    batch = Batch()
    listed = [batch.ask(vault, "allWhitelistedTokens(uint256)", index) for index in range(count.uint())]
    enabled = batch.ask(feed, "isSecondaryPriceEnabled()")
    secondary = batch.ask(feed, "secondaryPriceFeed()")
    await batch.read(reader, block_hash)
    tokens = tuple(dict.fromkeys([*(answer.address() for answer in listed), *sorted(more_tokens)]))
    fast = secondary.address() if secondary.ok and enabled.ok and enabled.flag() else ZERO_ADDRESS

    batch = Batch()
    sources = {token: batch.ask(feed, "priceFeeds(address)", token) for token in tokens}
    fast_events = batch.ask(fast, "fastPriceEvents()")
    await batch.read(reader, block_hash)
    addresses = {token: _address(answer) for token, answer in sources.items()}

    batch = Batch()
    aggregators = {
        token: batch.ask(source, "aggregator()") for token, source in addresses.items() if source != ZERO_ADDRESS
    }
    await batch.read(reader, block_hash)
    return Wiring(
        vault=vault,
        manager=manager,
        governor=governor.address(),
        rules=_address(rules),
        price_feed=feed,
        secondary_feed=None if fast == ZERO_ADDRESS else fast,
        fast_events=None if fast == ZERO_ADDRESS else _address(fast_events),
        listed=len(listed),
        tokens=tokens,
        sources={
            token: Source(addresses[token], answer.address() if answer.ok else addresses[token])
            for token, answer in aggregators.items()
        },
    )


def _address(answer: Answer) -> str:
    return answer.address() if answer.ok else ZERO_ADDRESS
