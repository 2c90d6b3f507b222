"""Approvals over HTTP: one decision, the same for everybody who asks."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.messaging import inbox
from services.chassis.postgres.sql import Statement
from services.orchestrator.api.approval_links import ApprovalLink
from tests.postgres.orchestrator.acts import (
    audited,
    waiting,
)
from tests.postgres.orchestrator.browser import ORIGIN, Browser
from tests.support.system import System


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
    assert await audited(system, "promise.") == ["promise.resolved"]


async def decisions(system: System) -> list[tuple[str, str | None, Any]]:
    """Who decided, why and what, as the audit log has it, oldest first."""
    entries = (await system.call("GET", "orchestrator", "/audit", headers=system.admin)).json()["items"]
    return [
        (entry["actor"], entry["reason"], entry["details"])
        for entry in reversed(entries)
        if entry["action"] == "approval.decided"
    ]


async def test_the_audit_log_says_what_was_decided_by_whom_and_why(system: System) -> None:
    """An approval and a rejection can be told apart, each with its order and reason, under the order's saga."""
    for order_id, decision, reason in (("order-1", "approve", "fine"), ("order-2", "reject", "no thanks")):
        path = await waiting(system, order_id)
        body = {"decision": decision, "reason": reason}
        await system.call("POST", "orchestrator", path, json=body, headers=system.admin)
    assert await decisions(system) == [
        ("root", "fine", {"order_id": "order-1", "attempt": 1, "decision": "approve"}),
        ("root", "no thanks", {"order_id": "order-2", "attempt": 1, "decision": "reject"}),
    ]
    saga_id = (await system.saga("order-1"))["saga_id"]
    of_saga = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    assert "approval.decided" in {entry["action"] for entry in of_saga.json()["items"]}


@pytest.mark.scenario("P5")
async def test_a_decision_is_audited_once_also_after_a_crash(system: System) -> None:
    """What was decided when the process died is written by the repeat, in the first one's name, and never again."""
    path = await waiting(system)
    resources = system.apps["orchestrator"].state.resources
    saga_id = (await system.saga("order-1"))["saga_id"]
    value = {"approved": True, "reason": "fine"}
    await resources.operations.resolve_promise(saga_id, "admin_approval", value, by="ann")
    assert await decisions(system) == []
    for decision, seconds in (("reject", 0), ("approve", 0), ("approve", 8 * 86_400), ("reject", 0)):
        system.clock.advance(seconds)
        async with resources.database.autocommit() as conn:
            await inbox.purge(conn, now=resources.clock.sql_now())
        await system.decide("order-1", decision, path=path)
        assert await decisions(system) == [
            ("ann", "fine", {"order_id": "order-1", "attempt": 1, "decision": "approve"})
        ]


async def test_a_decision_under_a_key_is_answered_again_word_for_word(system: System) -> None:
    """The key that was lost with its answer gives that answer; with another decision it is refused as reused."""
    path = await waiting(system)
    keyed = system.admin | {"Idempotency-Key": "k-1"}
    answers = [
        await system.call("POST", "orchestrator", path, json={"decision": decision}, headers=keyed)
        for decision in ("approve", "approve", "reject")
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422]
    assert answers[1].text == answers[0].text
    assert answers[1].headers["idempotent-replayed"] == "true"


@pytest.mark.scenario("V8", "G18")
async def test_an_approval_needs_no_replica_with_the_version(system: System) -> None:
    """While a newer version is rolled back its orders are shown and decided, and go on when it comes back."""
    path = await waiting(system)
    await _give_version(system, 2)
    browser = Browser(system)
    await browser.sign_in()
    assert (await browser.get(path)).status_code == 200
    for _ in range(2):
        assert (await system.decide("order-1", path=path)).status_code == 200
    await _give_version(system, 1)
    await system.settle()
    assert await system.status("order-1") == "shipped"


async def _give_version(system: System, version: int) -> None:
    database = system.apps["orchestrator"].state.database
    async with database.begin() as conn:
        assert await conn.affect(Statement.of("update sagas set version = :version"), {"version": version}) == 1


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
async def test_a_link_may_carry_what_mail_programs_add(system: System) -> None:
    """Whoever follows such a link comes to the page, and is led to sign in first as ever."""
    path = await waiting(system)
    opened = await system.call("GET", "orchestrator", f"{path}?utm_source=mail&fbclid=x")
    assert opened.status_code == 303
    shown = await system.call("GET", "orchestrator", f"{opened.headers['location']}&utm_source=mail")
    assert (shown.status_code, "Sign in" in shown.text) == (200, True)


async def test_links_of_nothing_are_404(system: System) -> None:
    """Tampered tokens, and tokens of other sagas, promises and rounds, are unknown to JSON and page alike."""
    path = await waiting(system)
    token = path.removeprefix("/approvals/")
    saga_id = (await system.saga("order-1"))["saga_id"]
    resources = system.apps["orchestrator"].state.resources
    refund = {"workflow": "refund-payment", "key": "pay_1", "input": {"payment_id": "pay_1"}}
    started = await system.call("POST", "orchestrator", "/sagas", json=refund, headers=system.admin)
    forged = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        "x" * 40,
        resources.links.token(ApprovalLink(saga_id, "other")),
        resources.links.token(ApprovalLink(saga_id, "admin_approval", 2)),
        resources.links.token(ApprovalLink("00000000-0000-0000-0000-000000000000", "admin_approval")),
        resources.links.token(ApprovalLink(started.json()["saga_id"], "admin_approval")),
    ]
    browser = Browser(system)
    await browser.sign_in()
    for strange in forged:
        assert (await system.decide("order-1", path=f"/approvals/{strange}")).status_code == 404
        assert (await browser.get(f"/approvals/{strange}")).status_code == 404
    assert len(await system.approvals()) == 1


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


async def test_the_list_goes_on_behind_its_last_order(system: System) -> None:
    """Where it is cut off, its answer links to the next page, and no page gives an order twice or leaves one out."""
    for number in range(3):
        await waiting(system, f"order-{number}")
        system.clock.advance(60)
    seen, path = [], "/approvals?limit=2"
    while path:
        page = await system.call("GET", "orchestrator", path, headers=system.admin)
        assert page.status_code == 200
        seen.append([order["order_id"] for order in page.json()])
        path = page.links["next"]["url"] if "next" in page.links else ""
    assert seen == [["order-0", "order-1"], ["order-2"]]
    whole = await system.call("GET", "orchestrator", "/approvals?limit=3", headers=system.admin)
    assert "link" not in whole.headers
    before_time = (
        urlsafe_b64encode(b"0001-01-01T00:00:00+14:00 00000000-0000-0000-0000-000000000000").decode().rstrip("=")
    )
    for cursor in ("x", "%C3%A9", "", "a" * 300, before_time):
        refused = await system.call("GET", "orchestrator", f"/approvals?cursor={cursor}", headers=system.admin)
        assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json"), cursor
