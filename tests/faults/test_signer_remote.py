"""A remote signer that is away, refuses, or signs something else than it was asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from keeper.chain.signer import LocalSigner, RemoteSigner
from keeper.chain.transaction import Fees, Transaction
from keeper.devnet.anvil import Anvil
from keeper.errors import SignerError
from keeper.model import OutcomeState
from tests.chain.lane_world import SIGNER, account, lane_world, prepare

TRANSACTION = Transaction(31337, 3, SIGNER.address, b"\x01\x02", 50_000, Fees(2 * 10**9, 10**9))
OTHER = LocalSigner(bytes(range(1, 33)))


class FakeSigner:
    """Web3Signer's JSON-RPC interface with one key, and a hook to misbehave."""

    def __init__(self) -> None:
        self.signer = SIGNER
        self.tamper: Callable[[Transaction], Transaction] = lambda transaction: transaction
        self.error: str | None = None
        self.body: str | None = None
        self.as_object = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        if self.body is not None:
            return web.Response(text=self.body)
        if self.error is not None:
            error = {"code": -32000, "message": self.error}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        result: object = [SIGNER.address.lower()]
        if call["method"] == "eth_signTransaction":
            raw = "0x" + (await self._sign(call["params"][0])).hex()
            result = {"raw": raw, "tx": {}} if self.as_object else raw
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})

    async def _sign(self, fields: dict[str, str]) -> bytes:
        assert fields["from"] == SIGNER.address
        number = {name: int(value, 16) for name, value in fields.items() if name not in ("from", "to", "data", "type")}
        fees = (
            Fees(number["gasPrice"], None)
            if "gasPrice" in number
            else Fees(number["maxFeePerGas"], number["maxPriorityFeePerGas"])
        )
        data = bytes.fromhex(fields["data"][2:])
        asked = Transaction(
            number["chainId"], number["nonce"], fields["to"], data, number["gas"], fees, number["value"]
        )
        return (await self.signer.sign(self.tamper(asked))).raw


@pytest.fixture
async def fake() -> AsyncIterator[FakeSigner]:
    signer = FakeSigner()
    app = web.Application()
    app.router.add_post("/{tail:.*}", signer.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    signer.url = f"http://user:hunter2@127.0.0.1:{runner.addresses[0][1]}/secret-path"
    yield signer
    await runner.cleanup()


@pytest.fixture
async def remote(fake: FakeSigner) -> AsyncIterator[RemoteSigner]:
    signer = await RemoteSigner.connect(fake.url, SIGNER.address)
    yield signer
    await signer.close()


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize("fees", [TRANSACTION.fees, Fees(10**9, None)])
async def test_it_signs_as_the_key_itself_would(
    fake: FakeSigner, remote: RemoteSigner, fees: Fees, as_object: bool
) -> None:
    fake.as_object = as_object
    asked = replace(TRANSACTION, fees=fees)
    assert await remote.sign(asked) == await SIGNER.sign(asked)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda transaction: replace(transaction, to=OTHER.address),
        lambda transaction: replace(transaction, value_wei=1),
        lambda transaction: replace(transaction, nonce=4),
        lambda transaction: replace(transaction, data=b""),
        lambda transaction: replace(transaction, chain_id=1),
        lambda transaction: replace(transaction, fees=Fees(2 * 10**9, None)),
    ],
)
async def test_another_transaction_than_the_one_asked_for_is_refused(
    fake: FakeSigner, remote: RemoteSigner, tamper: Callable[[Transaction], Transaction]
) -> None:
    fake.tamper = tamper
    with pytest.raises(SignerError, match="a different transaction"):
        await remote.sign(TRANSACTION)


async def test_another_key_is_refused(fake: FakeSigner, remote: RemoteSigner) -> None:
    fake.signer = OTHER
    with pytest.raises(SignerError, match=f"it signed as {OTHER.address}"):
        await remote.sign(TRANSACTION)


async def test_its_own_refusal_is_passed_on(fake: FakeSigner, remote: RemoteSigner) -> None:
    fake.error = "account is locked"
    with pytest.raises(SignerError, match="it refused: account is locked"):
        await remote.sign(TRANSACTION)


@pytest.mark.parametrize("body", ["", "<html>", "[]", "{}", '{"result": null}', '{"result": "0xzz"}'])
async def test_an_answer_that_makes_no_sense_is_refused(fake: FakeSigner, remote: RemoteSigner, body: str) -> None:
    fake.body = body
    with pytest.raises(SignerError):
        await remote.sign(TRANSACTION)


async def test_an_unreachable_signer_is_refused_without_naming_its_credentials() -> None:
    with pytest.raises(SignerError, match="it could not be reached") as refused:
        await RemoteSigner.connect("http://user:hunter2@127.0.0.1:9/secret-path", SIGNER.address)
    assert "hunter2" not in str(refused.value)
    assert "secret-path" not in str(refused.value)


async def test_a_signer_without_the_key_is_refused_at_the_start(fake: FakeSigner) -> None:
    with pytest.raises(SignerError, match="it holds 1 other key"):
        await RemoteSigner.connect(fake.url, OTHER.address)


async def test_a_lane_liquidates_with_it(remote: RemoteSigner, anvil: Anvil, tmp_path: Path) -> None:
    await prepare(anvil)
    async with lane_world(anvil, tmp_path / "journal", signer=remote) as world:
        await world.send(*(account(number) for number in range(20)))
        await world.turn()
        assert {world.last(account(number)).state for number in range(20)} == {OutcomeState.MINED}
