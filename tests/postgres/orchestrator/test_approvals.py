"""Approvals over HTTP: links that never decide by being opened, one decision, and the form's three proofs."""

import asyncio
import re
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from services.orchestrator.settings import DEVELOPMENT_ADMIN
from tests.support.system import URLS, System

ORIGIN = URLS["orchestrator"]
USER, PASSWORD = DEVELOPMENT_ADMIN


async def waiting(system: System, order_id: str = "order-1") -> str:
    """An order that waits for its approval; returns the path of its link."""
    await system.place(order_id)
    await system.settle()
    return await system.approval_path(order_id)


class Browser:
    """An administrator's browser: keeps cookies, sends Origin with forms, follows nothing by itself."""

    def __init__(self, system: System, *, origin: str = ORIGIN) -> None:
        self.system = system
        self.origin = origin
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        return await self.system.call(method, "orchestrator", path, headers=self._headers())

    async def post(self, path: str, fields: dict[str, str], *, origin: str | None = "") -> httpx.Response:
        headers = self._headers()
        sent_from = self.origin if origin == "" else origin
        if sent_from is not None:
            headers["origin"] = sent_from
        answer = await self.system.call("POST", "orchestrator", path, data=fields, headers=headers)
        cookie = answer.headers.get("set-cookie", "")
        if cookie:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        self.system.http.cookies.clear()
        return answer

    async def sign_in(self, *, user: str = USER, password: str = PASSWORD, then: str = "") -> httpx.Response:
        return await self.post("/login", {"username": user, "password": password, "next": then})

    async def csrf(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', (await self.get(path)).text)
        assert found is not None
        return found[1]

    async def decide(self, path: str, decision: str, reason: str = "") -> httpx.Response:
        csrf = await self.csrf(path)
        return await self.post(path, {"csrf": csrf, "decision": decision, "reason": reason})

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}


async def audited(system: System, action: str) -> int:
    answer = await system.call("GET", "orchestrator", "/audit", headers=system.admin)
    return sum(entry["action"] == action for entry in answer.json()["items"])


@pytest.mark.scenario("P1", "P5")
async def test_an_approval_counts_once_and_its_repeat_gives_the_first_one(system: System) -> None:
    """Approving again, also after the end and by somebody else, is 200 with who decided first; one audit row."""
    path = await waiting(system)
    first = await system.decide("order-1", path=path)
    assert first.status_code == 200
    assert first.json() == {
        "order_id": "order-1",
        "decision": "approve",
        "decided_by": "root",
        "decided_at": "2026-11-24T10:00:00Z",
    }
    system.clock.advance(60)
    body = {"decision": "approve", "reason": "me too"}
    other = await system.call("POST", "orchestrator", path, json=body, headers=system.bearer("ann", "admin"))
    assert (other.status_code, other.json()) == (200, first.json())
    await system.settle()
    await system.pass_time(5)
    assert await system.status("order-1") == "completed"
    assert (await system.decide("order-1", path=path)).json() == first.json()
    assert await audited(system, "promise.resolved") == 1


@pytest.mark.scenario("P4")
async def test_of_approve_and_reject_at_once_one_wins(system: System) -> None:
    """The loser is told 409 and what stands; the order goes the winner's way."""
    for number in range(4):
        order_id = f"order-{number}"
        path = await waiting(system, order_id)
        answers = await asyncio.gather(
            *(system.decide(order_id, decision, path=path) for decision in ("approve", "reject") * 2)
        )
        won = [answer.json()["decision"] for answer in answers if answer.status_code == 200]
        lost = [answer for answer in answers if answer.status_code != 200]
        assert len(won) == 2
        assert len(set(won)) == 1
        assert [answer.status_code for answer in lost] == [409, 409]
        word = "approved" if won[0] == "approve" else "rejected"
        assert all(word in answer.json()["detail"] for answer in lost)
        await system.settle()
        assert await system.status(order_id) == ("shipped" if won[0] == "approve" else "rejected")
    await system.pass_time(5)
    await system.check_balance()


@pytest.mark.scenario("P6")
async def test_an_expired_approval_is_410(system: System) -> None:
    """Three days later neither page nor POST decides anything; both say that it has expired."""
    path = await waiting(system)
    browser = Browser(system)
    await system.pass_time(timedelta(days=3))
    assert (await system.decide("order-1", path=path)).status_code == 410
    assert (await system.decide("order-1", "reject", path=path)).status_code == 410
    await browser.sign_in()
    page = await browser.get(path)
    assert page.status_code == 410
    assert "expired" in page.text
    assert await system.status("order-1") == "approval_expired"
    await system.check_balance()


@pytest.mark.scenario("P10")
async def test_a_cancelled_order_cannot_be_approved(system: System) -> None:
    """The POST is 409, also while the undoing is under way, and nothing happens."""
    path = await waiting(system)
    await system.cancel("order-1")
    await system.apps["session"].state.relay.run_until_idle()
    assert (await system.decide("order-1", path=path)).status_code == 409
    await system.settle()
    answer = await system.decide("order-1", path=path)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval-closed")
    assert await system.status("order-1") == "cancelled"
    assert await system.fleet() == []
    await system.check_balance()


@pytest.mark.scenario("P7")
async def test_links_of_nothing_are_404(system: System) -> None:
    """Tampered tokens, and tokens of other sagas, promises and rounds, are unknown to JSON and page alike."""
    from services.orchestrator.api.links import ApprovalLink

    path = await waiting(system)
    token = path.removeprefix("/approvals/")
    saga_id = (await system.saga("order-1"))["saga_id"]
    desk = system.apps["orchestrator"].state.desk
    refund = {"workflow": "refund-payment", "key": "pay_1", "input": {"payment_id": "pay_1"}}
    started = await system.call("POST", "orchestrator", "/sagas", json=refund, headers=system.admin)
    forged = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        "x" * 40,
        desk.links.token(ApprovalLink(saga_id, "other")),
        desk.links.token(ApprovalLink(saga_id, "admin_approval", 2)),
        desk.links.token(ApprovalLink("00000000-0000-0000-0000-000000000000", "admin_approval")),
        desk.links.token(ApprovalLink(started.json()["saga_id"], "admin_approval")),
    ]
    browser = Browser(system)
    await browser.sign_in()
    for strange in forged:
        assert (await system.decide("order-1", path=f"/approvals/{strange}")).status_code == 404
        assert (await browser.get(f"/approvals/{strange}")).status_code == 404
    assert len(await system.approvals()) == 1


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


@pytest.mark.scenario("P11", "P12")
async def test_a_promise_may_be_resolved_early_and_only_in_its_shape(system: System) -> None:
    """A wrong shape is 422 and leaves it open; a value that comes before the wait is kept."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    saga_id = (await system.saga("order-1"))["saga_id"]
    path = f"/sagas/{saga_id}/promises/admin_approval/resolve"
    for wrong in (None, True, {}, {"approved": "perhaps"}, {"approved": True, "by": "eve"}, [1]):
        answer = await system.call("POST", "orchestrator", path, json={"value": wrong}, headers=system.admin)
        assert answer.status_code == 422, wrong
    value = {"approved": True, "reason": None}
    for _ in range(2):
        answer = await system.call("POST", "orchestrator", path, json={"value": value}, headers=system.admin)
        assert (answer.status_code, answer.json()["value"]) == (200, value)
    other = {"approved": False, "reason": None}
    answer = await system.call("POST", "orchestrator", path, json={"value": other}, headers=system.admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "signal-conflict")
    assert answer.json()["stands"]["value"] == value
    undeclared = f"/sagas/{saga_id}/promises/other/resolve"
    answer = await system.call("POST", "orchestrator", undeclared, json={"value": 1}, headers=system.admin)
    assert answer.status_code == 404
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    assert await system.status("order-1") == "shipped"


async def test_a_rejected_promise_rejects_the_order(system: System) -> None:
    """Rejecting the promise itself is a rejection of the order, with its message as the reason."""
    await waiting(system)
    saga_id = (await system.saga("order-1"))["saga_id"]
    path = f"/sagas/{saga_id}/promises/admin_approval/reject"
    body = {"code": "no", "message": "not to this customer"}
    answer = await system.call("POST", "orchestrator", path, json=body, headers=system.service())
    assert (answer.status_code, answer.json()["status"]) == (200, "rejected")
    await system.settle()
    order = await system.order("order-1")
    assert (order["status"], order["history"][-1]["detail"]) == ("rejected", "not to this customer")


async def test_the_list_shows_what_is_needed_to_decide(system: System) -> None:
    """Oldest first, with total, items, since and until when, and the link; empty once decided."""
    await waiting(system, "order-1")
    system.clock.advance(60)
    await waiting(system, "order-2")
    first, second = await system.approvals()
    assert (first["order_id"], second["order_id"]) == ("order-1", "order-2")
    assert first["total"] == {"amount_minor": 1999, "currency": "USD"}
    assert first["items"][0]["sku"] == "book"
    assert first["requested_at"].startswith("2026-11-24T10:00:00")
    assert first["expires_at"].startswith("2026-11-27T10:00:00")
    assert first["link"].startswith(f"{ORIGIN}/approvals/")
    await system.decide("order-1")
    await system.decide("order-2", "reject")
    assert await system.approvals() == []


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
    for wrong in ({}, {"decision": "maybe"}, {"decision": "approve", "x": 1}, {"decision": True}):
        assert (await system.call("POST", "orchestrator", path, json=wrong, headers=system.admin)).status_code == 422
    assert (await browser.post(path, {"csrf": csrf, "decision": "perhaps"})).status_code == 422
    assert len(await system.approvals()) == 1
    assert (await browser.post(path, fields)).status_code == 200


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
        assert (await browser.sign_in(then=elsewhere)).headers["location"] == "/login"
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
