"""Private ways out, against a local fake relay."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from eth_utils import keccak

from keeper.chain.eth_accounts import Account, encode_defunct
from keeper.chain.private_relay import BundleRelay, PrivateRelay
from keeper.chain.relay import Answer, sort_answer
from keeper.chain.signer import LocalSigner
from keeper.devnet.anvil import Anvil, AnvilOptions
from keeper.model import OutcomeState
from tests.chain.lane_world import MARKET, SIGNER, account, lane_world, prepare
from tests.conftest import StartAnvil

IDENTITY = LocalSigner(keccak(text="a relay knows me by this"))


class FakeRelay:
    """Notes what it is given; ``upstream`` mines it when told to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.calls: list[dict[str, Any]] = []
        self.signatures: list[tuple[str, str]] = []
        self.error: str | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        call = json.loads(body)
        self.calls.append(call)
        self.signatures.append((request.headers.get("X-Flashbots-Signature", ""), body))
        if self.error:
            error = {"code": -32000, "message": self.error}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": "0x01"})

    async def deliver(self, anvil: Anvil) -> None:
        """Pass the last transaction on, as a builder would put it into a block."""
        await anvil.rpc("eth_sendRawTransaction", raw_of(self.calls[-1]))


def raw_of(call: dict[str, Any]) -> str:
    param = call["params"][0]
    if isinstance(param, str):
        return param
    return str(param["tx"] if "tx" in param else param["txs"][0])


@pytest.fixture
async def chain(start_anvil: StartAnvil) -> Anvil:
    anvil = await start_anvil(AnvilOptions(no_mining=True))
    await prepare(anvil)
    return anvil


@pytest.fixture
async def fake() -> AsyncIterator[FakeRelay]:
    async with aiohttp.ClientSession() as session:
        relay = FakeRelay(session)
        app = web.Application()
        app.router.add_post("/", relay.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield relay
        await runner.cleanup()


async def test_a_private_transaction_never_reaches_the_public_endpoints(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    relay = PrivateRelay(fake.url, "eth_sendPrivateTransaction", fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        await world.send(account(1))
        assert world.states(account(1)) == [OutcomeState.SENT]
        assert not await world.pool()
        [call] = fake.calls
        assert call["method"] == "eth_sendPrivateTransaction"
        assert call["params"][0]["maxBlockNumber"] == hex(25)
        await fake.deliver(chain)
        await world.mine()
        assert world.last(account(1)).state is OutcomeState.MINED
        assert world.rpc.calls["eth_sendRawTransaction"] == 0


async def test_a_private_transaction_survives_a_restart_though_no_node_knows_it(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    relay = PrivateRelay(fake.url, "eth_sendRawTransaction", fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        await world.send(account(1))
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        assert world.lane.in_flight(MARKET, account(1))
        await fake.deliver(chain)
        await world.mine()
        assert world.last(account(1)).state is OutcomeState.MINED


async def test_a_bundle_is_for_one_block_and_handed_in_anew_for_the_next(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    relay = BundleRelay(fake.url, IDENTITY, fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        await world.send(account(1))
        await world.mine()
        await world.mine()
        assert [call["params"][0]["blockNumber"] for call in fake.calls] == ["0x1", "0x2", "0x3"]
        assert len({raw_of(call) for call in fake.calls}) == 1
        await fake.deliver(chain)
        await world.mine()
        assert world.last(account(1)).state is OutcomeState.MINED


async def test_a_bundle_request_is_signed_by_the_relay_identity_and_not_by_the_money(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    relay = BundleRelay(fake.url, IDENTITY, fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        await world.send(account(1))
        [(header, body)] = fake.signatures
        address, signature = header.split(":")
        message = encode_defunct(text="0x" + keccak(text=body).hex())
        assert Account.recover_message(message, signature=signature) == address == IDENTITY.address != SIGNER.address


async def test_a_relay_that_is_away_leaves_the_transaction_in_flight(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    away = PrivateRelay("http://user:hunter2@127.0.0.1:9/", "eth_sendRawTransaction", fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: away}) as world:
        await world.send(account(1))
        assert world.lane.in_flight(MARKET, account(1))
        delivery = await away.send(b"\x02", 1)
        assert delivery.answer is Answer.UNCERTAIN
        assert "hunter2" not in delivery.text + repr(away)


async def test_a_relay_that_has_no_time_leaves_the_transaction_in_flight(
    chain: Anvil, fake: FakeRelay, tmp_path: Path
) -> None:
    relay = PrivateRelay(fake.url, "eth_sendPrivateTransaction", fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        fake.error = "rate limit exceeded"
        await world.send(account(1))
        for _ in range(4):
            await world.mine()
        assert world.lane.in_flight(MARKET, account(1))
        fake.error = None
        await world.mine()
        await world.mine()
        await fake.deliver(chain)
        await world.mine()
        assert world.states(account(1))[-1] is OutcomeState.MINED


async def test_a_relay_that_refuses_gives_the_intent_up(chain: Anvil, fake: FakeRelay, tmp_path: Path) -> None:
    fake.error = "insufficient funds"
    relay = PrivateRelay(fake.url, "eth_sendRawTransaction", fake.session)
    async with lane_world(chain, tmp_path / "journal", relays={MARKET: relay}) as world:
        await world.send(account(1))
        assert world.last(account(1)).state is OutcomeState.ABANDONED


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("txpool is full", Answer.UNDERPRICED),
        ("already known", Answer.ACCEPTED),
        ("AlreadyKnown", Answer.ACCEPTED),
        ("transaction already imported", Answer.ACCEPTED),
        ("nonce too low: address 0x00, tx: 1 state: 2", Answer.NONCE_TOO_LOW),
        ("OldNonce", Answer.NONCE_TOO_LOW),
        ("replacement transaction underpriced", Answer.UNDERPRICED),
        ("transaction underpriced", Answer.UNDERPRICED),
        ("max fee per gas less than block base fee: address 0x00", Answer.UNDERPRICED),
        ("max fee per gas less than block base fee", Answer.UNDERPRICED),
        ("FeeTooLow, MaxFeePerGas too low", Answer.UNDERPRICED),
        ("insufficient funds for gas * price + value: address 0x00 have 1 want 2", Answer.NO_FUNDS),
        ("Insufficient funds for gas * price + value", Answer.NO_FUNDS),
        ("InsufficientFunds, Account balance: 0", Answer.NO_FUNDS),
        ("exceeds block gas limit", Answer.REFUSED),
        ("", Answer.REFUSED),
    ],
)
def test_a_node_s_wording_is_sorted(text: str, answer: Answer) -> None:
    assert sort_answer(text) is answer
