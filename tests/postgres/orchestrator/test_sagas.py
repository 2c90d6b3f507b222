"""Sagas over HTTP: starting once, finding, waiting for the end."""

import asyncio
from base64 import urlsafe_b64encode
from contextlib import ExitStack
from typing import Any

import asyncpg
import pytest

from services.chassis.inbound.limits import WAITING_SHARE
from services.chassis.settings import ChassisSettings
from services.orchestrator.engine.operations import reading
from tests.postgres.orchestrator.acts import (
    start,
)
from tests.support import server
from tests.support.system import System

BEFORE_ALL = urlsafe_b64encode(b"0001-01-01T00:00:00+14:00 00000000-0000-4000-8000-000000000000").decode()
"""A cursor whose moment no database has."""
UNKNOWN = "00000000-0000-0000-0000-000000000000"


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
        "/sagas?created_after=1764000000",
        "/sagas?created_after=2026-11-24",
        "/sagas?created_after=0001-01-01T00:00:00%2B14:00",
        "/sagas?created_after=9999-12-31T23:59:59-14:00",
        f"/sagas?cursor={BEFORE_ALL}",
        f"/approvals?cursor={BEFORE_ALL}",
        "/approvals?cursor=x",
        "/sagas?surprise=1",
        "/sagas?status=waiting&status=failed",
        "/sagas?limit=1&limit=1",
        "/audit?limit=1&cursor=5&limit=2",
        "/audit?sagaid=1",
        "/audit?limit=1_0",
        "/audit?cursor=1_0",
        f"/sagas/{UNKNOWN}/result?wait_s=1_0",
        "/sagas/abc",
        f"/sagas/{UNKNOWN}/result?wait_s=nan",
    ):
        answer = await system.call("GET", "orchestrator", path, headers=system.admin)
        assert answer.status_code == 422, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"], path


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


async def test_a_search_that_takes_too_long_says_what_narrows_it(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database ends it, the caller is told to narrow it, and the next search is not bounded by that."""
    await start(system)
    held = await asyncpg.connect(server.direct(system.apps["orchestrator"].state.database.url))
    with monkeypatch.context() as patch:
        patch.setattr(reading, "SEARCH_S", 0.001)
        async with held.transaction():
            await held.execute("lock table sagas in access exclusive mode")
            answer = await system.call("GET", "orchestrator", "/sagas?status=running", headers=system.admin)
    await held.close()
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["code"] == "search-too-wide"
    assert "created_after" in told["detail"]
    assert [fault["where"] for fault in told["errors"]] == ["query.created_after"]
    found = await system.call("GET", "orchestrator", "/sagas?status=queued", headers=system.admin)
    assert [item["key"] for item in found.json()["items"]] == ["pay_1"]


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


async def test_only_so_many_wait_for_an_end(system: System) -> None:
    """Whoever waits holds a place; one more is 503 with Retry-After, and who does not wait is answered."""
    limits = system.apps["orchestrator"].state.chassis.limits
    await system.place("order-1")
    await system.settle()
    path = f"/sagas/{(await system.saga('order-1'))['saga_id']}/result"
    with ExitStack() as stack:
        for _ in range(ChassisSettings().requests_in_progress_max // WAITING_SHARE):
            stack.enter_context(limits.waiting.held())
        refused = await system.call("GET", "orchestrator", f"{path}?wait_s=30", headers=system.admin)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert (await system.call("GET", "orchestrator", path, headers=system.admin)).status_code == 202
    await system.decide("order-1")
    await system.settle()
    await system.pass_time(10)
    assert (await system.call("GET", "orchestrator", f"{path}?wait_s=30", headers=system.admin)).status_code == 200
