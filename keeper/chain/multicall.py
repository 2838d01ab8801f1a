"""Multicall3's ``aggregate3``: where it lives, what to inject where it does not, and its encoding.

The encoding is written out by hand because eth-abi takes tens of microseconds for every tuple, and a cold start reads
tens of thousands of them inside the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.errors import ChainError
from keeper.model import ReadCall, ReadResult

MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11"
"""Multicall3's address on nearly every chain."""

AGGREGATE3_CODE = (
    "60806040526004361061001d575f3560e01c806382ad56cb14610021575b5f5ffd5b61003461002f366004610238565b61004a565b604051"
    "61004191906102a9565b60405180910390f35b60608167ffffffffffffffff81111561006557610065610344565b60405190808252806020"
    "02602001820160405280156100aa57816020015b604080518082019091525f81526060602082015281526020019060019003908161008357"
    "90505b5090505f5b82811015610231575f5f8585848181106100cb576100cb610358565b90506020028101906100dd919061036c565b6100"
    "eb90602081019061038a565b6001600160a01b031686868581811061010657610106610358565b9050602002810190610118919061036c56"
    "5b6101269060408101906103b7565b604051610134929190610401565b5f604051808303815f865af19150503d805f811461016d57604051"
    "9150601f19603f3d011682016040523d82523d5f602084013e610172565b606091505b509150915081806101b35750858584818110610190"
    "57610190610358565b90506020028101906101a2919061036c565b6101b3906040810190602001610410565b6101f35760405162461bcd60"
    "e51b815260206004820152600d60248201526c184818d85b1b0819985a5b1959609a1b604482015260640160405180910390fd5b60405180"
    "6040016040528083151581526020018281525084848151811061021c5761021c610358565b602090810291909101015250506001016100af"
    "565b5092915050565b5f5f60208385031215610249575f5ffd5b823567ffffffffffffffff81111561025f575f5ffd5b8301601f81018513"
    "61026f575f5ffd5b803567ffffffffffffffff811115610285575f5ffd5b8560208260051b8401011115610299575f5ffd5b602091909101"
    "9590945092505050565b5f602082016020835280845180835260408501915060408160051b8601019250602086015f5b8281101561033857"
    "603f198786030184528151805115158652602081015190506040602087015280518060408801528060208301606089015e5f606082890101"
    "526060601f19601f830116880101965050506020820191506020840193506001810190506102cf565b50929695505050505050565b634e48"
    "7b7160e01b5f52604160045260245ffd5b634e487b7160e01b5f52603260045260245ffd5b5f8235605e19833603018112610380575f5ffd"
    "5b9190910192915050565b5f6020828403121561039a575f5ffd5b81356001600160a01b03811681146103b0575f5ffd5b9392505050565b"
    "5f5f8335601e198436030181126103cc575f5ffd5b83018035915067ffffffffffffffff8211156103e6575f5ffd5b602001915036819003"
    "8213156103fa575f5ffd5b9250929050565b818382375f9101908152919050565b5f60208284031215610420575f5ffd5b81358015158114"
    "6103b0575f5ffdfe"
)
"""Runtime code of contracts/devnet/Aggregate3.sol without its metadata; a test compares it with the compiler's."""

_SELECTOR = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])
_WORD = 32


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


_TRUE = _word(1)
_CALL_DATA_AT = _word(3 * _WORD)


def encode_aggregate3(calls: Sequence[ReadCall]) -> bytes:
    """Call data for ``aggregate3``, where every call may fail by itself."""
    offsets: list[bytes] = []
    tuples: list[bytes] = []
    at = len(calls) * _WORD
    for call in calls:
        padding = -len(call.data) % _WORD
        encoded = b"".join(
            (
                bytes(12),
                bytes.fromhex(call.to[2:]),
                _TRUE,
                _CALL_DATA_AT,
                _word(len(call.data)),
                call.data,
                bytes(padding),
            )
        )
        offsets.append(_word(at))
        tuples.append(encoded)
        at += len(encoded)
    return b"".join((_SELECTOR, _word(_WORD), _word(len(calls)), *offsets, *tuples))


def decode_aggregate3(answer: bytes, expected: int) -> list[ReadResult]:
    """The results of ``aggregate3``. Raises ``ChainError`` unless there are exactly ``expected``."""

    def number(at: int) -> int:
        if at + _WORD > len(answer):
            raise ChainError(
                f"{expected} results from aggregate3",
                f"its answer of {len(answer)} bytes is cut short",
                "check that the address holds Multicall3 and that the node is sound",
            )
        return int.from_bytes(answer[at : at + _WORD], "big")

    base = number(0) + _WORD
    if (count := number(base - _WORD)) != expected:
        raise ChainError(f"{expected} results from aggregate3", f"it gave {count}", "check the multicall address")
    results = []
    for index in range(expected):
        at = base + number(base + index * _WORD)
        ok = number(at) != 0
        data_at = at + number(at + _WORD)
        length = number(data_at)
        data = answer[data_at + _WORD : data_at + _WORD + length]
        if len(data) != length:
            number(len(answer))
        results.append(ReadResult(ok, data))
    return results
