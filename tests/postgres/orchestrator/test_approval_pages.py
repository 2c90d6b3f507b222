"""The approval page: opening it never decides, and a form needs cookie, token and origin."""

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
    assert "<form" not in again.text
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


async def test_sign_in_fails_closed(system: System) -> None:
    """Wrong passwords, foreign origins and other bodies sign nobody in; a target elsewhere is forgotten."""
    browser = Browser(system)
    for user, password in ((USER, "wrong"), ("nobody", PASSWORD), ("", ""), (USER, "x" * 500)):
        refused = await browser.sign_in(user=user, password=password)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
    for origin in (None, "null", "http://evil.example"):
        fields = {"username": USER, "password": PASSWORD}
        assert (await browser.post("/login", fields, origin=origin)).status_code == 403
    json_body = await system.call("POST", "orchestrator", "/login", json={"username": USER, "password": PASSWORD})
    assert json_body.status_code == 415
    assert browser.cookies == {}
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
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
