"""Sagas over HTTP: who may do what, starting once, finding, waiting for the end, and steering."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from services.chassis.auth import mint_token
from services.orchestrator.telemetry import take_census
from tests.support.system import System

UNKNOWN = "00000000-0000-0000-0000-000000000000"
REFUND = {"workflow": "refund-payment", "key": "pay_1", "input": {"payment_id": "pay_1"}}

EVERYBODY, ADMIN, SERVICE, BOTH = "everybody", "admin", "service", "both"
ROUTES: list[tuple[str, str, Any, str]] = [
    ("POST", "/sagas", REFUND, BOTH),
    ("GET", "/sagas", None, ADMIN),
    ("GET", f"/sagas/{UNKNOWN}", None, BOTH),
    ("GET", f"/sagas/{UNKNOWN}/steps", None, BOTH),
    ("GET", f"/sagas/{UNKNOWN}/result", None, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/cancel", {"reason": "r"}, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/pause", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/resume", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/retry", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/skip", {"position": "1", "reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/promises/p/resolve", {"value": 1}, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/promises/p/reject", {"code": "c"}, BOTH),
    ("POST", "/awakeables/awk_x/resolve", {"value": 1}, SERVICE),
    ("POST", "/awakeables/awk_x/reject", {"code": "c"}, SERVICE),
    ("GET", "/approvals", None, ADMIN),
    ("GET", "/audit", None, ADMIN),
]


async def start(system: System, headers: Mapping[str, str] | None = None, **changed: Any) -> Any:
    body = REFUND | changed
    return await system.call("POST", "orchestrator", "/sagas", json=body, headers=headers or system.service())


async def steer(system: System, order_id: str, what: str, **body: Any) -> Any:
    path = f"/sagas/{(await system.saga(order_id))['saga_id']}/{what}"
    return await system.call("POST", "orchestrator", path, json={"reason": "a test"} | body, headers=system.admin)


@pytest.mark.scenario("SEC-b")
async def test_every_route_asks_who_calls(system: System) -> None:
    """Nobody is 401, the wrong role 403, the right one gets through; forged and stale tokens are nobody's."""
    now = system.clock.now().timestamp()
    forged = {
        "a user's key for a service": mint_token(
            "development-only-user-token-secret",
            subject="session",
            scope="service",
            audience="order-saga/orchestrator",
            issuer="session",
            now=now,
            life_s=60,
        ),
        "another service's token": system.service("shipping")["Authorization"].split()[1],
        "garbage": "garbage",
    }
    callers = {"customer": system.bearer(), ADMIN: system.admin, SERVICE: system.service()}
    for method, path, body, who in ROUTES:
        assert (await system.call(method, "orchestrator", path, json=body)).status_code == 401, path
        for name, token in forged.items():
            headers = {"Authorization": f"Bearer {token}"}
            answer = await system.call(method, "orchestrator", path, json=body, headers=headers)
            assert answer.status_code == 401, (path, name)
            assert "www-authenticate" in answer.headers
        for role, headers in callers.items():
            answer = await system.call(method, "orchestrator", path, json=body, headers=headers)
            allowed = who == role or (who == BOTH and role in (ADMIN, SERVICE))
            assert (answer.status_code != 403) == allowed, (path, role, answer.text)
            assert answer.status_code < 500


@pytest.mark.scenario("I1", "I9")
async def test_a_saga_is_started_once(system: System) -> None:
    """202 for a new one, 200 for the same again, 409 for another input under its key, 404 for no workflow."""
    first = await start(system)
    assert first.status_code == 202, first.text
    saga_id = first.json()["saga_id"]
    assert first.headers["location"] == f"/sagas/{saga_id}"
    assert first.json() == {"saga_id": saga_id, "workflow": "refund-payment", "key": "pay_1", "status": "queued"}
    again = await start(system)
    assert (again.status_code, again.json()["saga_id"]) == (200, saga_id)
    other = await start(system, input={"payment_id": "pay_2"})
    assert (other.status_code, other.json()["code"]) == (409, "saga-conflict")
    unknown = await start(system, workflow="no-such-thing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "workflow-unknown")
    for wrong in (None, {}, {"payment_id": ""}, {"payment_id": 1}, {"payment_id": "p", "x": 1}, "pay_1"):
        answer = await start(system, key="wrong", input=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-value"), wrong


@pytest.mark.scenario("I3")
async def test_one_of_many_starts_at_once_makes_the_saga(system: System) -> None:
    """Twenty requests at the same moment get one saga id; exactly one is told that it is new."""
    answers = await asyncio.gather(*(start(system) for _ in range(20)))
    assert len({answer.json()["saga_id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]


@pytest.mark.scenario("I1", "I2", "I5", "I6")
async def test_an_idempotency_key_gives_the_first_answer_again(system: System) -> None:
    """Word for word and marked as replayed; another body under the key is 422, a bad key 400."""
    keyed = system.service() | {"Idempotency-Key": "k-1"}
    first = await start(system, keyed)
    for key in ("k-1", '"k-1"'):
        again = await start(system, system.service() | {"Idempotency-Key": key})
        assert (again.status_code, again.text) == (202, first.text)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
    other = await start(system, keyed, key="pay_2", input={"payment_id": "pay_2"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    for bad in ("", " ", "x" * 256):
        assert (await start(system, system.service() | {"Idempotency-Key": bad})).status_code == 400
    conflict = system.service() | {"Idempotency-Key": "k-2"}
    for _ in range(2):
        refused = await start(system, conflict, input={"payment_id": "pay_2"})
        assert (refused.status_code, refused.json()["code"]) == (409, "saga-conflict")
    assert refused.headers["idempotent-replayed"] == "true"


async def test_an_administrator_starts_only_what_allows_it(system: System) -> None:
    """Refunds by hand are allowed; orders come from session alone."""
    assert (await start(system, system.admin)).status_code == 202
    order = await start(system, system.admin, workflow="order", key="order-9", input={})
    assert order.status_code == 403


async def test_a_delayed_saga_waits_for_its_time(system: System) -> None:
    """`delay_s` holds the start back, durably and visibly."""
    saga_id = (await start(system, delay_s=60)).json()["saga_id"]
    await system.settle()
    path = f"/sagas/{saga_id}"
    saga = (await system.call("GET", "orchestrator", path, headers=system.admin)).json()
    assert saga["status"] == "queued"
    assert "2026-11-24T10:01:00" in saga["explanation"]
    await system.pass_time(60)
    saga = (await system.call("GET", "orchestrator", path, headers=system.admin)).json()
    assert saga["status"] == "failed"


async def test_requests_of_another_shape_are_422(system: System) -> None:
    """Unknown fields, wrong types and impossible values never reach the engine."""
    for changed in (
        {"surprise": 1},
        {"workflow": ""},
        {"key": ""},
        {"key": "x" * 201},
        {"delay_s": -1},
        {"delay_s": "1"},
        {"delay_s": True},
        {"subject": "../alice"},
    ):
        assert (await start(system, **changed)).status_code == 422, changed
    for path in (
        "/sagas?limit=0",
        "/sagas?limit=201",
        "/sagas?limit=1_0",
        "/sagas?status=odd",
        "/sagas?cursor=x",
        "/sagas?created_after=yesterday",
        "/sagas?surprise=1",
        "/sagas/abc",
        f"/sagas/{UNKNOWN}/result?wait_s=nan",
    ):
        answer = await system.call("GET", "orchestrator", path, headers=system.admin)
        assert answer.status_code == 422, path
        assert answer.headers["content-type"] == "application/problem+json"


async def test_an_order_shows_what_it_waits_for_and_no_secret(system: System) -> None:
    """Waits, undos, progress and one sentence; the token and the address are nobody's business."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    saga = await system.saga("order-1")
    assert (saga["status"], saga["user_id"], saga["version"]) == ("waiting", "alice", 1)
    (wait,) = saga["waiting_on"]
    assert wait["kind"] == "awakeable"
    assert wait["id"] == await system.awakeable_id("order-1")
    assert wait["until"].startswith("2026-11-24T10:15:00")
    assert wait["id"] in saga["explanation"]
    assert [undo["name"] for undo in saga["compensations"]] == ["release_stock", "void_or_refund"]
    assert saga["input"]["payment_token"] == saga["input"]["shipping_address"] == "[redacted]"
    steps = await system.steps("order-1")
    assert {"reserve_stock", "request_payment"} <= {step["name"] for step in steps}
    assert all(step["status"] == "done" for step in steps if step["kind"] == "step")
    assert "tok_manual" not in str(saga) + str(steps)


async def test_sagas_are_found_page_by_page(system: System) -> None:
    """Newest first, every filter narrows, and the pages together are all of them once."""
    for number in range(5):
        system.clock.advance(1)
        await start(system, key=f"pay_{number}", input={"payment_id": f"pay_{number}"})
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()

    async def found(query: str) -> Any:
        answer = await system.call("GET", "orchestrator", f"/sagas?{query}", headers=system.admin)
        assert answer.status_code == 200, answer.text
        return answer.json()

    keys: list[str] = []
    page = await found("limit=2")
    while True:
        keys += [saga["key"] for saga in page["items"]]
        if page["next_cursor"] is None:
            break
        page = await found(f"limit=2&cursor={page['next_cursor']}")
    assert keys == ["order-1", "pay_4", "pay_3", "pay_2", "pay_1", "pay_0"]
    for query, expected in {
        "workflow=order": ["order-1"],
        "user_id=alice": ["order-1"],
        "user_id=bob": [],
        "status=waiting": ["order-1"],
        "status=failed&limit=1": ["pay_4"],
        "key=pay_3": ["pay_3"],
        "workflow=order&key=pay_3": [],
        "reason=payment-unknown&key=pay_2": ["pay_2"],
        "created_after=2026-11-24T10:00:04.5Z": ["order-1", "pay_4"],
    }.items():
        assert [saga["key"] for saga in (await found(query))["items"]] == expected, query


@pytest.mark.scenario("I14")
async def test_a_result_is_awaited(system: System) -> None:
    """202 while it runs; 200 with output or error once it has ended, to everybody who asks."""
    await system.place("order-1")
    await system.settle()
    path = f"/sagas/{(await system.saga('order-1'))['saga_id']}/result"
    running = await system.call("GET", "orchestrator", path, headers=system.service())
    assert (running.status_code, running.json()["output"]) == (202, None)
    waiting = asyncio.create_task(system.call("GET", "orchestrator", f"{path}?wait_s=30", headers=system.service()))
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(5)
    ended = await waiting
    assert (ended.status_code, ended.json()["status"]) == (200, "completed")
    assert ended.json()["output"]["order_id"] == "order-1"


async def test_a_paused_order_stands_still_until_it_is_resumed(system: System) -> None:
    """A webhook that comes meanwhile is kept; who paused it and why is on record."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "pause")).status_code == 202
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    assert (await system.saga("order-1"))["status"] == "paused"
    assert await system.status("order-1") == "pending_payment"
    assert (await steer(system, "order-1", "pause")).status_code == 409
    assert (await steer(system, "order-1", "resume")).status_code == 202
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    saga_id = (await system.saga("order-1"))["saga_id"]
    answer = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    told = [(entry["action"], entry["actor"], entry["reason"]) for entry in answer.json()["items"]]
    assert ("pause", "root", "a test") in told
    assert ("resume", "root", "a test") in told


async def test_operations_that_the_state_does_not_allow_are_409(system: System) -> None:
    """A running order is neither resumed nor retried nor skipped."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    for what, body in (("resume", {}), ("retry", {}), ("skip", {"position": "1"})):
        answer = await steer(system, "order-1", what, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict"), what
    assert (await steer(system, "order-1", "skip", position="'; drop table")).status_code == 422
    assert (await steer(system, "order-1", "pause", reason="")).status_code == 422


@pytest.mark.scenario("X11")
async def test_a_cancel_may_be_repeated_until_the_end(system: System) -> None:
    """While it unwinds it is 202 again; once ended it tells the end."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "cancel")).status_code == 202
    assert (await steer(system, "order-1", "cancel")).status_code == 202
    await system.settle()
    ended = await steer(system, "order-1", "cancel")
    assert (ended.status_code, ended.json()["code"]) == (409, "saga-final")
    assert "cancelled" in ended.json()["detail"]


async def test_a_service_settles_a_payment_by_the_same_checks(system: System) -> None:
    """Another amount is not believed, the first value stands, late money is refunded."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    path = f"/awakeables/{await system.awakeable_id('order-1')}"

    async def resolve(amount_minor: int, payment_id: str = "pay_a") -> Any:
        value = {
            "payment_id": payment_id,
            "transaction_id": "t",
            "amount": {"amount_minor": amount_minor, "currency": "USD"},
        }
        return await system.call(
            "POST", "orchestrator", f"{path}/resolve", json={"value": value}, headers=system.service()
        )

    false = await resolve(5)
    assert (false.status_code, false.json()["code"]) == (409, "signal-mismatch")
    shapeless = await system.call(
        "POST", "orchestrator", f"{path}/resolve", json={"value": "paid"}, headers=system.service()
    )
    assert shapeless.status_code == 422
    assert (await resolve(1999)).status_code == 200
    assert (await resolve(1999)).status_code == 200
    second = await resolve(1999, "pay_b")
    assert (second.status_code, second.json()["stands"]["value"]["payment_id"]) == (409, "pay_a")
    body = {"code": "declined"}
    rejected = await system.call("POST", "orchestrator", f"{path}/reject", json=body, headers=system.service())
    assert rejected.status_code == 409
    found = await system.call("GET", "orchestrator", "/sagas?workflow=refund-payment", headers=system.admin)
    assert [saga["key"] for saga in found.json()["items"]] == ["pay_b"]


async def test_the_service_tells_how_it_is(system: System) -> None:
    """Alive, ready with its named checks, measurable; and its documents open offline, with examples."""
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert (await system.call("GET", "orchestrator", path)).status_code == 200, path
    ready = (await system.call("GET", "orchestrator", "/readyz")).json()
    assert ready["checks"]["postgres"] == "ok"
    await system.place("order-1")
    await system.settle()
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    for name in (
        'saga_started_total{workflow="order"} 1.0',
        'saga_step_attempts_total{outcome="ok",step="reserve_stock"} 1.0',
        'webhooks_total{outcome="accepted"} 1.0',
        "committer_batch_rows_count",
    ):
        assert name in metrics, name


async def test_the_census_counts_what_is_alive(system: System) -> None:
    """Gauges follow the sagas: a status that nobody has any more is no longer shown."""
    desk = system.apps["orchestrator"].state.desk
    await system.place("order-1")
    await system.settle()
    await take_census(desk.operations, desk.metrics)
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    assert 'saga_live{status="waiting",workflow="order"} 1.0' in metrics
    assert "approvals_pending 1.0" in metrics
    await system.decide("order-1", "reject")
    await system.settle()
    await take_census(desk.operations, desk.metrics)
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    assert "saga_live{" not in metrics
    assert "approvals_pending 0.0" in metrics


async def test_every_body_in_the_documents_has_an_example(system: System) -> None:
    """Whoever opens /docs can try each call as it stands."""
    document = (await system.call("GET", "orchestrator", "/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                shape = content.get("schema", {})
                named = document["components"]["schemas"].get(shape.get("$ref", "").rpartition("/")[2], {})
                assert "example" in content or "examples" in content or "example" in named, (method, path, kind)
