"""The planner's rules, on a round made of plain figures."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.engine.planner import Skip, Terms, Withdrawal, decide
from keeper.engine.room import MISFITS, GasUse, Room
from keeper.model import Assessment, Liquidation, Verdict, Window
from keeper.protocols.market import ContractCall

WINDOW = Window(number=7, earliest=100, latest=103)
ALL_OF_IT = GasUse((limit, limit) for limit in (300_000, 400_000, 600_000, 700_000))
TERMS = Terms(native_price_e18=300 * 10**18, min_profit_e18=0, fee_per_gas_wei=10**9)


class FigureRound:
    """Accounts by name: value, verdict, gas. A guard lets ``per_block`` closes through."""

    def __init__(self, accounts: dict[str, tuple[int, Verdict, int]], per_block: int = 99) -> None:
        self.accounts = accounts
        self.per_block = per_block
        self.closed: list[str] = []

    def candidates(self) -> Sequence[str]:
        return sorted(self.accounts, key=lambda name: -self.accounts[name][0])

    def assess(self, account: str) -> Assessment:
        value, verdict, gas = self.accounts[account]
        if verdict is Verdict.LIQUIDATABLE and len(self.closed) >= self.per_block:
            verdict = Verdict.WAITS
        reason = "" if verdict is Verdict.LIQUIDATABLE else f"because {verdict.value}"
        return Assessment(account, verdict, reason, reward_b0=value, value_e18=value * 10**18, gas=gas)

    def assess_sent(self, account: str, data: bytes) -> Assessment:
        verdict = Verdict.LIQUIDATABLE if data == b"good by its own prices" else Verdict.HEALTHY
        return Assessment(account, verdict, "", gas=self.accounts[account][2])

    def close(self, account: str) -> None:
        self.closed.append(account)

    def call(self, account: str) -> ContractCall:
        return ContractCall("0x" + "00" * 20, account.encode(), self.accounts[account][2])


def run(
    round_: FigureRound,
    terms: Terms = TERMS,
    in_flight: Sequence[str] = (),
    held_back: Sequence[str] = (),
    gas: int = 30_000_000,
    use: GasUse | None = None,
) -> list[Liquidation | Skip | Withdrawal]:
    return list(
        decide(
            "lite",
            round_,
            WINDOW,
            terms,
            in_flight=in_flight,
            held_back=held_back,
            room=Room(gas, use or ALL_OF_IT),
            seen_ns=1,
            now_ns=lambda: 2,
        )
    )


def names(decisions: Sequence[Liquidation | Skip | Withdrawal]) -> list[str]:
    return [d.account for d in decisions if isinstance(d, Liquidation)]


def liquidatable(value: int, gas: int = 400_000) -> tuple[int, Verdict, int]:
    return value, Verdict.LIQUIDATABLE, gas


def test_the_most_valuable_goes_first_and_is_closed_in_the_round() -> None:
    round_ = FigureRound({"a": liquidatable(10), "b": liquidatable(30), "c": liquidatable(20)})
    decisions = run(round_)
    assert names(decisions) == ["b", "c", "a"]
    assert round_.closed == ["b", "c", "a"]
    first = decisions[0]
    assert isinstance(first, Liquidation)
    assert (first.reward_b0, first.number, first.seen_ns, first.decided_ns) == (30, 7, 1, 2)
    assert first.reward_wei == 30 * 10**18 // 300


def test_the_first_is_decided_before_the_second_is_assessed() -> None:
    round_ = FigureRound({"a": liquidatable(10), "b": liquidatable(30)})
    decisions = decide("lite", round_, WINDOW, TERMS, room=Room(30_000_000, ALL_OF_IT), seen_ns=1, now_ns=lambda: 2)
    next(decisions)
    assert round_.closed == ["b"]


def test_a_healthy_candidate_leaves_no_trace() -> None:
    assert run(FigureRound({"a": (10, Verdict.HEALTHY, 400_000)})) == []


def test_what_the_guard_stops_waits_for_the_next_block_and_is_not_journalled() -> None:
    decisions = run(FigureRound({"a": liquidatable(10), "b": liquidatable(30)}, per_block=1))
    assert names(decisions) == ["b"]
    (skip,) = [d for d in decisions if isinstance(d, Skip)]
    assert (skip.account, skip.lasting) == ("a", False)


def test_an_unassessable_account_is_a_lasting_skip_with_its_reason() -> None:
    (skip,) = run(FigureRound({"a": (10, Verdict.UNASSESSABLE, 0)}))
    assert isinstance(skip, Skip)
    assert skip.lasting
    assert skip.reason == "because unassessable"


def test_a_marginal_account_is_left() -> None:
    (skip,) = run(FigureRound({"a": (10, Verdict.MARGINAL, 0)}))
    assert isinstance(skip, Skip)
    assert not skip.lasting


def test_a_reward_below_its_gas_is_skipped_and_one_equal_to_it_is_taken() -> None:
    # 400,000 gas at 1 gwei is 0.0004 coins; at 300 a coin that is 0.12.
    exact = Terms(native_price_e18=300 * 10**18, min_profit_e18=0, fee_per_gas_wei=25 * 10**9)
    # 400,000 gas at 25 gwei is 0.01 coins, worth 3.
    assert names(run(FigureRound({"a": liquidatable(3)}), exact)) == ["a"]
    dearer = Terms(native_price_e18=300 * 10**18, min_profit_e18=0, fee_per_gas_wei=25 * 10**9 + 1)
    (skip,) = run(FigureRound({"a": liquidatable(3)}), dearer)
    assert isinstance(skip, Skip)
    assert skip.reason == "the reward does not cover the gas"


def test_the_minimum_profit_and_the_data_fee_count_as_cost() -> None:
    greedy = Terms(native_price_e18=300 * 10**18, min_profit_e18=10 * 10**18, fee_per_gas_wei=1)
    assert names(run(FigureRound({"a": liquidatable(9), "b": liquidatable(11)}), greedy)) == ["b"]
    layered = Terms(
        native_price_e18=300 * 10**18, min_profit_e18=0, fee_per_gas_wei=1, data_fee_wei=lambda n: n * 10**18
    )
    assert names(run(FigureRound({"a": liquidatable(10)}), layered)) == []


def test_gas_limits_stay_within_the_block_and_a_smaller_one_may_still_fit() -> None:
    round_ = FigureRound(
        {"a": liquidatable(30, 700_000), "b": liquidatable(20, 700_000), "c": liquidatable(10, 300_000)}
    )
    assert names(run(round_, gas=1_000_000)) == ["a", "c"]


def test_a_block_is_filled_by_the_gas_that_is_really_used_not_by_limits() -> None:
    accounts = {f"{index:02}": liquidatable(99 - index, 600_000) for index in range(20)}
    # The fourth and later find 3 x 150,000 used and more, and need 600,000 beside it: 150,000 n + 600,000 <= 1,500,000.
    assert len(names(run(FigureRound(accounts), gas=1_500_000, use=GasUse([(600_000, 150_000)])))) == 7


def test_what_is_in_flight_takes_its_room_first() -> None:
    accounts = {"a": liquidatable(30, 600_000), "b": liquidatable(20, 600_000), "c": liquidatable(10, 600_000)}
    assert names(run(FigureRound(accounts), in_flight=["a"], gas=1_300_000)) == ["b"]


def test_a_full_block_ends_the_round() -> None:
    accounts = {f"{index:02}": liquidatable(99 - index) for index in range(50)}
    decisions = run(FigureRound(accounts), gas=1_000_000)
    assert len(names(decisions)) == 2
    assert len(decisions) == 2 + MISFITS


def test_what_is_healthy_by_newer_prices_stays_on_its_way_by_its_own_and_the_rest_comes_behind() -> None:
    round_ = FigureRound({"a": (10, Verdict.HEALTHY, 400_000), "b": liquidatable(30)})
    own = {"a": b"good by its own prices"}
    decisions = list(
        decide(
            "lite",
            round_,
            WINDOW,
            TERMS,
            in_flight=["a"],
            call_data=own.__getitem__,
            room=Room(10**7, ALL_OF_IT),
            seen_ns=1,
            now_ns=lambda: 2,
        )
    )
    (sent,) = decisions
    assert isinstance(sent, Liquidation)
    assert (sent.account, sent.behind) == ("b", True)


def test_without_such_a_one_what_is_decided_may_take_any_nonce() -> None:
    round_ = FigureRound({"a": (10, Verdict.HEALTHY, 400_000), "b": liquidatable(30), "c": liquidatable(20)})
    withdrawal, sent = run(round_, in_flight=["a", "c"])
    assert isinstance(withdrawal, Withdrawal)
    assert isinstance(sent, Liquidation)
    assert not sent.behind


def test_what_the_guard_would_stop_on_its_way_is_withdrawn() -> None:
    round_ = FigureRound({"a": liquidatable(10), "b": liquidatable(30)}, per_block=1)
    (withdrawal,) = run(round_, in_flight=["a", "b"])
    assert isinstance(withdrawal, Withdrawal)
    assert withdrawal.account == "b"


def test_what_is_in_flight_is_closed_first_and_not_sent_again() -> None:
    round_ = FigureRound({"a": liquidatable(10), "b": liquidatable(30)}, per_block=1)
    decisions = run(round_, in_flight=["a"])
    assert names(decisions) == []
    assert round_.closed == ["a"]


def test_what_is_held_back_is_passed_over() -> None:
    round_ = FigureRound({"a": liquidatable(10), "b": liquidatable(30)})
    assert names(run(round_, held_back=["b"])) == ["a"]
