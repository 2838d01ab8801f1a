"""A planned deposit is sufficient and one unit less is not: the contract's own word, for random stakes and counts."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pytest
from eth_utils import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.devnet.anvil import Anvil
from keeper.devnet.artifacts import Contract, load_artifact
from keeper.devnet.rpc import Json, RpcError, as_bytes
from keeper.devnet.transactions import Transaction, confirm, created_address, next_nonces, send
from keeper.protocols.deri.stake.plan import plan
from keeper.protocols.deri.state import PrivilegerState, Stake

LOCK_S = 3_600
ADMIN, US, OTHER = ("0x" + digit * 40 for digit in "123")
MINTED = 10**40
STAKES, TIMESTAMPS, TOTAL, COUNT = 2, 3, 4, 5
"""Where PrivilegerImplementation keeps its mappings, after ProxyStorage's two slots."""

AMOUNTS = st.integers(1, 10**27) | st.integers(1, 40)


def entry(slot: int, *keys: str) -> int:
    """The storage slot of an entry of a (nested) mapping of addresses."""
    at = slot.to_bytes(32, "big")
    for key in keys:
        at = keccak(bytes.fromhex(key[2:]).rjust(32, b"\0") + at)
    return int.from_bytes(at, "big")


@dataclass(frozen=True, slots=True)
class Bench:
    """A privileger alone, whose stakes are written and read by hand."""

    node: Anvil
    privileger: Contract
    deri: str
    least: int

    async def write(self, mine: int, others: list[int]) -> PrivilegerState:
        """Put stakes into the contract, all of them long unlocked."""
        slots = {
            entry(STAKES, self.deri, US): mine,
            entry(STAKES, self.deri, OTHER): others[0] if others else 0,
            entry(TIMESTAMPS, self.deri, US): 0,
            entry(TOTAL, self.deri): mine + sum(others),
            entry(COUNT, self.deri): len(others) + (mine > 0),
        }
        calls: list[tuple[str, list[Json]]] = [
            ("anvil_setStorageAt", [self.privileger.address, hex(slot), f"0x{value:064x}"])
            for slot, value in slots.items()
        ]
        await self.node.batch(calls)
        total, count = mine + sum(others), len(others) + (mine > 0)
        return PrivilegerState(LOCK_S, self.least, total, count, {US: Stake(mine, 0)})

    async def deposit(self, user: str, amount: int) -> None:
        """Raises ``RpcError`` if the contract refuses it."""
        await self.node.call(self.privileger.address, self.privileger.encode("deposit", amount), sender=user)
        data = self.privileger.encode("deposit", amount)
        await confirm(self.node, await send(self.node, [Transaction(user, self.privileger.address, data)]))

    async def qualified(self, seconds: int) -> bool | None:
        """``isQualifiedLiquidator`` that many seconds after the head; None where it reverts."""
        head = await self.node.block_timestamp()
        data = self.privileger.encode("isQualifiedLiquidator", US)
        request: Json = {"to": self.privileger.address, "data": "0x" + data.hex()}
        try:
            answer = await self.node.rpc("eth_call", request, "latest", {}, {"time": hex(head + seconds)})
        except RpcError as error:
            if "minLockTime not met" not in error.message:
                raise
            return None
        return bool(int.from_bytes(as_bytes(answer), "big"))


async def bench_of(node: Anvil, least: int) -> Bench:
    """A fresh token and a privileger that takes no deposit below ``least``; both people are rich and have approved."""
    await node.rpc("anvil_autoImpersonateAccount", True)
    for user in (ADMIN, US, OTHER):
        await node.set_balance(user, 10**24)
    nonce = (await next_nonces(node, {ADMIN}))[ADMIN]
    deri = created_address(ADMIN, nonce)
    token, code = load_artifact("DevToken"), load_artifact("PrivilegerImplementation")
    privileger = Contract(created_address(ADMIN, nonce + 1), code)
    spend = token.encode("approve", privileger.address, 2**255)
    await confirm(
        node,
        await send(
            node,
            [
                Transaction(ADMIN, None, token.deployment("DERI", "DERI", 18)),
                Transaction(ADMIN, None, code.deployment(deri, LOCK_S, least)),
                *(Transaction(ADMIN, deri, token.encode("mint", user, MINTED)) for user in (US, OTHER)),
                *(Transaction(user, deri, spend) for user in (US, OTHER)),
            ],
        ),
    )
    return Bench(node, privileger, deri, least)


EXAMPLES = settings(
    derandomize=True, max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("least", [0, 10_000 * 10**18])
@EXAMPLES
@given(mine=st.just(0) | AMOUNTS, others=st.lists(AMOUNTS, max_size=8))
async def test_the_least_deposit_is_sufficient_and_one_unit_less_is_not(
    anvil: Anvil, benches: dict[int, Bench], least: int, mine: int, others: list[int]
) -> None:
    bench = benches.get(least) or benches.setdefault(least, await bench_of(anvil, least))
    state = await bench.write(mine, others)
    deposit = plan(state, US, await anvil.block_timestamp()).least
    if deposit == 0:
        assert await bench.qualified(0)
        return
    assert not await bench.qualified(0)
    await bench.deposit(US, deposit)
    assert await bench.qualified(LOCK_S - 1) is None
    assert await bench.qualified(LOCK_S)
    await bench.write(mine, others)
    if deposit == least:
        with pytest.raises(RpcError, match="amount < minDepositAmount"):
            await bench.deposit(US, deposit - 1)
    elif deposit > 1:
        await bench.deposit(US, deposit - 1)
        assert await bench.qualified(LOCK_S) is False


@EXAMPLES
@given(
    mine=st.just(0) | AMOUNTS,
    others=st.lists(AMOUNTS, min_size=1, max_size=8),
    margin=st.decimals(Decimal("0.01"), 300, places=2),
)
async def test_with_a_margin_it_outlasts_what_the_others_add_and_one_unit_less_does_not(
    anvil: Anvil, benches: dict[int, Bench], mine: int, others: list[int], margin: Decimal
) -> None:
    bench = benches.get(0) or benches.setdefault(0, await bench_of(anvil, 0))
    state = await bench.write(mine, others)
    deposit = plan(state, US, await anvil.block_timestamp(), margin).with_margin
    added = int(sum(others) * Fraction(margin) / 100)

    async def after(amount: int) -> bool | None:
        await bench.write(mine, others)
        for user, more in ((US, amount), (OTHER, added)):
            if more:
                await bench.deposit(user, more)
        return await bench.qualified(LOCK_S)

    assert await after(deposit)
    if deposit > 1:
        assert await after(deposit - 1) is False


@pytest.fixture
def benches() -> dict[int, Bench]:
    """What was deployed in this test, by least deposit: the examples share it."""
    return {}
