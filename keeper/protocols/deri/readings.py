"""What settlement reads from the oracles at a second, and which signed readings an oracle takes.

Sources: ``OracleOffChain.getValue`` and ``updateValue``, ``OracleManager.getValue``, ``OracleChainlink.getValue``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from coincurve import PublicKey
from eth_utils.crypto import keccak

from keeper.protocols.deri.state import OracleKind, OracleSignature, OracleState

_SIGNED_MESSAGE = b"\x19Ethereum Signed Message:\n32"


@dataclass(frozen=True, slots=True)
class Unread:
    """``getValue`` gives no value; ``reason`` is the revert, or ours where there is no such oracle to ask."""

    reason: str


def get_value(oracles: Mapping[str, OracleState], oracle_id: str, at: int) -> int | Unread:
    """``oracleManager.getValue(oracle_id)`` in a block with timestamp ``at``, 18 decimals."""
    oracle = oracles.get(oracle_id)
    if oracle is None:
        return Unread(f"no oracle for {oracle_id}")
    if oracle.fault:
        return Unread(oracle.fault)
    if oracle.kind is OracleKind.OFFCHAIN and at >= oracle.timestamp + oracle.delay_allowance_s:
        return Unread(f"OracleOffChain.getValue: {oracle.name} expired")
    return oracle.value


def expires_at(oracle: OracleState) -> int | None:
    """The first second at which ``getValue`` reverts for age; None if it never does."""
    return oracle.timestamp + oracle.delay_allowance_s if oracle.kind is OracleKind.OFFCHAIN else None


def signing_hash(oracle_id: str, timestamp: int, value: int) -> bytes:
    """What the oracle's signer signs: the signed-message hash of ``keccak256(symbolId, timestamp, value)``."""
    packed = bytes.fromhex(oracle_id[2:]) + timestamp.to_bytes(32, "big") + value.to_bytes(32, "big")
    return keccak(_SIGNED_MESSAGE + keccak(packed))


def recover_signer(signature: OracleSignature) -> str | None:
    """The address that signed, in lower case; None where ``ecrecover`` finds none or ``v`` is not 27 or 28."""
    if signature.v not in (27, 28):
        return None
    compact = signature.r.rjust(32, b"\0") + signature.s.rjust(32, b"\0") + bytes([signature.v - 27])
    try:
        digest = signing_hash(signature.oracle_id, signature.timestamp, signature.value)
        key = PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except (ValueError, OverflowError):
        return None
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


def accepts(oracle: OracleState, signature: OracleSignature) -> bool:
    """Whether ``updateValue`` takes the reading: newer than the stored one, and signed by ``signer``."""
    return signature.timestamp > oracle.timestamp and recover_signer(signature) == oracle.signer.lower()


def takes_none(oracle_id: str, oracle: OracleState | None) -> str:
    """The reason why a call with a reading for this oracle reverts: it is a feed's, of another kind, or gone."""
    return f"the oracle of {oracle.name if oracle is not None else oracle_id} takes no signed readings"


def apply_signatures(
    oracles: Mapping[str, OracleState], signatures: Iterable[OracleSignature]
) -> dict[str, OracleState] | Unread:
    """The oracles after the signatures of one call, in order.

    A reading that is old or not signed by the oracle's signer is ignored in silence. One for an oracle that takes no
    readings (Chainlink, Woo, none at all) reverts the call.
    """
    after = dict(oracles)
    for signature in signatures:
        oracle = after.get(signature.oracle_id)
        if oracle is None or oracle.kind is not OracleKind.OFFCHAIN:
            return Unread(takes_none(signature.oracle_id, oracle))
        if accepts(oracle, signature):
            after[signature.oracle_id] = replace(oracle, timestamp=signature.timestamp, value=signature.value)
    return after
