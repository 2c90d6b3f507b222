"""No secret in clear: not in any database or log of a whole run, errors included; and a customer can be erased."""

import itertools
import json
from typing import Any

import asyncpg
import pytest

from services.chassis import logs
from services.session.domain.checkout import saga_id
from tests.postgres.orchestrator.browser import PASSWORD, Browser
from tests.support import pages, server
from tests.support.system import System, signed
from tests.system.steps import ended

SERVICES = ("session", "shipping", "orchestrator")
ADDRESS = {
    "name": "Ada Lovelace-Byron",
    "street": "12 Very Private Street",
    "city": "Hiddenhampton",
    "postal_code": "SX1 7YZ",
    "country": "GB",
}
SECRETS = (
    *(ADDRESS[name] for name in ("name", "street", "city", "postal_code")),
    "tok_ok",
    "tok_decline",
    "tok_manual",
)
NEVER_LOGGED = (PASSWORD, "development-only", "whsec_", "eyJ", "sealed.1.", "v1,")


@pytest.fixture
def _everything_is_logged(logs_as_before: None) -> None:
    """Log as a service does, at its loudest."""
    del logs_as_before
    logs.configure(service="test", level="debug", format="json")


async def rows(system: System) -> str:
    """Every row of every table of every service, as text."""
    told = []
    for service in SERVICES:
        connection = await asyncpg.connect(server.direct(system.apps[service].state.database.url))
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            for table in tables:
                found = await connection.fetch(f'SELECT row_to_json(t)::text AS line FROM "{table["tablename"]}" t')
                told += [f"{service}.{table['tablename']} {row['line']}" for row in found]
        finally:
            await connection.close()
    return "\n".join(told)


async def check_rows(system: System) -> str:
    """Assert that no row shows a secret; return the rows."""
    told = await rows(system)
    shown = [(secret, line) for line in told.splitlines() for secret in SECRETS if secret in line]
    assert not shown, shown[:3]
    return told


async def place(system: System, order_id: str, *, token: str = "tok_ok") -> None:
    line = {"sku": "book", "quantity": 1}
    await system.call("POST", "session", "/users/alice/cart/items", json=line, headers=system.bearer())
    await system.check_out(order_id, shipping_address=ADDRESS, payment_token=token)


async def go_wrong(system: System) -> None:
    """Ask in every way that is refused or fails, with secrets in hand."""
    body = {"shipping_address": ADDRESS | {"country": "Nowhere"}, "payment_token": "tok_ok" * 100}
    keyed = system.bearer() | {"Idempotency-Key": "bad"}
    assert (await system.call("POST", "session", "/users/alice/checkout", json=body, headers=keyed)).status_code == 422
    shipment = {"order_id": "order-x", "attempt": 0, "address": ADDRESS, "items": []}
    headers = system.service("shipping", "orchestrator") | {"Idempotency-Key": "bad"}
    assert (await system.call("POST", "shipping", "/shipments", json=shipment, headers=headers)).status_code == 422
    start = {"workflow": "order", "key": "order-x", "input": {"payment_token": "tok_ok", "shipping_address": ADDRESS}}
    answer = await system.call("POST", "orchestrator", "/sagas", json=start, headers=system.service())
    assert answer.status_code == 422
    forged = signed(b"{}", event_id="evt_1", at=system.clock.now(), webhook_signature="v1,Zm9yZ2Vk")
    assert (
        await system.call("POST", "orchestrator", "/webhooks/payments", content=b"{}", headers=forged)
    ).status_code == 401


@pytest.mark.scenario("SEC-b")
@pytest.mark.usefixtures("_everything_is_logged")
async def test_no_secret_is_stored_or_logged_in_clear(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    """At every moment of orders that succeed, fail, are refused, undone and cancelled, rows and logs hold no secret."""
    stages = itertools.count()
    await go_wrong(system)
    for order_id, token in (("order-1", "tok_ok"), ("FAIL_SHIP-2", "tok_ok"), ("order-3", "tok_ok")):
        await place(system, order_id, token=token)
        told = await check_rows(system)
        assert "sealed.1." in told, next(stages)  # in the outbox now
        await system.settle()
        await check_rows(system)
    await place(system, "order-4", token="tok_decline")
    await system.settle()
    await place(system, "order-5", token="tok_manual")
    await system.settle()
    browser = Browser(system)
    path = await system.approval_path("order-1")
    await browser.sign_in(user="admin", password="wrong-" + PASSWORD[:3])
    await browser.sign_in(then=path)
    await browser.decide(path, "approve")
    await system.decide("FAIL_SHIP-2")
    await system.decide("order-3", "reject")
    await system.cancel("order-5")
    await system.settle()
    await check_rows(system)
    for order_id, status in (
        ("order-1", "completed"),
        ("FAIL_SHIP-2", "shipment_failed"),
        ("order-3", "rejected"),
        ("order-4", "payment_failed"),
        ("order-5", "cancelled"),
    ):
        assert await ended(system, order_id) == status
    assert (await system.order("order-1"))["shipping_address"] == ADDRESS  # its owner sees it
    told = await check_rows(system)
    assert "sealed.1." in told
    for path in ("/sagas", f"/sagas/{saga_id('order-1', 1)}", f"/sagas/{saga_id('order-1', 1)}/steps", "/audit"):
        shown = (await system.call("GET", "orchestrator", path, headers=system.admin)).text
        assert not [secret for secret in (*SECRETS, "sealed.1.") if secret in shown], path
    logged = capsys.readouterr()
    lines = (logged.out + logged.err).splitlines()
    assert len(lines) > 100
    for line in lines:
        assert not [secret for secret in (*SECRETS, *NEVER_LOGGED) if secret in line], line
        assert browser.cookies["order_saga_admin"] not in line


async def erased(system: System, user: str = "alice") -> Any:
    body = {"reason": "asked for, ticket 4711"}
    return await system.call("POST", "session", f"/users/{user}/erase", json=body, headers=system.admin)


async def test_a_customer_is_erased(system: System) -> None:
    """Payloads and addresses go everywhere; orders, statuses and keys stay, so that nothing happens twice."""
    await place(system, "order-1")
    await system.settle()
    open_still = await erased(system)
    assert (open_still.status_code, open_still.json()["code"]) == (409, "orders-open")
    await system.decide("order-1", "reject")
    assert await ended(system, "order-1") == "rejected"
    bob = await place_for_bob(system)
    link_of_alice = f"/approvals/{'x' * 60}"
    done = await erased(system)
    assert (done.status_code, done.json()) == (202, {"user_id": "alice", "orders": 1})
    await system.settle()
    left = [line for line in (await rows(system)).splitlines() if "order-1" in line or "alice" in line]
    assert not [line for line in left if "sealed.1." in line], left
    order = await system.order("order-1")
    assert (order["status"], order["shipping_address"]["street"]) == ("rejected", "erased")
    saga = await system.saga("order-1")
    assert (saga["status"], saga["input"], saga["output"]) == ("failed", "erased", None)
    steps = await system.steps("order-1")
    assert {json.dumps(step["output"]) for step in steps} == {"null"}
    assert len(steps) > 3
    again = await system.call(
        "POST",
        "orchestrator",
        "/sagas",
        json={"workflow": "order", "key": "order-1", "input": _input("order-1")},
        headers=system.service(),
    )
    assert again.status_code == 200  # the key stays: nothing starts anew
    assert (await system.call("GET", "orchestrator", link_of_alice)).status_code == 303
    assert (await erased(system)).status_code == 202  # again is fine
    await system.settle()
    assert (await system.order(bob, user="bob"))["shipping_address"] == ADDRESS
    await system.decide(bob, "reject")
    await system.settle()
    entries = (await system.call("GET", "orchestrator", "/audit", headers=system.admin)).json()["items"]
    (entry,) = [entry for entry in entries if entry["action"] == "erase"]
    assert (entry["subject_id"], entry["actor"]) == ("alice", "session for root")


@pytest.mark.parametrize("admin", ["zoë", "zoe@example.com"])
async def test_an_administrator_of_any_name_erases(system: System, admin: str) -> None:
    """A name that cannot stand in a header holds nothing up: session's audit log has it, the orchestrator's has not."""
    await system.decide(await place_for_bob(system), "reject")
    await system.settle()
    body, headers = {"reason": "asked for"}, system.bearer(admin, "admin")
    answer = await system.call("POST", "session", "/users/bob/erase", json=body, headers=headers)
    assert answer.status_code == 202
    await system.settle()
    dead = await system.call("GET", "session", "/dead-letters", headers=system.admin)
    assert dead.json()["items"] == []
    entries = (await system.call("GET", "orchestrator", "/audit", headers=system.admin)).json()["items"]
    (entry,) = [entry for entry in entries if entry["action"] == "erase"]
    assert (entry["subject_id"], entry["actor"]) == ("bob", "session")


async def test_free_words_stay_where_the_page_says(system: System) -> None:
    """SECURITY.md names every table and column that still holds words once their customer is erased."""
    for order_id in ("order-1", "order-2", "FAIL_SHIP-1"):
        await place(system, order_id)
        await system.settle()
    said = {"decision": "reject", "reason": "Ada has moved"}
    await system.call("POST", "orchestrator", await system.approval_path("order-1"), json=said, headers=system.admin)
    wish = {"reason": "Ada is ill"}
    await system.call("POST", "session", "/users/alice/orders/order-2/cancel", json=wish, headers=system.bearer())
    await system.decide("FAIL_SHIP-1")
    for order_id, end in (("order-1", "rejected"), ("order-2", "cancelled"), ("FAIL_SHIP-1", "shipment_failed")):
        assert await ended(system, order_id) == end
    words = {"Ada has moved", "Ada is ill", "does not take this parcel", "The book"}
    before = await rows(system)
    assert [word for word in words if word not in before] == []
    assert (await erased(system)).status_code == 202
    await system.settle()
    left = [line.split(" ", 2) for line in (await rows(system)).splitlines() if any(word in line for word in words)]
    assert {table for table, *_ in left} == {
        "orchestrator.audit",
        "orchestrator.idempotency",
        "session.attempts",
        "session.audit",
        "session.products",  # of the catalogue, and nobody's
        "shipping.idempotency",
        "shipping.shipments",
    }
    told = pages.section(pages.read("SECURITY.md"), "What is not covered").split("\n- ")
    (page,) = [item for item in told if "**Free words**" in item]
    assert {"audit", "attempts.lines", "shipments.refusal", "idempotency"} <= set(pages.code_words(page))


async def test_an_administrator_of_any_name_can_erase(system: System) -> None:
    """A name that no header may carry stays in session's own audit log; the orchestrator erases all the same."""
    await place(system, "order-1")
    await system.settle()
    await system.decide("order-1", "reject")
    assert await ended(system, "order-1") == "rejected"
    admin = system.bearer("ann@shop.example", "admin")
    done = await system.call("POST", "session", "/users/alice/erase", json={"reason": "asked for"}, headers=admin)
    assert done.status_code == 202
    await system.settle()
    entries = (await system.call("GET", "orchestrator", "/audit?saga_id=alice", headers=system.admin)).json()["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [("erase", "session")]
    assert (await system.saga("order-1"))["input"] == "erased"


async def test_a_live_saga_keeps_what_it_needs(system: System) -> None:
    """The orchestrator erases nothing of an order under way, and says when to come back."""
    await place(system, "order-1")
    await system.settle()
    headers, body = system.service(), {"reason": "test"}
    answer = await system.call("POST", "orchestrator", "/users/alice/erase", json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "user-live")
    assert int(answer.headers["Retry-After"]) > 0
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    answer = await system.call("POST", "orchestrator", "/users/alice/erase", json=body, headers=headers)
    assert answer.json() == {"user_id": "alice", "sagas": 1}


async def place_for_bob(system: System) -> str:
    line = {"sku": "book", "quantity": 1}
    await system.call("POST", "session", "/users/bob/cart/items", json=line, headers=system.bearer("bob"))
    wanted = {"shipping_address": ADDRESS, "order_id": "order-bob"}
    keyed = system.bearer("bob") | {"Idempotency-Key": "b"}
    answer = await system.call("POST", "session", "/users/bob/checkout", json=wanted, headers=keyed)
    assert answer.status_code == 202
    await system.settle()
    return "order-bob"


def _input(order_id: str) -> dict[str, Any]:
    price = {"amount_minor": 1999, "currency": "USD"}
    return {
        "order_id": order_id,
        "attempt": 1,
        "user_id": "alice",
        "items": [{"sku": "book", "name": "The book", "quantity": 1, "unit_price": price}],
        "total": price,
        "shipping_address": ADDRESS,
        "payment_token": "tok_ok",
    }
