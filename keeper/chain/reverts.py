"""What a revert means for the account it concerns, and how long to leave that account alone."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils import keccak

_ERROR = keccak(text="Error(string)")[:4]
_PANIC = keccak(text="Panic(uint256)")[:4]

OUT_OF_GAS = "out of gas"
_NEARLY_ALL_GAS = 98
"""Percent of the gas limit. An inner call that runs out of gas leaves 1/64 to its caller (EIP-150)."""


class Action(enum.StrEnum):
    """What to make of a revert."""

    GONE = "gone"
    """Somebody else was first, or there is no position."""
    HEALTHY = "healthy"
    NOT_ELIGIBLE = "not-eligible"
    STALE = "stale"
    """A price was too old for the contract, or of a kind it can't compute with."""
    GUARD = "guard"
    """The protocol wants this spread over blocks."""
    OUT_OF_GAS = "out-of-gas"
    UNKNOWN = "unknown"


PAUSE_BLOCKS: Mapping[Action, int] = {
    Action.GONE: 10,
    Action.HEALTHY: 2,
    Action.NOT_ELIGIBLE: 50,
    Action.STALE: 3,
    Action.GUARD: 1,
    Action.OUT_OF_GAS: 5,
    Action.UNKNOWN: 20,
}
"""For how many blocks an account is left alone after its revert."""

UNKNOWN_STOPS_AT = 2
"""That many reverts in a row that nobody understands stop an account until the operator looks at it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A revert whose reason contains ``text`` (case does not matter) means ``action``."""

    text: str
    action: Action


RULES: tuple[Rule, ...] = (
    # Deri V3: PoolImplementation.liquidate, SymbolImplementation*.settleOnLiquidate, OracleOffChain.getValue.
    Rule("nonexistent pTokenId", Action.GONE),
    Rule("no position", Action.GONE),
    Rule("unqualified liquidator", Action.NOT_ELIGIBLE),
    Rule("minLockTime not met", Action.NOT_ELIGIBLE),
    Rule(" expired", Action.STALE),
    Rule("settleOnLiquidate: slippage exceeds allowance", Action.GUARD),
    # A swapper's: the vault's collateral would be sold too cheaply. Another price may do, another block alone does not.
    Rule("slippage exceeds allowance", Action.STALE),
    # Meridian: Vault, VaultUtils, PositionManager.
    Rule("empty position", Action.GONE),
    Rule("invalid _averagePrice", Action.GONE),
    Rule("position cannot be liquidated", Action.HEALTHY),
    Rule("invalid liquidator", Action.NOT_ELIGIBLE),
    Rule("PositionManager: forbidden", Action.NOT_ELIGIBLE),
    Rule("Timelock: forbidden", Action.NOT_ELIGIBLE),
    # The pool or the token's balance does not allow the closing now; another price may.
    Rule("Vault: invalid increase", Action.STALE),
    Rule("Vault: poolAmount exceeded", Action.STALE),
    Rule("Vault: reserve exceeds pool", Action.STALE),
    # Both.
    Rule("cannot liquidate", Action.HEALTHY),
    # Solidity's panics: an arithmetic overflow or a division by zero ends when prices move.
    Rule("Panic(0x11)", Action.STALE),
    Rule("Panic(0x12)", Action.STALE),
)


@dataclass(frozen=True, slots=True)
class Revert:
    """Why a transaction reverted. ``reason`` is empty when the contract gave none."""

    reason: str
    action: Action


def reason_of(data: bytes) -> str:
    """Revert data as text: the string of ``Error(string)``, ``Panic(0x..)``, a custom error's selector, or empty."""
    if not data:
        return ""
    selector, body = data[:4], data[4:]
    try:
        if selector == _ERROR:
            return str(decode(["string"], body)[0])
        if selector == _PANIC:
            return f"Panic({decode(['uint256'], body)[0]:#04x})"
    except (DecodingError, UnicodeDecodeError, OverflowError):
        return f"malformed revert data 0x{data[:36].hex()}"
    return f"custom error 0x{selector.hex()}"


def error_data(message: str) -> bytes:
    """The revert data behind a node's words, where it gives no data; empty if the words hold no reason."""
    _, found, reason = message.partition("revert")
    _, _, reason = reason.partition(":")
    text = reason.strip().strip("'\"")
    return _ERROR + encode(["string"], [text]) if found and text else b""


def understand(data: bytes, gas_used: int, gas_limit: int, rules: Sequence[Rule] = RULES) -> Revert:
    """What a mined transaction's revert means. ``data`` is what the same call reverted with when it was replayed."""
    reason = reason_of(data)
    if not reason and gas_used * 100 >= gas_limit * _NEARLY_ALL_GAS:
        return Revert(OUT_OF_GAS, Action.OUT_OF_GAS)
    return Revert(reason, action_of(reason, rules))


def action_of(reason: str, rules: Sequence[Rule] = RULES) -> Action:
    """What to make of a revert's reason."""
    if reason == OUT_OF_GAS:
        return Action.OUT_OF_GAS
    lowered = reason.lower()
    return next((rule.action for rule in rules if rule.text.lower() in lowered), Action.UNKNOWN)


class Pauses:
    """Accounts that are left alone for a while, and those that are stopped, by (market, account)."""

    def __init__(self, blocks: Mapping[Action, int] = PAUSE_BLOCKS) -> None:
        self._blocks = blocks
        self._until: dict[tuple[str, str], int] = {}
        self._unknown: dict[tuple[str, str], int] = {}

    def reverted(self, market: str, account: str, action: Action, number: int) -> bool:
        """Take a revert in block ``number`` to heart. True if it stops the account for good."""
        key = market, account
        self._until[key] = number + self._blocks[action]
        self._unknown[key] = self._unknown.get(key, 0) + 1 if action is Action.UNKNOWN else 0
        return self._unknown[key] == UNKNOWN_STOPS_AT

    def succeeded(self, market: str, account: str) -> None:
        self.resume(market, account)

    def resume(self, market: str, account: str) -> None:
        """Let an account be acted upon again."""
        self._until.pop((market, account), None)
        self._unknown.pop((market, account), None)

    def why(self, market: str, account: str, number: int) -> str:
        """Why an account may not be acted upon in block ``number``; empty if it may."""
        key = market, account
        if self._unknown.get(key, 0) >= UNKNOWN_STOPS_AT:
            return "stopped after reverts that nobody understands"
        if number <= self._until.get(key, -1):
            return "paused after a revert"
        return ""

    def stopped(self) -> tuple[tuple[str, str], ...]:
        """The accounts that wait for the operator."""
        return tuple(key for key, count in self._unknown.items() if count >= UNKNOWN_STOPS_AT)
