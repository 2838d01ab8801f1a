"""Prices between two readings: what events may tell, and when they are no longer believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eth_utils import keccak

from keeper.model import Header, Log, ReadCall, ReadResult
from keeper.protocols.meridian import events
from keeper.protocols.meridian.feeds import Feeds, Quote
from keeper.protocols.meridian.reads import Batch
from keeper.protocols.meridian.state import Price
from keeper.protocols.meridian.wiring import Source, Wiring

BTC, FEED, SOURCE, VAULT = ("0x" + digit * 40 for digit in "1234")
WIRING = Wiring(VAULT, None, VAULT, VAULT, FEED, None, None, 1, (BTC,), {BTC: Source(SOURCE, SOURCE)})
E22 = 10**22
NOW = 1_750_000_000
HEAD = Header(1, "0x", "0x", NOW, 0, 0, None)


@dataclass
class FeedContract:
    """A price feed with one token and eight decimals; ``says`` overrides what it answers."""

    answer: int = 60_000 * 10**8
    spread_basis_points: int = 0
    says: dict[str, int | None] = field(default_factory=dict)

    async def read(self, calls: Sequence[ReadCall], block_hash: str) -> list[ReadResult]:
        return [self._answer(call.data) for call in calls]

    def _answer(self, data: bytes) -> ReadResult:
        known: dict[str, int | None] = {
            "priceSampleSpace()": 1,
            "maxStrictPriceDeviation()": 0,
            "priceDecimals(address)": 8,
            "spreadBasisPoints(address)": self.spread_basis_points,
            "strictStableTokens(address)": 0,
            "adjustmentBasisPoints(address)": 0,
            "isAdjustmentAdditive(address)": 0,
            "getPrimaryPrice(address,bool)": self.answer * E22,
            "getPrice(address,bool,bool,bool)": self.answer * E22,
            "latestRound()": 1,
        }
        known.update(self.says)
        for signature, value in known.items():
            if keccak(text=signature)[:4] == data[:4]:
                return ReadResult(value is not None, b"" if value is None else value.to_bytes(32, "big"))
        if keccak(text="getRoundData(uint80)")[:4] == data[:4]:
            return ReadResult(True, (1).to_bytes(32, "big") + self.answer.to_bytes(32, "big"))
        return ReadResult(False, b"")


async def read(feeds: Feeds, chain: FeedContract, wiring: Wiring = WIRING, *, learn: bool = True) -> None:
    batch = Batch()
    take_terms, take_prices = feeds.ask_terms(batch, wiring), feeds.ask_prices(batch, wiring)
    await batch.read(chain, "")
    take_terms()
    take_prices(NOW)
    if learn:
        await feeds.learn_rounds(chain, "", wiring)


def answered(answer: int, round_id: int = 2) -> Log:
    topics = (events.ANSWER_UPDATED, answer.to_bytes(32, "big", signed=True), round_id.to_bytes(32, "big"))
    return Log(SOURCE, topics, NOW.to_bytes(32, "big"), 1, "0x", "0x", 0)


async def test_an_answer_moves_the_price_without_a_read() -> None:
    feeds, chain = Feeds("m"), FeedContract()
    await read(feeds, chain)
    log = answered(50_000 * 10**8)
    assert feeds.knows([log], WIRING, HEAD)
    feeds.move([log], WIRING, HEAD)
    assert feeds.quotes[BTC].at(NOW) == Price(50_000 * 10**30, 50_000 * 10**30)
    chain.answer = 50_000 * 10**8
    await read(feeds, chain)
    assert feeds.knows([log], WIRING, HEAD)


async def test_events_that_told_another_price_are_not_believed_again() -> None:
    feeds, chain = Feeds("m"), FeedContract()
    await read(feeds, chain)
    feeds.move([answered(50_000 * 10**8)], WIRING, HEAD)
    chain.answer = 51_000 * 10**8
    await read(feeds, chain)
    assert feeds.quotes[BTC].at(NOW).min_e30 == 51_000 * 10**30
    assert not feeds.knows([answered(49_000 * 10**8)], WIRING, HEAD)


async def test_a_feed_of_another_make_is_taken_as_it_reads() -> None:
    feeds, chain = Feeds("m"), FeedContract(says={"getPrice(address,bool,bool,bool)": 777 * 10**30})
    await read(feeds, chain)
    assert feeds.quotes[BTC].feed is None
    assert feeds.quotes[BTC].at(NOW + 10**6).min_e30 == 777 * 10**30
    assert not feeds.knows([answered(50_000 * 10**8)], WIRING, HEAD)


async def test_logs_of_anything_else_need_a_read() -> None:
    feeds = Feeds("m")
    await read(feeds, FeedContract())
    other = Log(VAULT, (events.UPDATE_FUNDING_RATE,), b"", 1, "0x", "0x", 0)
    assert not feeds.knows([answered(1), other], WIRING, HEAD)


async def test_a_price_of_zero_and_a_missing_feed_are_named() -> None:
    feeds = Feeds("m")
    await read(feeds, FeedContract(says={"getPrice(address,bool,bool,bool)": 0}))
    assert feeds.failures() == {BTC: "the price is zero"}
    await read(feeds, FeedContract(says={"getPrice(address,bool,bool,bool)": None}))
    assert feeds.failures() == {BTC: f"getPrice(address,bool,bool,bool) of {FEED} reverts"}


async def test_an_answer_of_zero_takes_the_price_away() -> None:
    feeds = Feeds("m")
    await read(feeds, FeedContract())
    feeds.move([answered(0)], WIRING, HEAD)
    assert feeds.failures() == {BTC: "VaultPriceFeed: invalid price"}


async def test_an_answer_behind_a_proxy_counts_though_only_the_proxy_puts_a_phase_before_its_round() -> None:
    feeds, chain = Feeds("m"), FeedContract(says={"latestRound()": (5 << 64) + 1})
    await read(feeds, chain)
    log = answered(50_000 * 10**8, round_id=2)
    assert feeds.knows([log], WIRING, HEAD)
    feeds.move([log], WIRING, HEAD)
    assert feeds.quotes[BTC].at(NOW).min_e30 == 50_000 * 10**30


async def test_settings_that_the_known_make_would_refuse_are_another_makes() -> None:
    feeds, chain = Feeds("m"), FeedContract(spread_basis_points=20_000)
    await read(feeds, chain)
    assert feeds.quotes[BTC] == Quote(Price(60_000 * 10**30, 60_000 * 10**30))


async def test_a_foretold_price_that_can_not_be_made_is_not_believed_again() -> None:
    feeds, chain = Feeds("m"), FeedContract()
    await read(feeds, chain)
    feed = feeds.quotes[BTC].feed
    assert feed is not None
    feeds.quotes[BTC] = replace(feeds.quotes[BTC], feed=replace(feed, spread_basis_points=20_000))
    log = answered(50_000 * 10**8)
    feeds.move([log], WIRING, HEAD)
    await read(feeds, chain)
    assert not feeds.knows([log], WIRING, HEAD)


async def test_while_one_token_has_to_be_read_at_every_block_no_block_goes_unread() -> None:
    silent = "0x" + "5" * 40
    wiring = replace(WIRING, tokens=(BTC, silent))
    feeds, chain = Feeds("m"), FeedContract()
    await read(feeds, chain, wiring)
    log = answered(50_000 * 10**8)
    assert feeds.knows([log], wiring, HEAD)
    feeds.quotes[silent] = Quote(Price(777, 777))
    assert not feeds.knows([log], wiring, HEAD)


async def test_an_answer_in_a_block_that_was_read_is_sampled_with_the_later_ones() -> None:
    feeds, chain = Feeds("m"), FeedContract(says={"priceSampleSpace()": 2})
    await read(feeds, chain)
    feeds.move([answered(50_000 * 10**8, round_id=2)], WIRING, HEAD)
    chain.answer = 50_000 * 10**8
    await read(feeds, chain, learn=False)
    feeds.move([answered(55_000 * 10**8, round_id=3)], WIRING, HEAD)
    assert feeds.quotes[BTC].at(NOW) == Price(50_000 * 10**30, 55_000 * 10**30)


async def test_a_fast_price_of_another_feed_that_shares_the_event_contract_says_nothing() -> None:
    fast, shared = "0x" + "6" * 40, "0x" + "7" * 40
    wiring = replace(WIRING, secondary_feed=fast, fast_events=shared)
    figures = {"lastUpdatedAt()": NOW, "priceDuration()": 300, "maxPriceUpdateDelay()": 3600}
    figures |= {"spreadBasisPointsIfInactive()": 50, "spreadBasisPointsIfChainError()": 500}
    figures |= {"maxDeviationBasisPoints()": 250, "prices(address)": 60_000 * 10**30, "favorFastPrice(address)": 1}
    feeds = Feeds("m")
    await read(feeds, FeedContract(says={**figures}), wiring)

    def pushed(by: str) -> Log:
        words = BTC, hex(60_100 * 10**30), by
        data = b"".join(int(word, 16).to_bytes(32, "big") for word in words)
        return Log(shared, (events.PRICE_UPDATE,), data, 1, "0x", "0x", 0)

    assert feeds.knows([pushed(fast)], wiring, HEAD)
    assert not feeds.knows([pushed("0x" + "8" * 40)], wiring, HEAD)


async def test_what_was_foretold_is_held_against_what_is_read_only_where_nothing_else_has_moved_it() -> None:
    feeds, chain = Feeds("m"), FeedContract()
    await read(feeds, chain)
    feeds.move([answered(50_000 * 10**8, round_id=2)], WIRING, HEAD)
    # A block that is read for another reason brings an answer along.
    later = answered(51_000 * 10**8, round_id=3)
    feeds.move([later], WIRING, HEAD)
    chain.answer = 51_000 * 10**8
    await read(feeds, chain)
    assert feeds.knows([later], WIRING, HEAD)
    # A reorg takes a block away of which only the events were known.
    feeds.move([answered(40_000 * 10**8, round_id=4)], WIRING, HEAD)
    feeds.doubt()
    await read(feeds, chain)
    assert feeds.knows([later], WIRING, HEAD)
    # A governor has the price adjusted.
    feeds.move([later], WIRING, HEAD)
    chain.says = {"adjustmentBasisPoints(address)": 10, "isAdjustmentAdditive(address)": 1}
    chain.says["getPrice(address,bool,bool,bool)"] = 51_051 * 10**30
    batch = Batch()
    take_prices = feeds.ask_prices(batch, WIRING)  # the price shows it before the settings are read again
    await batch.read(chain, "")
    take_prices(NOW)
    assert feeds.quotes[BTC].feed is None
    await read(feeds, chain)
    assert feeds.quotes[BTC].feed is not None
    assert feeds.knows([later], WIRING, HEAD)
