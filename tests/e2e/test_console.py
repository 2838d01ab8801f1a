"""The console in a browser: what people see is what the keeper does.

Debian's Chromium is driven by its path; where there is none, these tests are reported as skipped.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Request, Route, async_playwright

from keeper.devnet.deri_world import moved
from tests.e2e.operated import TOKEN, WORLD, Operated, operated

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]

SEEN_WITHIN_S = 2.0


@dataclass
class Seen:
    """A page, and what it complained about or asked for on the way."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme != "data":
            self.asked.add(url.netloc)

    async def status(self, title: str, seconds: float = 15.0) -> str:
        """Wait until the bar on top says so; what it says below."""
        await self.page.locator("#status-title", has_text=title).wait_for(timeout=seconds * 1000)
        return await self.page.locator("#status-text").inner_text()

    async def bars(self) -> list[str | None]:
        return [await bar.get_attribute("height") for bar in await self.page.locator("#distance .bar").all()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keeper(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operated]:
    async with operated(tmp_path_factory.mktemp("console")) as here:
        yield here


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def seen(keeper: Operated, browser: Browser) -> AsyncIterator[Seen]:
    """The console, opened. However a test ends: no error in the browser, and nothing asked for elsewhere."""
    page = await browser.new_page()
    seen = Seen(page)
    page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", seen.request)
    await page.goto(keeper.url)
    yield seen
    assert seen.complaints == []
    assert seen.asked == {urlsplit(keeper.url).netloc}
    await page.close()


async def test_it_says_plainly_when_the_keeper_is_not_eligible(keeper: Operated, seen: Seen) -> None:
    assert "never-staked" in await seen.status("not eligible to liquidate")
    await keeper.qualify()
    assert "30 accounts" in await seen.status("Alive and allowed to liquidate")


async def test_the_chart_follows_a_price_move(keeper: Operated, seen: Seen) -> None:
    await seen.status("Alive and allowed to liquidate")
    await seen.page.locator("#distance .bar").first.wait_for(state="attached")
    before, nearest = await seen.bars(), await seen.page.locator("#nearest tr").first.inner_text()
    keeper.market.oracle.move(moved(WORLD.symbols, "-0.03"))
    async with asyncio.timeout(5):
        while await seen.bars() == before:  # noqa: ASYNC110 - another process's page
            await asyncio.sleep(0.1)
    assert await seen.page.locator("#nearest tr").first.inner_text() != nearest
    label = await seen.page.locator("#distance").get_attribute("aria-label")
    assert label is not None
    assert "within 5 %" in label


async def test_a_liquidation_is_shown_within_two_seconds_of_its_receipt(keeper: Operated, seen: Seen) -> None:
    await seen.status("Alive and allowed to liquidate")
    since = len(keeper.daemon.events)
    keeper.market.oracle.move(moved(WORLD.symbols, "-0.065"))
    sent = await keeper.daemon.wait_for(lambda event: event.get("event") == "liquidation.sent", since=since)
    async with asyncio.timeout(10):
        while await keeper.node.receipt(str(sent["transaction"])) is None:  # noqa: ASYNC110 - another process's chain
            await asyncio.sleep(0.02)
    mined_at = time.monotonic()
    row = seen.page.locator("#events li.mined", has_text=f"Liquidated {sent['account']}")
    await row.first.wait_for(timeout=10_000)
    assert time.monotonic() - mined_at < SEEN_WITHIN_S
    assert "B0" in await row.first.inner_text()


async def test_paused_is_said_and_done_by_whoever_has_the_token(keeper: Operated, seen: Seen) -> None:
    page = seen.page
    await seen.status("Alive and allowed to liquidate")
    await page.get_by_role("button", name="Pause sending").click()
    await page.get_by_role("textbox", name="Token").fill(TOKEN)
    await page.get_by_role("button", name="Continue").click()
    await seen.status("Paused by the operator")
    # With those in flight: what was sent before the pause may still be mined.
    before = await keeper.node.quantity("eth_getTransactionCount", keeper.market.liquidator, "pending")
    keeper.market.oracle.move(moved(WORLD.symbols, "-0.09"))
    await page.locator("#events li.skipped").first.wait_for(timeout=10_000)
    await keeper.blocks(2)
    assert await keeper.node.quantity("eth_getTransactionCount", keeper.market.liquidator, "pending") == before
    await page.get_by_role("button", name="Resume sending").click()
    await seen.status("Alive and allowed to liquidate")
    await page.locator("#events li.mined").first.wait_for(timeout=10_000)


async def test_a_market_that_is_stopped_can_be_read_anew_there(keeper: Operated, seen: Seen) -> None:
    """The stop is made up on its way to the page: the chain does not disagree for long here."""
    page, orders = seen.page, list[str | None]()
    await seen.status("Alive and allowed to liquidate")
    button = page.get_by_role("button", name="Read lite anew")
    assert await button.count() == 0
    snapshot = json.loads(await keeper.text("/api/snapshot"))
    snapshot["markets"][0]["figures"]["mismatch"] = "the verdict on account 7 is wrong"

    async def stopped(route: Route) -> None:
        body = f"event: snapshot\ndata: {json.dumps(snapshot)}\n\n"
        await route.fulfill(content_type="text/event-stream", body=body)

    async def ordered(route: Route) -> None:
        orders.append(await route.request.header_value("authorization"))
        await route.fulfill(status=202, json={})

    await page.route("**/api/events*", stopped)
    await page.route("**/api/markets/lite/bootstrap", ordered)
    await page.reload()
    await button.click()
    await page.get_by_role("textbox", name="Token").fill(TOKEN)
    async with page.expect_response("**/api/markets/lite/bootstrap"):
        await page.get_by_role("button", name="Continue").click()
    assert orders == [f"Bearer {TOKEN}"]
    assert [await keeper.post(f"/api/markets/{name}/bootstrap", TOKEN) for name in ("lite", "nowhere")] == [409, 404]


async def test_a_stale_head_is_said(keeper: Operated, seen: Seen) -> None:
    await seen.status("Alive and allowed to liquidate")
    await keeper.node.set_interval_mining(0)
    assert "no block after" in await seen.status("head is stale")
    await keeper.node.set_interval_mining(1)
    await seen.status("Alive and allowed to liquidate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_axe_finds_no_serious_fault(seen: Seen, scheme: Literal["light", "dark"], width: int) -> None:
    page = seen.page
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.set_viewport_size({"width": width, "height": 900})
    await seen.status("Alive and allowed to liquidate")
    await page.locator("#nearest tr").first.wait_for()
    found = (await Axe().run(page)).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0


async def test_the_chart_is_read_by_keyboard(seen: Seen) -> None:
    await seen.status("Alive and allowed to liquidate")
    await seen.page.locator("#distance .bar").first.wait_for(state="attached")
    await seen.page.locator("#distance").focus()
    await seen.page.keyboard.press("ArrowRight")
    assert "A rise of 0 to 1 %" in await seen.page.locator("#distance-reading").inner_text()
    await seen.page.keyboard.press("ArrowLeft")
    assert "A fall of 0 to 1 %" in await seen.page.locator("#distance-reading").inner_text()


async def test_it_says_when_the_keeper_is_gone(keeper: Operated, seen: Seen) -> None:
    await seen.status("Alive and allowed to liquidate")
    await keeper.daemon.stop()
    assert "Is it running?" in await seen.status("No word from the keeper")
    seen.complaints.clear()  # The browser itself reports the connection that it lost.
