"""The approval page in a real browser, on a phone: open the link, sign in, read the order, decide, see the outcome.

Needs a Chromium (on Debian, `apt-get install chromium`); skipped where there is none. SCREENSHOTS names a folder that
keeps what was seen.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from services.orchestrator.settings import DEVELOPMENT_ADMIN
from tests.support.browsers import chromium, served, shot
from tests.support.figures import figure, trials
from tests.support.system import System
from tests.system.steps import ended, paid

USER, PASSWORD = DEVELOPMENT_ADMIN
PHONE = {"width": 390, "height": 844}
OPENINGS = trials(10, 100)


@asynccontextmanager
async def phone(*, dark: bool = False) -> AsyncIterator[BrowserContext]:
    path = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield await browser.new_context(
            viewport={"width": PHONE["width"], "height": PHONE["height"]},
            device_scale_factor=2,
            is_mobile=True,
            has_touch=True,
            color_scheme="dark" if dark else "light",
        )
        await browser.close()


async def watched(context: BrowserContext) -> tuple[Page, list[str], list[str]]:
    """A page, what it complains about, and the Referer of each of its requests."""
    page = await context.new_page()
    complaints: list[str] = []
    referrers: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: referrers.append(request.headers.get("referer", "")))
    return page, complaints, referrers


async def fits(page: Page) -> bool:
    """Whether nothing is wider than the phone, and every button is large enough for a thumb."""
    wide = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    small = await page.evaluate("[...document.querySelectorAll('button')].some(b => b.offsetHeight < 44)")
    return not wide and not small


async def sign_in(page: Page) -> None:
    await page.get_by_label("User").fill(USER)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


@pytest.mark.scenario("P8")
async def test_an_order_is_approved_on_a_phone(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    """Link, sign-in, order, decision, outcome; no complaint of the browser, no token in a log, metric or referrer."""
    await paid(system, "order-1", quantity=2)
    link = await system.approval_path("order-1")
    token = link.rpartition("/")[2]
    async with served(system.apps["orchestrator"]) as url, phone() as context:
        page, complaints, referrers = await watched(context)
        await page.goto(url + link)
        await shot(page, "1-sign-in")
        assert await fits(page)
        await page.get_by_label("User").fill(USER)
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        assert await page.get_by_role("alert").inner_text() == "User or password is not right."
        await shot(page, "2-wrong-password")
        complaints.clear()  # the browser mentions the 401
        await sign_in(page)
        assert page.url == url + link
        await shot(page, "3-order")
        assert await fits(page)
        text = await page.inner_text("main")
        for shown in ("order-1", "39.98 USD", "The book", "alice", "London"):
            assert shown in text
        assert "1 Main St" not in text
        await page.get_by_label("Reason").fill("A good customer")
        await page.get_by_role("button", name="Approve").click()
        assert "approved by admin" in await page.get_by_role("status").inner_text()
        await shot(page, "4-approved")
        await page.goto(url + link)
        assert "approved by admin" in await page.get_by_role("status").inner_text()
        assert await page.get_by_role("button", name="Approve").count() == 0
        assert complaints == []
        cookies = await context.cookies()
        assert {cookie["name"] for cookie in cookies} == {"order_saga_admin", "order_saga_browser"}
        assert {(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies} == {(True, "Lax")}
    assert await ended(system, "order-1") == "completed"
    assert not [referrer for referrer in referrers if token in referrer]
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    assert token not in capsys.readouterr().out + metrics


async def test_the_list_leads_to_every_order_that_waits(system: System) -> None:
    """Who is reminded of /approvals signs in there, sees what waits, and rejects one of two."""
    await paid(system, "order-1")
    await paid(system, "order-2", quantity=3)
    async with served(system.apps["orchestrator"]) as url, phone(dark=True) as context:
        page, complaints, _ = await watched(context)
        await page.goto(f"{url}/approvals")
        await sign_in(page)
        assert page.url == f"{url}/approvals"
        await shot(page, "5-list")
        assert await fits(page)
        assert "2 orders wait" in await page.inner_text("h1")
        await page.goto(f"{url}/approvals?limit=1")
        assert "The oldest 1 of 2 is shown" in await page.inner_text("main")
        await shot(page, "10-first-page")
        await page.get_by_role("link", name="The next ones").click()
        await shot(page, "11-last-page")
        assert "The next 1 of 2 is shown" in await page.inner_text("main")
        await page.goto(f"{url}/approvals?cursor=x")
        await shot(page, "12-no-such-page")
        await page.get_by_role("link", name="What waits").click()
        complaints.clear()  # the browser mentions the 422
        await page.get_by_role("link", name="order-2").click()
        await shot(page, "6-order-dark")
        await page.get_by_label("Reason").fill("Too many")
        await page.get_by_role("button", name="Reject").click()
        assert "rejected by admin" in await page.get_by_role("status").inner_text()
        await shot(page, "7-rejected")
        await page.get_by_role("link", name="What else waits").click()
        assert "1 order waits" in await page.inner_text("h1")
        await page.get_by_role("link", name="order-1").click()
        await system.decide("order-1", "approve")
        await page.get_by_role("button", name="Reject").click()
        assert "approved by root" in await page.inner_text("main")
        await shot(page, "8-too-late")
        assert [text for text in complaints if "409" not in text] == []
    assert await ended(system, "order-2") == "rejected"
    assert await ended(system, "order-1") == "completed"


async def test_a_refused_form_keeps_what_was_typed_and_a_sign_out_ends_it(system: System) -> None:
    """Signed in again in a second tab, the first one's form is refused in words; the same reason then counts."""
    await paid(system, "order-1")
    link = await system.approval_path("order-1")
    async with served(system.apps["orchestrator"]) as url, phone() as context:
        page, complaints, _ = await watched(context)
        await page.goto(url + link)
        await sign_in(page)
        await page.get_by_label("Reason").fill("\n".join(["x" * 49] * 10))
        await context.clear_cookies()
        second, _, _ = await watched(context)
        await second.goto(url + link)
        await sign_in(second)
        await page.get_by_role("button", name="Reject").click()
        assert "signed in again" in await page.get_by_role("alert").inner_text()
        await shot(page, "9-refused")
        assert await fits(page)
        assert (await page.get_by_label("Reason").input_value()).splitlines() == ["x" * 49] * 10
        await second.get_by_role("button", name="Sign out").click()
        assert second.url == f"{url}/login"
        await page.get_by_role("button", name="Reject").click()
        assert "nothing was decided" in await page.get_by_role("alert").inner_text()
        await shot(page, "16-sign-in-ended")
        await sign_in(page)
        assert (await page.get_by_label("Reason").input_value()).splitlines() == ["x" * 49] * 10
        assert {cookie["name"] for cookie in await context.cookies()} == {"order_saga_admin", "order_saga_browser"}
        await page.get_by_role("button", name="Reject").click()
        assert "rejected by admin" in await page.get_by_role("status").inner_text()
        assert [text for text in complaints if "403" not in text] == []
    assert await ended(system, "order-1") == "rejected"


async def test_long_names_and_huge_amounts_fit_the_smallest_phone(system: System) -> None:
    """Nothing is wider than 320 pixels, words stay whole, and one tabs through the buttons as they are seen."""
    user, order_id = "u" * 64, "o" * 64
    await system.shelve("p" * 64, 999, price={"amount_minor": 10**9, "currency": "EUR"})
    await system.place(order_id, user=user, sku="p" * 64, quantity=999)
    await system.settle()
    link = await system.approval_path(order_id)
    async with served(system.apps["orchestrator"]) as url, phone() as context:
        page, complaints, _ = await watched(context)
        await page.set_viewport_size({"width": 320, "height": 640})
        await page.goto(f"{url}/approvals")
        await sign_in(page)
        await shot(page, "13-list-long")
        assert await fits(page)
        await page.goto(url + link)
        await shot(page, "14-order-long")
        assert await fits(page)
        assert "9,990,000,000.00 EUR" in await page.inner_text("main")
        broken = "document.querySelector('td.number:last-child').getClientRects()[0].width < 80"
        assert not await page.evaluate(broken)
        lines = "[...document.querySelectorAll('th')].map(head => head.getClientRects()[0].height)"
        assert len(set(await page.evaluate(lines))) == 1
        tops = await page.evaluate("[...document.querySelectorAll('.decide button')].map(b => b.offsetTop)")
        assert tops == sorted(tops)
        await page.emulate_media(media="print")
        assert not await page.get_by_role("button").first.is_visible()
        await page.emulate_media(media="screen")
        await page.get_by_role("button", name="Reject").click()
        await page.get_by_role("status").wait_for()
        assert complaints == []


async def test_one_goes_back_and_loads_anew_without_sending_a_form_again(system: System) -> None:
    """After a decision its page is one like others; a wrong address or a stale one is a page that leads on."""
    await paid(system, "order-1")
    link = await system.approval_path("order-1")
    async with served(system.apps["orchestrator"]) as url, phone() as context:
        page, complaints, _ = await watched(context)
        posted: list[str] = []
        page.on("request", lambda request: posted.append(request.url) if request.method == "POST" else None)
        await page.goto(url + link)
        await sign_in(page)
        await page.get_by_role("button", name="Approve").dblclick()
        await page.get_by_role("status").wait_for()
        sent = len(posted)
        await page.reload()
        await page.get_by_role("link", name="What else waits").click()
        await page.go_back()
        assert "approved by admin" in await page.get_by_role("status").inner_text()
        assert len(posted) == sent
        assert complaints == []
        for path in ("/logout", "/nowhere", "/approvals?page=2", "/login/"):
            await page.goto(url + path)
            await shot(page, f"15-{path.strip('/?=2')}")
            await page.get_by_role("link", name="What waits").click()
            assert page.url == f"{url}/approvals"
    assert await ended(system, "order-1") == "completed"


@pytest.mark.scenario("P8", "G22")
@pytest.mark.timeout(120 + 10 * OPENINGS)
async def test_bots_that_run_scripts_decide_nothing(system: System) -> None:
    """A browser that opens the link again and again, signed in, and loads everything it names, decides nothing."""
    await paid(system, "order-1")
    link = await system.approval_path("order-1")
    async with served(system.apps["orchestrator"]) as url, phone() as context:
        page, _, _ = await watched(context)
        await page.goto(url + link)
        await sign_in(page)
        for _ in range(OPENINGS):
            await page.goto(url + link, wait_until="networkidle")
            await page.evaluate("Promise.all([...document.links].map(link => fetch(link.href).catch(() => 0)))")
            await page.evaluate("for (const form of document.forms) fetch(form.action).catch(() => 0)")
    await system.settle()
    decided = await system.status("order-1") != "awaiting_approval"
    what = "openings of an approval link in Chromium, signed in, with every link and form of the page fetched"
    figure("G22", trials=OPENINGS, violations=int(decided), what=what)
    assert not decided
    assert (await system.decide("order-1")).status_code == 200
