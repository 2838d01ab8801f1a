"""Examining a chain: its endpoints, its clock and ours, what gas costs, and who would send."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from keeper.chain.answers import fields, quantity, text
from keeper.chain.blocks import header_of
from keeper.chain.configured import endpoints_of, unlock
from keeper.chain.data_fee import ArbitrumDataFee, OpStackDataFee
from keeper.chain.endpoint import Endpoint
from keeper.chain.gas import next_base_fee_wei
from keeper.chain.rpc import Rpc
from keeper.doctor.findings import Finding, fault, fine, refused, warning
from keeper.errors import ConfigError, KeeperError
from keeper.model import Header
from keeper.settings import ChainSettings, GasSettings, Mode, SignerSettings

LAG_BLOCKS = 3
SKEW_S = 15
OLD_BLOCKS = 10
"""A head older than so many block times, and than ``OLD_S``, is stale."""
OLD_S = 60
SAMPLE_BLOCKS = 20
ONE_LIQUIDATION_GAS = 1_000_000
_ETHER = 10**18
_GWEI = 10**9
_DATA_FEE_CONTRACTS = {"op-stack": OpStackDataFee.ORACLE, "arbitrum": ArbitrumDataFee.GAS_INFO}


@dataclass(frozen=True, slots=True)
class _Heard:
    """What one endpoint said."""

    endpoint: Endpoint
    head: Header
    block_s: float
    """Seconds between its recent blocks."""
    took_ms: float


@dataclass(frozen=True, slots=True)
class Reached:
    """What asking every endpoint of a chain has shown."""

    chain: ChainSettings
    """With the endpoints that can be worked with, and no others."""
    best: Header | None
    """The highest head; None if no endpoint answered."""
    findings: tuple[Finding, ...]


async def reach(name: str, chain: ChainSettings) -> Reached:
    """Ask every endpoint for itself."""
    heard: list[_Heard] = []
    found: list[Finding] = []
    for endpoint in endpoints_of(chain):
        try:
            heard.append(await _listen(endpoint, chain.chain_id))
        except KeeperError as error:
            found.append(refused(f"chain {name} endpoint {endpoint.name}", error))
    if not heard:
        return Reached(chain, None, tuple(found))
    best = max(heard, key=lambda each: each.head.number)
    good = [each for each in heard if best.head.number - each.head.number <= LAG_BLOCKS]
    usable = chain.model_copy(update={"endpoints": tuple(each.endpoint.url for each in good)})
    return Reached(usable, best.head, (*found, *_heads(name, heard), _clock(name, best)))


async def examine_chain(name: str, chain: ChainSettings, head: Header, mode: Mode) -> AsyncIterator[Finding]:
    """Everything else about one chain that can be wrong before the first block."""
    if chain.archive is not None:
        try:
            await _listen(Endpoint(chain.archive), chain.chain_id)
            yield fine(f"chain {name} archive", "it answers")
        except KeeperError as error:
            yield refused(f"chain {name} archive", error)
    async with Rpc(endpoints_of(chain), chain.chain_id) as rpc:
        for finding in _fees(name, chain.gas, head):
            yield finding
        if (contract := _DATA_FEE_CONTRACTS.get(chain.gas.data_fee)) is not None:
            yield await _data_fee(name, chain.gas.data_fee, contract, rpc)
        if mode is Mode.LIVE:
            for entry in chain.signers:
                async for finding in _signer(name, entry, chain.gas, head, rpc):
                    yield finding
        else:
            yield _stand_in(name, chain)


async def _listen(endpoint: Endpoint, chain_id: int) -> _Heard:
    async with Rpc([endpoint], chain_id) as rpc:
        began = time.monotonic()
        head = header_of(fields(await rpc.request("eth_getBlockByNumber", ["latest", False], patience_s=0)))
        took_ms = (time.monotonic() - began) * 1000
        back = min(SAMPLE_BLOCKS, head.number)
        earlier = header_of(fields(await rpc.request("eth_getBlockByNumber", [hex(head.number - back), False])))
        return _Heard(endpoint, head, (head.timestamp - earlier.timestamp) / max(back, 1), took_ms)


def _heads(name: str, heard: Sequence[_Heard]) -> list[Finding]:
    found = []
    highest = max((each.head.number for each in heard), default=0)
    for each in heard:
        subject = f"chain {name} endpoint {each.endpoint.name}"
        behind = highest - each.head.number
        if behind > LAG_BLOCKS:
            remedy = "it is asked after the others; look at its synchronisation, or take it out"
            found.append(fault(subject, f"{behind} blocks behind the highest head", remedy))
        else:
            found.append(fine(subject, f"block {each.head.number}, {each.took_ms:.0f} ms"))
    if heard and not any(each.endpoint.websocket for each in heard):
        remedy = "add a ws:// or wss:// endpoint: without one the head is asked for at a rhythm"
        found.append(warning(f"chain {name} websocket", "no endpoint pushes new heads", remedy))
    return found


def _clock(name: str, best: _Heard) -> Finding:
    subject = f"chain {name} clock"
    ahead = best.head.timestamp - time.time()
    if ahead > SKEW_S:
        return fault(
            subject, f"the head is {ahead:.0f} s in our future", "this machine's clock is slow: synchronise it (NTP)"
        )
    if -ahead > max(OLD_S, OLD_BLOCKS * best.block_s):
        remedy = "the nodes don't keep up, or this machine's clock is fast: check both"
        return fault(subject, f"the head is {-ahead:.0f} s old, blocks come every {best.block_s:.1f} s", remedy)
    return fine(subject, f"the head is {max(0.0, -ahead):.1f} s old, blocks come every {best.block_s:.1f} s")


def _fees(name: str, gas: GasSettings, head: Header) -> list[Finding]:
    subject = f"chain {name} gas"
    base_wei = next_base_fee_wei(head)
    if base_wei is None:
        if gas.policy != "legacy":
            return [fault(subject, f"the chain has no base fee, the policy is {gas.policy}", 'set policy = "legacy"')]
        return [fine(subject, "legacy prices")]
    price_wei = base_wei + gas.tip_wei
    shown = f"a unit costs {price_wei / _GWEI:.3f} gwei"
    if price_wei > gas.max_fee_wei:
        remedy = "raise gas.max_fee_gwei: until then nothing is sent"
        return [fault(subject, f"{shown}, the ceiling is {gas.max_fee_gwei} gwei", remedy)]
    found = [fine(subject, f"{shown}, the ceiling is {gas.max_fee_gwei} gwei")]
    subject = f"chain {name} budget"
    budgets = {"budget_per_hour": gas.budget_per_hour, "budget_per_day": gas.budget_per_day}
    for setting, coins in budgets.items():
        count = int(coins * _ETHER) // (price_wei * ONE_LIQUIDATION_GAS) if price_wei else 0
        if price_wei and not count:
            found.append(fault(subject, f"{setting} does not pay for one liquidation", f"raise gas.{setting}"))
        else:
            found.append(fine(subject, f"{setting} pays for some {count} liquidations at this price"))
    return found


async def _data_fee(name: str, kind: str, contract: str, rpc: Rpc) -> Finding:
    subject = f"chain {name} data fee"
    if len(text(await rpc.request("eth_getCode", [contract, "latest"]))) > len("0x"):
        return fine(subject, f"{kind}: {contract} tells it")
    return fault(subject, f"no contract {contract}, so this is no {kind} chain", "correct gas.data_fee")


async def _signer(name: str, entry: SignerSettings, gas: GasSettings, head: Header, rpc: Rpc) -> AsyncIterator[Finding]:
    subject = f"chain {name} signer {entry.address}"
    try:
        signer = await unlock(entry)
        await signer.close()
        yield fine(subject, "the key opens and belongs to the address")
    except KeeperError as error:
        yield refused(subject, error)
    balance_wei = quantity(await rpc.request("eth_getBalance", [entry.address, "latest"]))
    one_wei = ((next_base_fee_wei(head) or 0) + gas.tip_wei) * ONE_LIQUIDATION_GAS
    shown = f"{balance_wei / _ETHER:.6f} native"
    if balance_wei < one_wei:
        yield fault(f"{subject} balance", f"{shown}: not enough for one liquidation", "send it coins for gas")
    elif balance_wei < int(gas.low_balance * _ETHER):
        yield warning(f"{subject} balance", f"{shown}, below low_balance", "send it coins for gas")
    else:
        yield fine(f"{subject} balance", shown)
    mined = quantity(await rpc.request("eth_getTransactionCount", [entry.address, "latest"]))
    pending = quantity(await rpc.request("eth_getTransactionCount", [entry.address, "pending"]))
    if pending > mined:
        came = f"{pending - mined} transactions of this address are pending"
        yield warning(f"{subject} nonce", came, "the keeper wants an address of its own; stop whatever else sends")
    else:
        yield fine(f"{subject} nonce", f"{mined}, nothing pending")


def _stand_in(name: str, chain: ChainSettings) -> Finding:
    subject = f"chain {name} liquidator"
    address = next((entry.address for entry in chain.signers), chain.liquidator)
    if address is None:
        return refused(
            subject, ConfigError("the address that would liquidate", "there is none", f"set chains.{name}.liquidator")
        )
    return fine(subject, f"in the place of {address}; this mode never sends")
