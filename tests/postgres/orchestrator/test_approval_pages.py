"""The approval page: opening it never decides, and a form needs cookie, token and origin."""

import re
from urllib.parse import quote

import pytest

from tests.postgres.orchestrator.acts import waiting
from tests.postgres.orchestrator.browser import ORIGIN, PASSWORD, USER, Browser
from tests.support.system import System


@pytest.mark.scenario("P8")
async def test_opening_a_link_never_decides(system: System) -> None:
    """A hundred scanners with GET and HEAD, signed in or not, leave it pending; the link still works."""
    path = await waiting(system)
    stranger, browser = Browser(system), Browser(system)
    await browser.sign_in()
    for _ in range(25):
        for method in ("GET", "HEAD"):
            away = await stranger.get(path, method)
            assert away.status_code == 303
            assert away.headers["location"] == f"/login?next={path}"
            assert (await browser.get(path, method)).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    assert (await system.decide("order-1", path=path)).status_code == 200


async def test_an_administrator_signs_in_decides_and_sees_the_outcome(system: System) -> None:
    """From the link over the sign-in to the page with two buttons, to the page that says what was decided."""
    path = await waiting(system)
    browser = Browser(system)
    to_login = (await browser.get(path)).headers["location"]
    form = await browser.get(to_login)
    assert form.status_code == 200
    assert f'value="{path}"' in form.text
    back = await browser.sign_in(then=path)
    assert (back.status_code, back.headers["location"]) == (303, path)
    cookie = back.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    page = await browser.get(path)
    for shown in ("order-1", "The book", "19.99 USD", "alice", "Approve", "Reject"):
        assert shown in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert "1 Main St" not in page.text
    done = await browser.decide(path, "reject", "too far away")
    assert done.status_code == 200
    assert f"rejected by {USER}" in done.text
    again = await browser.get(path)
    assert f"rejected by {USER}" in again.text
    assert 'name="decision"' not in again.text
    await system.settle()
    assert (await system.order("order-1"))["history"][-1]["detail"] == "too far away"
    await system.check_balance()


async def test_a_form_needs_cookie_token_and_origin(system: System) -> None:
    """Each of the three proofs alone is not enough; a Bearer token does not help a form, nor a cookie JSON."""
    path = await waiting(system)
    browser, other = Browser(system), Browser(system)
    await browser.sign_in()
    await other.sign_in()
    csrf = await browser.csrf(path)
    fields = {"csrf": csrf, "decision": "approve"}
    assert (await Browser(system).post(path, fields)).status_code == 303
    assert (await browser.post(path, {"decision": "approve"})).status_code == 403
    assert (await browser.post(path, fields | {"csrf": await other.csrf(path)})).status_code == 403
    for origin in (None, "null", "http://evil.example", f"{ORIGIN}.evil.example"):
        assert (await browser.post(path, fields, origin=origin)).status_code == 403
    with_cookie = {"cookie": browser._headers()["cookie"], "origin": ORIGIN}
    body = {"decision": "approve"}
    assert (await system.call("POST", "orchestrator", path, json=body, headers=with_cookie)).status_code == 401
    customer = system.bearer("alice", "customer admins")
    assert (await system.call("POST", "orchestrator", path, json=body, headers=customer)).status_code == 403
    text = system.admin | {"content-type": "text/plain"}
    assert (await system.call("POST", "orchestrator", path, content=b"approve", headers=text)).status_code == 415
    unreadable = {"decision": "approve", "reason": "\u202efine"}
    for wrong in ({}, {"decision": "maybe"}, {"decision": "approve", "x": 1}, {"decision": True}, unreadable):
        assert (await system.call("POST", "orchestrator", path, json=wrong, headers=system.admin)).status_code == 422
    assert (await browser.post(path, {"csrf": csrf, "decision": "perhaps"})).status_code == 422
    assert len(await system.approvals()) == 1
    assert (await browser.post(path, fields)).status_code == 200


async def test_a_reason_may_be_as_long_as_the_page_lets_one_type(system: System) -> None:
    """A line break counts once, though browsers send two characters for it; the customer reads one."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.sign_in()
    lines = ["x" * 49] * 10
    assert len("\n".join(lines)) == 499
    assert (await browser.decide(path, "reject", "\r\n".join(lines))).status_code == 200
    await system.settle()
    assert (await system.order("order-1"))["history"][-1]["detail"] == "\n".join(lines)


async def test_a_refused_form_is_a_page_that_says_what_to_do_next(system: System) -> None:
    """Same status as for programs, but in words, with the order, what was typed, and a form that works."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.sign_in()
    stale = await browser.csrf(path)
    await browser.sign_in()  # in a second tab
    typed = {"decision": "approve", "reason": "a <good> customer"}
    for fields, status, told in (
        (typed | {"csrf": stale}, 403, "signed in again"),
        (typed | {"csrf": await browser.csrf(path), "decision": "perhaps"}, 422, "one of the two buttons"),
    ):
        page = await browser.post(path, fields)
        assert page.status_code == status
        assert page.headers["content-type"].startswith("text/html")
        assert "nothing was decided" in page.text.lower()
        for shown in (told, "order-1", "a &lt;good&gt; customer", "Approve"):
            assert shown in page.text, shown
        assert "{" not in page.text.partition("</style>")[2]
    long = await browser.post(path, typed | {"csrf": await browser.csrf(path), "reason": "x" * 501})
    assert long.status_code == 422
    assert "The reason should have at most 500 characters; nothing was decided." in long.text
    assert "x" * 501 in long.text
    hidden = await browser.post(path, typed | {"csrf": await browser.csrf(path), "reason": "a good cus\u00adtomer"})
    assert hidden.status_code == 422
    assert "The reason must be text that can be read" in hidden.text
    assert "500 characters;" not in hidden.text
    foreign = await browser.post(path, typed | {"csrf": await browser.csrf(path)}, origin="http://evil.example")
    assert (foreign.status_code, foreign.headers["content-type"].partition(";")[0]) == (403, "text/html")
    assert "not sent by our page" in foreign.text
    assert f'href="{ORIGIN}{path}"' in foreign.text
    assert "customer</textarea>" not in foreign.text  # what a stranger has typed is not put into our form
    twice = await browser.post(path, typed | {"csrf": stale, "a": "\x00"})
    assert (twice.status_code, "could not be read" in twice.text) == (400, True)
    fresh = re.search(r'name="csrf" value="([^"]+)"', long.text)
    assert fresh is not None
    assert (await browser.post(path, typed | {"csrf": fresh[1]})).status_code == 200


async def test_a_stale_form_of_a_decided_order_shows_the_decision(system: System) -> None:
    """Who comes late sees what was decided, and no buttons."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.sign_in()
    stale = await browser.csrf(path)
    await browser.sign_in()
    await system.decide("order-1", path=path)
    page = await browser.post(path, {"csrf": stale, "decision": "reject"})
    assert page.status_code == 403
    assert "approved by root" in page.text
    assert 'name="decision"' not in page.text


async def test_a_program_that_sends_a_form_is_answered_by_a_problem(system: System) -> None:
    """Who asks for JSON gets problem+json, whatever it sends."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.sign_in()
    for accept in ("application/json", "application/problem+json"):
        browser.accept = accept
        for refused in (
            await browser.post(path, {"csrf": "stale", "decision": "approve"}),
            await browser.post("/login", {"username": USER, "password": PASSWORD}, origin="http://evil.example"),
            await browser.post("/logout", {}, origin="http://evil.example"),
        ):
            assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        unknown = await browser.sign_in(password="wrong")
        assert (unknown.status_code, unknown.headers["content-type"]) == (401, "application/problem+json")
        assert "WWW-Authenticate" in unknown.headers


async def test_a_sign_in_from_elsewhere_is_a_page_with_the_form(system: System) -> None:
    """The form of the page works; what the stranger has sent is not in it."""
    browser = Browser(system)
    fields = {"username": "mallory", "password": PASSWORD, "next": "/approvals/abc"}
    refused = await browser.post("/login", fields, origin="http://evil.example")
    assert (refused.status_code, refused.headers["content-type"].partition(";")[0]) == (403, "text/html")
    assert "not sent by our page" in refused.text
    assert f'href="{ORIGIN}/login"' in refused.text
    assert "mallory" not in refused.text


async def test_an_administrator_signs_out(system: System) -> None:
    """Every page of somebody who has signed in has the form; afterwards the link asks for a sign-in again."""
    path = await waiting(system)
    browser = Browser(system)
    assert 'action="/logout"' not in (await browser.get("/login")).text
    assert (await browser.post("/logout", {})).headers["location"] == "/login"  # nothing to do
    await browser.sign_in()
    browser.accept = "text/html"
    for page in ("/approvals", path, f"{path}x"):
        shown = (await browser.get(page)).text
        assert f"Signed in as {USER}" in shown
        assert 'action="/logout"' in shown
    assert (await browser.get("/logout")).status_code == 405
    foreign = await browser.post("/logout", {}, origin="http://evil.example")
    assert (foreign.status_code, "still signed in" in foreign.text) == (403, True)
    assert (await browser.get(path)).status_code == 200
    out = await browser.post("/logout", {})
    assert (out.status_code, out.headers["location"], out.headers["cache-control"]) == (303, "/login", "no-store")
    for part in ("order_saga_admin=", "max-age=0", "path=/", "httponly", "samesite=lax"):
        assert part in out.headers["set-cookie"].lower()
    assert (await browser.get(path)).status_code == 303


async def test_the_list_says_how_many_wait_beyond_its_page(system: System) -> None:
    """The count is of all, the page tells which of them it shows, and its links lead to the next ones and back."""
    for number in range(3):
        await waiting(system, f"order-{number}")
        system.clock.advance(60)
    browser = Browser(system)
    await browser.sign_in()
    browser.accept = "text/html"
    whole = await browser.get("/approvals")
    assert "3 orders wait for approval" in whole.text
    assert "shown here" not in whole.text
    first = await browser.get("/approvals?limit=2")
    for shown in ("3 orders wait for approval", "The oldest 2 of 3 are shown here", "order-0", "order-1"):
        assert shown in first.text
    assert "order-2" not in first.text
    found = re.search(r'href="(/approvals\?[^"]+)"', first.text)
    assert found is not None
    second = await browser.get(found[1].replace("&amp;", "&"))
    for shown in ("3 orders wait for approval", "The next 1 of 3 is shown here", "order-2", 'href="/approvals"'):
        assert shown in second.text
    assert "order-1" not in second.text
    assert "/approvals?" not in second.text
    lost = await browser.get("/approvals?cursor=x")
    assert (lost.status_code, lost.headers["content-type"].partition(";")[0]) == (422, "text/html")
    assert 'href="/approvals"' in lost.text
    for number in range(3):
        await system.decide(f"order-{number}")
    assert "Nothing waits for approval" in (await browser.get(found[1].replace("&amp;", "&"))).text


async def test_sign_in_fails_closed(system: System) -> None:
    """Wrong passwords, foreign origins and other bodies sign nobody in; a target elsewhere is forgotten."""
    browser = Browser(system)
    for user, password in ((USER, "wrong"), ("nobody", PASSWORD), ("", ""), (USER, "x" * 500)):
        refused = await browser.sign_in(user=user, password=password)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
    for origin in (None, "null", "http://evil.example", "http://["):
        fields = {"username": USER, "password": PASSWORD}
        assert (await browser.post("/login", fields, origin=origin)).status_code == 403
    json_body = await system.call("POST", "orchestrator", "/login", json={"username": USER, "password": PASSWORD})
    assert json_body.status_code == 415
    assert browser.cookies == {}
    strange = ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "//[evil]")
    for elsewhere in (*strange, "/logout", "/sagas", "/approvalsx"):
        assert (await browser.sign_in(then=elsewhere)).headers["location"] == "/approvals"
        form = await Browser(system).get(f"/login?next={quote(elsewhere, safe='')}")
        assert elsewhere not in form.text


async def test_a_sign_in_ends_after_eight_hours(system: System) -> None:
    """An old cookie leads back to the form."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.sign_in()
    assert (await browser.get(path)).status_code == 200
    system.clock.advance(8 * 3600)
    assert (await browser.get(path)).status_code == 303


async def test_the_link_is_in_no_log(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the logs knows that an order waits, not how to open it."""
    path = await waiting(system)
    browser = Browser(system)
    await browser.get(path)
    await browser.sign_in(then=path)
    await browser.decide(path, "approve")
    await system.settle()
    logged = capsys.readouterr().out
    assert "approval.waiting" in logged
    assert "approval.decided" in logged
    assert path.removeprefix("/approvals/") not in logged
    assert browser.cookies["order_saga_admin"] not in logged
