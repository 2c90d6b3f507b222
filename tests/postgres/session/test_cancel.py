"""Cancelling: asked for once, carried by the outbox, and its refusal written into the history."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from services.chassis.postgres.database import Database
from services.session.domain.checkout import id_of_saga
from services.session.domain.order import CANCEL_REQUESTS_MAX
from tests.postgres.session.conftest import SHELVES
from tests.postgres.session.shop import Shop, check_refused, opened
from tests.support.clock import ManualClock


class Orchestrator:
    """The protocol of the orchestrator's two calls: it notes them and answers what a test has said."""

    def __init__(self) -> None:
        self.cancel_status = 202
        self.cancel_code = "cannot-cancel"
        self.start_answer: object = None
        self.cancel_answer: dict[str, object] | None = None
        self.calls: list[tuple[str, dict[str, object]]] = []
        self.app = FastAPI()
        self.app.post("/sagas")(self._started)
        self.app.post("/sagas/{saga_id}/cancel")(self._cancelled)

    async def _started(self, request: Request) -> JSONResponse:
        await self._note(request)
        asked = await request.json()
        told = {"saga_id": id_of_saga(asked["workflow"], asked["key"])}
        return JSONResponse(told if self.start_answer is None else self.start_answer, status_code=202)

    async def _cancelled(self, saga_id: str, request: Request) -> JSONResponse:
        await self._note(request)
        status = self.cancel_status
        body: dict[str, object] = {"saga_id": saga_id, "status": "compensating"}
        if status != 202:
            body = {"type": "urn:x", "status": status, "code": self.cancel_code, "title": "", "detail": "shipped"}
        if self.cancel_answer is not None:
            body = self.cancel_answer
        return JSONResponse(body, status_code=status, headers={"content-type": "application/problem+json"})

    async def _note(self, request: Request) -> None:
        self.calls.append((request.url.path, await request.json()))
        assert request.headers["Idempotency-Key"]
        assert request.headers["X-Acting-User"] == "alice"
        assert request.headers["Authorization"].startswith("Bearer ")
        assert request.headers["traceparent"]


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
async def connected(
    session_database: Database, session_url: str, clock: ManualClock, orchestrator: Orchestrator
) -> AsyncIterator[Shop]:
    """A shop whose outbox reaches an orchestrator."""
    transport = httpx.ASGITransport(app=orchestrator.app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://orchestrator") as http,
        opened(session_url, clock, http=http, orchestrator_url="http://orchestrator") as shop,
    ):
        for sku, pieces in SHELVES.items():
            await shop.stock(sku, pieces)
        yield shop


async def test_a_wish_to_cancel_is_one_message(shop: Shop) -> None:
    """Asking is 202 and puts one message behind the start of the saga; asking again adds none."""
    await shop.ordered("alice", "order-1", {"book": 1})
    for _ in range(3):
        answer = await shop.cancel("alice", "order-1")
        assert (answer.status_code, answer.json()["status"]) == (202, "pending_payment")
        assert answer.headers["Location"] == "/users/alice/orders/order-1"
    order = await shop.order("alice", "order-1")
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "cancel_requested"]
    start, cancel = await shop.messages()
    assert (start["name"], cancel["name"], cancel["key"], cancel["acting_user"]) == (
        "start-saga",
        "cancel-saga",
        "order-1",
        "alice",
    )
    assert json.loads(cancel["body"]) == {"reason": "cancelled by the customer"}


async def test_a_reason_may_be_given(shop: Shop) -> None:
    """The customer's reason travels with the wish; one that is empty, unreadable or too long is 422."""
    await shop.ordered("alice", "order-1", {"book": 1})
    path, headers = "/users/alice/orders/order-1/cancel", shop.bearer("alice")
    for reason in ("", " \n", "\u202eno", "x" * 501, 5):
        check_refused(await shop.client.post(path, json={"reason": reason}, headers=headers), 422, "invalid")
    assert (await shop.client.post(path, json={"reason": "too slow"}, headers=headers)).status_code == 202
    assert json.loads((await shop.messages())[-1]["body"]) == {"reason": "too slow"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("shipped", "order-shipped"),
        ("completed", "order-shipped"),
        ("payment_failed", "order-ended"),
        ("rejected", "order-ended"),
        ("cancelled", "order-ended"),
    ],
)
async def test_what_is_shipped_or_ended_cannot_be_cancelled(shop: Shop, status: str, code: str) -> None:
    """A wish that is known to be too late is 409, telling which, and sends nothing."""
    await shop.ordered("alice", "order-1", {"book": 1})
    await shop.reserve("order-1", {"book": 1})
    await shop.tell("order-1", status)
    check_refused(await shop.cancel("alice", "order-1"), 409, code)
    assert len(await shop.messages()) == 1


async def test_another_users_order_cannot_be_cancelled(shop: Shop) -> None:
    """Another user's order looks like one that does not exist."""
    await shop.ordered("alice", "order-1", {"book": 1})
    check_refused(await shop.cancel("bob", "order-1"), 404, "not-found")
    check_refused(await shop.cancel("alice", "order-9"), 404, "not-found")


@pytest.mark.scenario("I1")
async def test_a_key_is_honoured(shop: Shop) -> None:
    """A repeat with the same key gets the first answer, even after the order has ended."""
    await shop.ordered("alice", "order-1", {"book": 1})
    first = await shop.cancel("alice", "order-1", key="c-1")
    await shop.tell("order-1", "cancelled")
    again = await shop.cancel("alice", "order-1", key="c-1")
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (202, first.json(), "true")


@pytest.mark.scenario("C2", "C6")
async def test_start_and_cancel_arrive_in_order(connected: Shop, orchestrator: Orchestrator) -> None:
    """The orchestrator hears of the saga before it hears of its cancellation, each once; the outbox is empty then."""
    await connected.ordered("alice", "order-1", {"book": 1})
    await connected.cancel("alice", "order-1")
    await connected.app.state.relay.run_until_idle()
    started, cancelled = orchestrator.calls
    assert (started[0], started[1]["key"]) == ("/sagas", "order-1")
    assert cancelled[0].endswith("/cancel")
    assert await connected.messages() == []
    order = await connected.order("alice", "order-1")
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "cancel_requested"]


@pytest.mark.scenario("X11")
async def test_a_cancellation_that_has_come_about_is_not_told_as_refused(
    connected: Shop, orchestrator: Orchestrator
) -> None:
    """A cancel that is sent again, because its answer was lost, and finds the saga cancelled leaves no refusal."""
    orchestrator.cancel_status, orchestrator.cancel_code = 409, "saga-cancelled"
    await connected.ordered("alice", "order-1", {"book": 1})
    await connected.cancel("alice", "order-1")
    await connected.app.state.relay.run_until_idle()
    assert await connected.messages() == []
    order = await connected.order("alice", "order-1")
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "cancel_requested"]


async def test_a_refused_cancellation_is_told_once(connected: Shop, orchestrator: Orchestrator) -> None:
    """The orchestrator's 409 settles the message and stands in the history; the wish may be uttered again."""
    orchestrator.cancel_status = 409
    await connected.ordered("alice", "order-1", {"book": 1})
    await connected.cancel("alice", "order-1")
    await connected.app.state.relay.run_until_idle()
    assert await connected.messages() == []
    order = await connected.order("alice", "order-1")
    told = ["pending_payment", "cancel_requested", "cancel_refused"]
    assert [entry["status"] for entry in order["history"]] == told
    assert (order["status"], "cancel" in order["links"]) == ("pending_payment", True)
    assert (await connected.cancel("alice", "order-1")).status_code == 202
    await connected.app.state.relay.run_until_idle()
    assert [path.endswith("/cancel") for path, _ in orchestrator.calls] == [False, True, True]


async def test_a_cancellation_is_refused_so_often(connected: Shop, orchestrator: Orchestrator) -> None:
    """The history tells each wish and its refusal, and only grows: at last a wish is refused without being told."""
    orchestrator.cancel_status = 409
    await connected.ordered("alice", "order-1", {"book": 1})
    for _ in range(CANCEL_REQUESTS_MAX):
        assert (await connected.cancel("alice", "order-1")).status_code == 202
        await connected.app.state.relay.run_until_idle()
    check_refused(await connected.cancel("alice", "order-1"), 409, "cancel-refused")
    await connected.app.state.relay.run_until_idle()
    told = [entry["status"] for entry in (await connected.order("alice", "order-1"))["history"]]
    assert told == ["pending_payment", *["cancel_requested", "cancel_refused"] * CANCEL_REQUESTS_MAX]


OTHER_SAGA = id_of_saga("order", "order-2")


@pytest.mark.parametrize("other", ["", [], {}, {"status": "ok"}, {"saga_id": "s"}, {"saga_id": OTHER_SAGA}])
@pytest.mark.scenario("C2")
async def test_only_the_orders_own_saga_counts_as_started(
    connected: Shop, orchestrator: Orchestrator, clock: ManualClock, other: object
) -> None:
    """Success that names another saga, or none, is no answer: the start is sent again until one does."""
    orchestrator.start_answer = other
    await connected.ordered("alice", "order-1", {"book": 1})
    await connected.app.state.relay.run_until_idle()
    (waiting,) = await connected.messages()
    assert (waiting["name"], len(orchestrator.calls)) == ("start-saga", 1)
    orchestrator.start_answer = None
    clock.advance(60)
    await connected.app.state.relay.run_until_idle()
    assert await connected.messages() == []
    assert [path for path, _ in orchestrator.calls] == ["/sagas", "/sagas"]


@pytest.mark.parametrize(
    ("status", "other"), [(202, {}), (202, {"saga_id": OTHER_SAGA}), (200, {"code": "x"}), (409, {})]
)
@pytest.mark.scenario("C2")
async def test_only_the_orders_own_saga_counts_as_cancelled(
    connected: Shop, orchestrator: Orchestrator, clock: ManualClock, status: int, other: dict[str, object]
) -> None:
    """Success that names another saga, or a conflict without a code, settles no cancel and is told as none."""
    orchestrator.cancel_status, orchestrator.cancel_answer = status, other
    await connected.ordered("alice", "order-1", {"book": 1})
    await connected.cancel("alice", "order-1")
    await connected.app.state.relay.run_until_idle()
    (waiting,) = await connected.messages()
    assert waiting["name"] == "cancel-saga"
    orchestrator.cancel_status, orchestrator.cancel_answer = 202, None
    clock.advance(60)
    await connected.app.state.relay.run_until_idle()
    assert await connected.messages() == []
    order = await connected.order("alice", "order-1")
    assert [entry["status"] for entry in order["history"]] == ["pending_payment", "cancel_requested"]


@pytest.mark.scenario("C8")
async def test_a_refused_checkout_sends_nothing(connected: Shop, orchestrator: Orchestrator) -> None:
    """A checkout that is refused leaves no message behind."""
    check_refused(await connected.check_out("alice"), 409, "cart-empty")
    await connected.app.state.relay.run_until_idle()
    assert orchestrator.calls == []


async def test_the_trace_goes_on(connected: Shop) -> None:
    """The trace of the request is the trace of the message."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await connected.add("alice", "book")
    connected.client.headers["traceparent"] = f"00-{trace_id}-00f067aa0ba902b7-01"
    await connected.check_out("alice")
    (row,) = await connected.rows("SELECT traceparent FROM outbox")
    assert row["traceparent"].split("-")[1] == trace_id
