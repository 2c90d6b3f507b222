"""The pages of the API in a real browser: a whole order by "Try it out", with nothing fetched from elsewhere.

Needs a Chromium, as tests/system/test_browser.py. SCREENSHOTS names a folder that keeps what was seen.
"""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from playwright.async_api import BrowserContext, Page, async_playwright

from tests.support.browsers import chromium, served, shot
from tests.support.system import ADDRESS, System, signed, succeeded

ALICE: dict[str, str] = {"user_id": "alice"}
EMPTY: dict[str, str] = {}


class ApiPage:
    """One service's /docs, as a person uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def sign_in(self, token: str) -> None:
        """Press *Authorize* and give a token."""
        await self.page.locator(".auth-wrapper .btn.authorize").first.click()
        dialog = self.page.locator(".modal-ux")
        await dialog.locator("input").fill(token)
        await dialog.get_by_role("button", name="Apply credentials").click()
        await dialog.get_by_role("button", name="Close").first.click()

    async def try_out(self, call: str, given: Mapping[str, str] = EMPTY, body: Any = None) -> tuple[int, str]:
        """Open a call, fill in what it asks for, execute it; the status and the text of what came."""
        method, _, path = call.partition(" ")
        box = self.page.locator(f".opblock-{method.lower()}").filter(has=self.page.locator(f'[data-path="{path}"]'))
        await box.locator(".opblock-summary-control").click()
        for name, value in given.items():
            await box.locator(f'tr[data-param-name="{name}"] input').fill(value)
        if body is not None:
            await box.locator("textarea.body-param__text").fill(body if isinstance(body, str) else json.dumps(body))
        await box.get_by_role("button", name="Execute").click()
        row = box.locator(".live-responses-table .response")
        status = await row.locator(".response-col_status").inner_text()
        block = row.locator(".highlight-code .microlight")
        text = await block.first.inner_text() if await block.count() else ""
        await shot(self.page, "try-" + re.sub(r"\W+", "-", call.lower()).strip("-"), whole=False)
        await box.locator(".opblock-summary-control").click()
        return int(status.split()[0]), text


@asynccontextmanager
async def desktop(asked: list[str], complaints: list[str]) -> AsyncIterator[BrowserContext]:
    """A browser whose requests and complaints are noted."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = await browser.new_context(viewport={"width": 1280, "height": 900})
        context.on("request", lambda request: asked.append(request.url))
        context.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        yield context
        await browser.close()


async def test_a_whole_order_by_try_it_out(product: System) -> None:
    """From the catalogue to the delivery: every call is made on the pages, which need nothing but our services."""
    asked: list[str] = []
    complaints: list[str] = []
    async with AsyncExitStack() as stack:
        urls = {
            name: await stack.enter_async_context(served(product.apps[name])) for name in ("session", "orchestrator")
        }
        context = await stack.enter_async_context(desktop(asked, complaints))
        pages = {}
        for name, url in urls.items():
            page = await context.new_page()
            await page.goto(f"{url}/docs")
            await page.locator(".opblock").first.wait_for()
            await shot(page, f"try-{name}")
            pages[name] = ApiPage(page)
        shop, desk = pages["session"], pages["orchestrator"]

        await shop.sign_in(product.bearer("alice")["Authorization"].removeprefix("Bearer "))
        await desk.sign_in(product.admin["Authorization"].removeprefix("Bearer "))
        status, _ = await shop.try_out("GET /catalog")
        assert status == 200
        line = {"sku": "book", "quantity": 2}
        status, text = await shop.try_out("POST /users/{user_id}/cart/items", ALICE, line)
        assert (status, json.loads(text)["total"]["amount_minor"]) == (200, 3998)
        wanted = {"shipping_address": ADDRESS, "order_id": "order-1", "payment_token": "tok_manual"}
        status, text = await shop.try_out(
            "POST /users/{user_id}/checkout", ALICE | {"idempotency-key": "first"}, wanted
        )
        assert (status, json.loads(text)["status"]) == (202, "pending_payment")
        await product.settle()

        (payment,) = await product.payments("order-1")
        raw = json.dumps(succeeded(payment))
        headers = signed(raw.encode(), event_id="evt_1", at=product.clock.now())
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        status, _ = await desk.try_out("POST /webhooks/payments", {name: str(headers[name]) for name in names}, raw)
        assert status == 200
        await product.settle()

        status, text = await desk.try_out("GET /approvals")
        (waiting,) = json.loads(text)
        assert (status, waiting["order_id"]) == (200, "order-1")
        token = waiting["link"].rpartition("/")[2]
        status, text = await desk.try_out("POST /approvals/{token}", {"token": token}, {"decision": "approve"})
        assert (status, json.loads(text)["decided_by"]) == (200, "root")
        await product.settle()
        await product.pass_time(10)
        status, text = await shop.try_out("GET /users/{user_id}/orders/{order_id}", ALICE | {"order_id": "order-1"})
        assert (status, json.loads(text)["status"]) == (200, "completed")
    (parcel,) = await product.fleet()
    assert parcel["reference"] == "order-1"
    assert complaints == []
    ours = (*urls.values(), "data:", "blob:")
    assert [url for url in asked if not url.startswith(ours)] == []
