"""What an administrator typed before the sign-in ended is there after the next one."""

import html
import re

import httpx

from tests.postgres.orchestrator.acts import waiting
from tests.postgres.orchestrator.browser import ORIGIN, Browser
from tests.support.system import System


async def test_a_reason_outlives_the_sign_in_that_it_was_typed_under(system: System) -> None:
    """It is in the form again after the next sign-in, once; a stranger's form leaves none, nor does a huge one."""
    path = await waiting(system)
    browser = Browser(system)
    browser.accept = "text/html"
    reason = "ein <guter> Kunde\n\U0001f600" + "é" * 480
    for typed, origin, kept in (
        (reason, ORIGIN, reason),
        ("a stranger's", "http://evil.example", ""),
        ("x" * 501, ORIGIN, ""),
        ("", ORIGIN, ""),
    ):
        browser.cookies.clear()
        fields = {"csrf": "of an old sign-in", "decision": "reject", "reason": typed}
        asked = await browser.post(path, fields, origin=origin)
        assert (asked.status_code, asked.headers["location"]) == (303, f"/login?next={path}&undecided=1")
        cookie = asked.headers.get("set-cookie", "")
        assert len(cookie) < 4_096
        assert ("HttpOnly" in cookie, f"Path={path};" in cookie) == (bool(kept), bool(kept))
        await browser.sign_in(then=path)
        assert _reason_in(await browser.get(path)) == kept
        browser.cookies["order_saga_reason"] = "gA=="
        assert _reason_in(await browser.get(path)) == ""
    assert (await system.order("order-1"))["status"] == "awaiting_approval"


def _reason_in(page: httpx.Response) -> str:
    assert page.status_code == 200
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])
