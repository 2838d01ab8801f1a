"""The prices of one market: read at every block, moved ahead by events, and known for the seconds to come.

What ``getPrice`` says at a block is the truth. Beside it the feed's own ingredients are kept; where they reproduce the
truth, they say what the price will be at a later second (a fast price goes stale without an event), and an
``AnswerUpdated`` moves the price without a read. Where they don't (another feed behind the same interface), the figure
that was read is taken as it is and read again at every block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from keeper.model import Header, Log, Reader
from keeper.protocols.meridian import events
from keeper.protocols.meridian.checked import Revert
from keeper.protocols.meridian.pricing import FastFeed, TokenFeed, primary_price
from keeper.protocols.meridian.reads import Answer, Batch
from keeper.protocols.meridian.state import Price
from keeper.protocols.meridian.wiring import Wiring

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a governor sets of one token's price."""

    price_decimals: int
    spread_basis_points: int
    strict_stable: bool
    adjustment_basis_points: int
    adjustment_is_additive: bool


@dataclass(frozen=True, slots=True)
class FeedTerms:
    """What a governor sets of the price feed."""

    sample_space: int
    max_strict_deviation_e30: int
    fast: FastFeed | None
    """With its time of update as of the reading."""
    tokens: Mapping[str, TokenTerms]


Rounds = tuple[tuple[int, int], ...]
"""The latest answers of a source with their rounds, newest first."""


@dataclass(frozen=True, slots=True)
class Quote:
    """One token's price: as read, how it is made if that is known, or why there is none."""

    read: Price | None
    feed: TokenFeed | None = None
    failure: str = ""

    def at(self, timestamp: int) -> Price:
        """Both prices at that second. Raises ``Revert`` with the feed's reason where there is none."""
        if self.feed is not None:
            return self.feed.at(timestamp)
        if self.read is None:
            raise Revert(self.failure)
        return self.read

    def turns(self) -> tuple[int, ...]:
        """The seconds at which the price changes by itself."""
        return self.feed.fast.turns() if self.feed is not None and self.feed.fast is not None else ()


class Feeds:
    """Owns the prices of one market as of the last block seen."""

    def __init__(self, market: str) -> None:
        self.quotes: dict[str, Quote] = {}
        self._log = _log.bind(market=market)
        self._terms: FeedTerms | None = None
        self._rounds: dict[str, Rounds] = {}
        self._distrusted: set[str] = set()
        """Tokens whose events turned out not to tell the price."""
        self._opaque: set[str] = set()
        """Tokens whose price is not made the way that is known here."""
        self._failing: dict[str, str] = {}
        self._foretold = False
        """The present quotes come from events and have not been read since."""

    # Asking

    def ask_terms(self, batch: Batch, wiring: Wiring) -> Callable[[], None]:
        """Ask for what a governor sets; the answer takes the terms over once the batch was read."""
        feed = wiring.price_feed
        sample = batch.ask(feed, "priceSampleSpace()")
        deviation = batch.ask(feed, "maxStrictPriceDeviation()")
        fast = [batch.ask(wiring.secondary_feed, getter) for getter in _FAST_GETTERS] if wiring.secondary_feed else []
        tokens = {token: [batch.ask(feed, getter, token) for getter in _TOKEN_GETTERS] for token in wiring.tokens}

        def take() -> None:
            known = {
                token: TokenTerms(a[0].uint(), a[1].uint(), a[2].flag(), a[3].uint(), a[4].flag())
                for token, a in tokens.items()
                if all(answer.ok for answer in a)
            }
            has_fast = bool(fast) and all(answer.ok for answer in fast)
            terms = FeedTerms(
                sample_space=sample.uint() if sample.ok else 0,
                max_strict_deviation_e30=deviation.uint() if deviation.ok else 0,
                fast=FastFeed(*(answer.uint() for answer in fast)) if has_fast else None,
                tokens=known,
            )
            self._foretold &= self._terms is not None and _untimed(terms) == _untimed(self._terms)
            self._terms = terms

        return take

    def ask_prices(self, batch: Batch, wiring: Wiring) -> Callable[[int], None]:
        """Ask for every token's price and ingredients; the answer takes them over, given the block's second."""
        feed, fast = wiring.price_feed, wiring.secondary_feed
        updated = batch.ask(fast, "lastUpdatedAt()") if fast else None
        asked = {token: _ask_token(batch, feed, fast, token) for token in wiring.tokens}

        def take(timestamp: int) -> None:
            if self._terms is not None and self._terms.fast is not None and updated is not None and updated.ok:
                self._terms = replace(self._terms, fast=replace(self._terms.fast, last_updated_at=updated.uint()))
            quotes = {token: self._quote(token, answers, timestamp) for token, answers in asked.items()}
            if self._foretold:
                self._compare(quotes, timestamp)
            self.quotes = quotes
            self._foretold = False
            self._tell_failures()

        return take

    def _quote(self, token: str, answers: _TokenAnswers, timestamp: int) -> Quote:
        low, high = answers.low, answers.high
        if not (low.ok and high.ok and low.uint() and high.uint()):
            failure = "the price is zero" if low.ok and high.ok else (high if low.ok else low).reason
            return Quote(None, failure=failure)
        read = Price(low.uint(), high.uint())
        made = self._made(token, answers)
        if made is not None and _said(made, timestamp) != read:
            made = None
        if made is None and token not in self._opaque:
            self._log.info("a price feed of another make: its figure is read at every block", token=token)
            self._opaque.add(token)
        elif made is not None:
            self._opaque.discard(token)
        return Quote(read, made)

    def _made(self, token: str, answers: _TokenAnswers) -> TokenFeed | None:
        terms = self._terms
        if terms is None or token not in terms.tokens or not (answers.primary_low.ok and answers.primary_high.ok):
            return None
        own = terms.tokens[token]
        return TokenFeed(
            primary=Price(answers.primary_low.uint(), answers.primary_high.uint()),
            spread_basis_points=own.spread_basis_points,
            strict_stable=own.strict_stable,
            max_strict_deviation_e30=terms.max_strict_deviation_e30,
            adjustment_basis_points=own.adjustment_basis_points,
            adjustment_is_additive=own.adjustment_is_additive,
            fast=terms.fast,
            fast_price_e30=answers.fast.uint() if answers.fast is not None and answers.fast.ok else 0,
            favor_fast=answers.favor is None or (answers.favor.ok and answers.favor.flag()),
        )

    async def learn_rounds(self, reader: Reader, block_hash: str, wiring: Wiring) -> None:
        """Read the sampled rounds of every source whose events shall move its price."""
        space = self._terms.sample_space if self._terms is not None else 0
        batch = Batch()
        latest = {token: batch.ask(source.address, "latestRound()") for token, source in wiring.sources.items()}
        await batch.read(reader, block_hash)
        batch = Batch()
        asked = {
            token: [
                (round_id, batch.ask(wiring.sources[token].address, "getRoundData(uint80)", round_id))
                for round_id in range(newest.uint(), max(0, newest.uint() - space), -1)
            ]
            for token, newest in latest.items()
            if newest.ok
        }
        await batch.read(reader, block_hash)
        self._rounds = {
            token: tuple((round_id, answer.signed(1)) for round_id, answer in answers)
            for token, answers in asked.items()
            if all(answer.ok for _, answer in answers)
        }

    # Moving ahead

    def knows(self, logs: Iterable[Log], wiring: Wiring, head: Header) -> bool:
        """Whether these logs say all there is to say about the prices after them.

        Not while another token has to be read at every block: its silence says nothing. A fast price has to be of the
        head's block, because it counts from its second on.
        """
        if any(self._keeps_silent(token, quote) for token, quote in self.quotes.items()):
            return False
        emitters = wiring.emitters()
        for log in logs:
            tokens = emitters.get(log.address, []) if _is_answer(log) else []
            if _is_fast_price(log, wiring) and log.block_hash == head.hash:
                tokens = [events.address_at(log.data, 0)]
            if not tokens or not all(self._follows(token) for token in tokens):
                return False
        return True

    def _follows(self, token: str) -> bool:
        quote = self.quotes.get(token)
        return quote is not None and quote.feed is not None and token in self._rounds and token not in self._distrusted

    def _keeps_silent(self, token: str, quote: Quote) -> bool:
        """Whether a price may have moved without anything known here to tell it."""
        return quote.read is not None and (quote.feed is None or token in self._distrusted)

    def move(self, logs: Iterable[Log], wiring: Wiring, head: Header) -> None:
        """Let prices move as the events among these logs say, of a block that need not be read or of one that is.

        A fast price counts as updated at its block's second; the next reading says whether that is so here. Of a block
        before the head's the second is not known: then nothing is foretold.
        """
        terms = self._terms
        if terms is None:
            return
        emitters = wiring.emitters()
        fast = terms.fast
        self._foretold = True
        for log in logs:
            if _is_answer(log):
                for token in emitters.get(log.address, []):
                    if token in self._rounds:
                        self._answer(token, log, terms)
            elif _is_fast_price(log, wiring) and fast is not None:
                token, price = events.address_at(log.data, 0), events.uint_at(log.data, 1)
                if (feed := self._made_of(token)) is not None:
                    self._remake(token, replace(feed, fast_price_e30=price))
                fast = replace(fast, last_updated_at=head.timestamp)
                self._foretold &= log.block_hash == head.hash
        if fast != terms.fast:
            self._terms = replace(terms, fast=fast)
            for token in self.quotes:
                if (feed := self._made_of(token)) is not None:
                    self._remake(token, replace(feed, fast=fast))

    def doubt(self) -> None:
        """What events foretold was undone: it can't be held to what is read next."""
        self._foretold = False

    def _sample(self, token: str, log: Log, terms: FeedTerms) -> list[int]:
        """The answers that count once the one in this log is in."""
        answer = int.from_bytes(log.topics[1], "big", signed=True)
        round_id = int.from_bytes(log.topics[2], "big")
        known = self._rounds[token]
        if known:
            # An aggregator counts its own rounds; the proxy before it puts the aggregator's number into the high bits.
            round_id |= known[0][0] >> _PHASE_BITS << _PHASE_BITS
        rounds = dict(known) | {round_id: answer}
        self._rounds[token] = tuple(sorted(rounds.items(), reverse=True)[: max(1, terms.sample_space)])
        return [value for _, value in self._rounds[token]]

    def _answer(self, token: str, log: Log, terms: FeedTerms) -> None:
        try:
            primary = primary_price(self._sample(token, log, terms), terms.tokens[token].price_decimals)
        except Revert as revert:
            self.quotes[token] = Quote(None, failure=revert.reason)
            return
        if (feed := self._made_of(token)) is not None:
            self._remake(token, replace(feed, primary=primary))

    def _made_of(self, token: str) -> TokenFeed | None:
        quote = self.quotes.get(token)
        return quote.feed if quote is not None else None

    def _remake(self, token: str, feed: TokenFeed) -> None:
        self.quotes[token] = replace(self.quotes[token], feed=feed)

    def _compare(self, read: Mapping[str, Quote], timestamp: int) -> None:
        """Hold what events foretold to what was read; a source that told otherwise is read from now on.

        A reading that can't be reproduced has another cause: what a governor set is not known yet.
        """
        for token, quote in read.items():
            before = self.quotes.get(token)
            if token in self._distrusted or before is None or before.feed is None or quote.feed is None:
                continue
            if _said(before.feed, timestamp) != quote.read:
                self._distrusted.add(token)
                self._log.warning("events did not tell the price: it is read at every block", token=token)

    def failures(self) -> dict[str, str]:
        """Tokens without a price, and why."""
        return {token: quote.failure for token, quote in self.quotes.items() if quote.read is None}

    def _tell_failures(self) -> None:
        failing = self.failures()
        for token, reason in failing.items():
            if self._failing.get(token) != reason:
                self._log.warning("no price: its positions are not assessable", token=token, reason=reason)
        for token in self._failing.keys() - failing.keys():
            self._log.info("a price again", token=token)
        self._failing = failing


def _untimed(terms: FeedTerms) -> FeedTerms:
    """The terms without when a fast price came last, which is no governor's doing."""
    return replace(terms, fast=None if terms.fast is None else replace(terms.fast, last_updated_at=0))


def _is_answer(log: Log) -> bool:
    return log.topics[:1] == (events.ANSWER_UPDATED,) and len(log.topics) == 3


def _is_fast_price(log: Log, wiring: Wiring) -> bool:
    """``FastPriceEvents.PriceUpdate(token, price, priceFeed)``: several feeds may log through one contract."""
    if log.topics[:1] != (events.PRICE_UPDATE,) or log.address != wiring.fast_events or len(log.data) < 96:
        return False
    return events.address_at(log.data, 2) == wiring.secondary_feed


def _said(feed: TokenFeed, timestamp: int) -> Price | None:
    """What a feed of the known make would say; None where it would revert."""
    try:
        return feed.at(timestamp)
    except Revert:
        return None


_PHASE_BITS = 64
"""``EACAggregatorProxy.addPhase``: a round's number at the proxy is the phase above the aggregator's 64 bits."""
_FAST_GETTERS = (
    "lastUpdatedAt()",
    "priceDuration()",
    "maxPriceUpdateDelay()",
    "spreadBasisPointsIfInactive()",
    "spreadBasisPointsIfChainError()",
    "maxDeviationBasisPoints()",
)
_TOKEN_GETTERS = (
    "priceDecimals(address)",
    "spreadBasisPoints(address)",
    "strictStableTokens(address)",
    "adjustmentBasisPoints(address)",
    "isAdjustmentAdditive(address)",
)


@dataclass(frozen=True, slots=True)
class _TokenAnswers:
    low: Answer
    high: Answer
    primary_low: Answer
    primary_high: Answer
    fast: Answer | None
    favor: Answer | None


def _ask_token(batch: Batch, feed: str, fast: str | None, token: str) -> _TokenAnswers:
    get_price = "getPrice(address,bool,bool,bool)"
    return _TokenAnswers(
        low=batch.ask(feed, get_price, token, False, False, False),
        high=batch.ask(feed, get_price, token, True, False, False),
        primary_low=batch.ask(feed, "getPrimaryPrice(address,bool)", token, False),
        primary_high=batch.ask(feed, "getPrimaryPrice(address,bool)", token, True),
        fast=batch.ask(fast, "prices(address)", token) if fast else None,
        favor=batch.ask(fast, "favorFastPrice(address)", token) if fast else None,
    )
