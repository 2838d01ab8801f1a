"""From revert data to an action, and from actions to pauses."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils import keccak

from keeper.chain.reverts import Action, Pauses, error_data, reason_of, understand


def error(text: str) -> bytes:
    return keccak(text="Error(string)")[:4] + encode(["string"], [text])


def panic(code: int) -> bytes:
    return keccak(text="Panic(uint256)")[:4] + encode(["uint256"], [code])


@pytest.mark.parametrize(
    ("data", "gas_used", "reason", "action"),
    [
        (error("PoolImplementation.liquidate: no position"), 50, None, Action.GONE),
        (error("PoolImplementationLite.liquidate: nonexistent pTokenId"), 50, None, Action.GONE),
        (error("PoolImplementation.liquidate: cannot liquidate"), 50, None, Action.HEALTHY),
        (error("PoolImplementationLite.liquidate: unqualified liquidator"), 50, None, Action.NOT_ELIGIBLE),
        (error("Privileger: minLockTime not met"), 50, None, Action.NOT_ELIGIBLE),
        (error("OracleOffChain.getValue: BTCUSD expired"), 50, None, Action.STALE),
        (error("SymbolImplementationOption.settleOnLiquidate: slippage exceeds allowance"), 50, None, Action.GUARD),
        (error("Swapper: slippage exceeds allowance"), 50, None, Action.STALE),
        (error("Vault: empty position"), 50, "Vault: empty position", Action.GONE),
        (error("Vault: position cannot be liquidated"), 50, None, Action.HEALTHY),
        (error("Vault: invalid liquidator"), 50, None, Action.NOT_ELIGIBLE),
        (error("PositionManager: forbidden"), 50, None, Action.NOT_ELIGIBLE),
        (error("Timelock: forbidden"), 50, None, Action.NOT_ELIGIBLE),
        (error("Vault: invalid increase"), 50, None, Action.STALE),
        (error("Vault: poolAmount exceeded"), 50, None, Action.STALE),
        (error("Vault: reserve exceeds pool"), 50, None, Action.STALE),
        (panic(0x12), 50, "Panic(0x12)", Action.STALE),
        (panic(0x32), 50, "Panic(0x32)", Action.UNKNOWN),
        (bytes.fromhex("deadbeef"), 50, "custom error 0xdeadbeef", Action.UNKNOWN),
        (b"", 50, "", Action.UNKNOWN),
        (b"", 98, "out of gas", Action.OUT_OF_GAS),
        (bytes.fromhex("08c379a0ff"), 50, "malformed revert data 0x08c379a0ff", Action.UNKNOWN),
    ],
)  # fmt: skip
def test_a_revert_means_an_action(data: bytes, gas_used: int, reason: str | None, action: Action) -> None:
    revert = understand(data, gas_used, gas_limit=100)
    assert revert.action is action
    assert reason is None or revert.reason == reason


def test_a_revert_reason_is_decoded_whole() -> None:
    assert reason_of(error("a" * 100)) == "a" * 100


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("execution reverted: Vault: empty position", "Vault: empty position"),
        ("VM Exception while processing transaction: revert: no position", "no position"),
        ("execution reverted", ""),
        ("execution reverted: ", ""),
        ("out of gas", ""),
        ("header not found", ""),
    ],
)
def test_a_reason_is_taken_from_a_node_s_words_where_it_gives_no_data(message: str, reason: str) -> None:
    assert reason_of(error_data(message)) == reason


def test_an_account_is_paused_after_a_revert_and_then_tried_again() -> None:
    pauses = Pauses()
    assert not pauses.reverted("m", "a", Action.GUARD, 100)
    assert pauses.why("m", "a", 101) == "paused after a revert"
    assert pauses.why("m", "a", 102) == ""
    assert pauses.why("m", "b", 101) == ""


def test_two_unknown_reverts_in_a_row_stop_an_account_until_it_is_resumed() -> None:
    pauses = Pauses()
    assert not pauses.reverted("m", "a", Action.UNKNOWN, 100)
    assert pauses.reverted("m", "a", Action.UNKNOWN, 200)
    assert pauses.why("m", "a", 10_000) == "stopped after reverts that nobody understands"
    assert pauses.stopped() == (("m", "a"),)
    pauses.resume("m", "a")
    assert pauses.why("m", "a", 10_000) == ""


def test_unknown_reverts_that_are_not_in_a_row_don_t_stop_an_account() -> None:
    pauses = Pauses()
    pauses.reverted("m", "a", Action.UNKNOWN, 100)
    pauses.reverted("m", "a", Action.GUARD, 200)
    assert not pauses.reverted("m", "a", Action.UNKNOWN, 300)
