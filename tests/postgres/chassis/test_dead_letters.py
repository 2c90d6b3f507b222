"""Dead letters: a refused message blocks its key, and an administrator sends it again or discards it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from services.chassis import audit, dead_letters
from services.chassis.app import build_app
from services.chassis.messaging import outbox
from services.chassis.messaging.dead_letters import DeadLetter
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.security.tokens import mint_user_token
from services.chassis.settings import ChassisSettings
from tests.postgres.chassis.receiver import Received, Receiver, problem
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("quiet")

SETTINGS = ChassisSettings()
WHY = {"reason": "the receiver is mended"}


@asynccontextmanager
async def nothing(_app: FastAPI) -> AsyncIterator[None]:
    yield


class Desk:
    """A service of one relay, and the administrator who looks after what it could not send."""

    def __init__(self, database: Database, relay: Relay, receiver: Receiver, clock: ManualClock) -> None:
        self.database, self.relay, self.clock = database, relay, clock
        self.refused: set[str] = set()
        receiver.script = self._answer
        routers = [dead_letters.router]
        app = build_app(name="desk", settings=SETTINGS, routers=routers, lifespan=nothing, description="x", clock=clock)
        app.state.database, app.state.relay = database, relay
        app.state.on_discard = self.on_discard = dict[str, dead_letters.OnDiscard]()
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk")

    async def _answer(self, call: Received) -> httpx.Response | None:
        return problem(422, "nonsense", "it makes none") if call.id in self.refused else None

    def headers(self, scope: str = "admin") -> dict[str, str]:
        secret = SETTINGS.auth_jwt_secret.get_secret_value()
        return {"Authorization": f"Bearer {mint_user_token(secret, sub='root', scope=scope, clock=self.clock)}"}

    async def refuse(self, *messages: outbox.Message, only: str | None = None) -> None:
        """Have messages refused, all of them or one, and every message behind."""
        self.refused = {only} if only is not None else {one.id for one in messages}
        await write(self.database, *messages, clock=self.clock)
        await self.relay.run_until_idle()

    async def read(self, query: str = "") -> httpx.Response:
        return await self.http.get(f"/dead-letters{query}", headers=self.headers())

    async def do(self, what: str, message_id: str, body: Any = None, **headers: str) -> httpx.Response:
        path = f"/dead-letters/{quote(message_id, safe='')}/{what}"
        return await self.http.post(path, json=WHY if body is None else body, headers=self.headers() | headers)

    async def audited(self, key: str) -> list[audit.Entry]:
        async with self.database.autocommit() as conn:
            return list(await audit.find(conn, subject_id=key))


@pytest.fixture
async def desk(
    database: Database, new_relay: Callable[..., Relay], receiver: Receiver, clock: ManualClock
) -> AsyncIterator[Desk]:
    desk = Desk(database, new_relay(), receiver, clock)
    async with desk.http:
        yield desk


@pytest.mark.scenario("C14")
async def test_a_definite_refusal_is_a_dead_letter_and_blocks_only_its_key(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """The refused message and those behind it wait visibly, with an alarm; every other key goes on."""
    metrics = Metrics()
    relay = new_relay(metrics=metrics)
    desk = Desk(database, relay, receiver, clock)
    desk.refused = {"k-2"}
    await write(database, *(message("k", n) for n in (1, 2, 3)), message("other", 1), clock=clock)
    await relay.run_until_idle()
    await write(database, message("k", 4), message("other", 2), clock=clock)
    clock.advance(1_000)
    await relay.run_until_idle()
    assert sorted(receiver.ids) == ["k-1", "k-2", "other-1", "other-2"]
    assert await waiting(database) == ["k-2", "k-3", "k-4"]
    (entry,) = await desk.audited("k")
    assert entry.action == "alarm.outbox-dead-letter"
    assert "nonsense" in (entry.reason or "")
    await relay.measure()
    shown = metrics.render().decode()
    assert "outbox_dead 1.0" in shown
    assert 'order_saga_alarms_total{kind="outbox-dead-letter"} 1.0' in shown


async def test_a_dead_letter_is_listed_with_what_it_holds_up(desk: Desk) -> None:
    """Who refused what, why, and how many wait behind it; never its body."""
    await desk.refuse(*(message("k", n, body='{"secret": 1}') for n in (1, 2, 3)), only="k-2")
    answer = await desk.read()
    (shown,) = answer.json()["items"]
    assert {name: shown[name] for name in shown if not name.endswith("_at")} == {
        "message_id": "k-2",
        "key": "k",
        "name": "thing",
        "service": "there",
        "method": "POST",
        "path": "/things/2",
        "code": "nonsense",
        "detail": "it makes none",
        "held_up": 1,
    }
    assert answer.json()["next_cursor"] is None
    assert "secret" not in answer.text


async def test_dead_letters_come_page_by_page(desk: Desk) -> None:
    """Those refused first come first; of one moment, by id; each once."""
    for keys in (("c", "d", "e"), ("a", "b")):
        await desk.refuse(*(message(key, 1) for key in keys))
        desk.clock.advance(1)
    seen, query = [], "?limit=2"
    while query:
        page = (await desk.read(query)).json()
        seen.append([item["message_id"] for item in page["items"]])
        query = f"?limit=2&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    assert seen == [["c-1", "d-1"], ["e-1", "a-1"], ["b-1"]]


@pytest.mark.parametrize(
    ("what", "action", "expected"),
    [
        ("retry", "dead-letter.retried", ["order-1-1", "order-1-2"]),
        ("discard", "dead-letter.discarded", ["order-1-2"]),
    ],
)
async def test_an_administrator_frees_a_key(
    desk: Desk, receiver: Receiver, what: str, action: str, expected: list[str]
) -> None:
    """The key goes on with its dead letter or without it, in sequence, and the audit log says who did it and why."""
    await desk.refuse(message("order-1", 1), message("order-1", 2), only="order-1-1")
    desk.refused = set()
    answer = await desk.do(what, "order-1-1")
    assert (answer.status_code, answer.json()) == (200, {"message_id": "order-1-1", "key": "order-1", "name": "thing"})
    assert (await desk.read()).json()["items"] == []
    await desk.relay.run_until_idle()
    assert receiver.accepted == expected
    assert await waiting(desk.database) == []
    assert await rows(desk.database, "select key from outbox_keys") == []
    entry = (await desk.audited("order-1"))[0]
    assert (entry.action, entry.actor, entry.reason) == (action, "root", WHY["reason"])
    assert entry.details == {"message_id": "order-1-1", "name": "thing"}


async def test_a_key_of_nothing_but_its_dead_letter_is_forgotten_with_it(desk: Desk) -> None:
    """A key that nothing is left for would be claimed for ever."""
    await desk.refuse(message("k", 1))
    assert (await desk.do("discard", "k-1")).status_code == 200
    await desk.relay.run_until_idle()
    assert await rows(desk.database, "select key from outbox_keys") == []


async def test_a_message_that_is_refused_again_is_a_dead_letter_again(desk: Desk, receiver: Receiver) -> None:
    """It was sent once more, and nothing behind it has left."""
    await desk.refuse(message("k", 1), message("k", 2))
    desk.clock.advance(60)
    assert (await desk.do("retry", "k-1")).status_code == 200
    await desk.relay.run_until_idle()
    (again,) = (await desk.read()).json()["items"]
    assert (again["message_id"], again["held_up"]) == ("k-1", 1)
    assert receiver.ids == ["k-1", "k-1"]


@pytest.mark.parametrize("what", ["retry", "discard"])
@pytest.mark.parametrize("message_id", ["k-2", "waits-1", "nobody"])
async def test_what_is_no_dead_letter_is_left_alone(desk: Desk, what: str, message_id: str) -> None:
    """Neither what waits behind one, nor what waits for its time, nor what there is not."""
    await desk.refuse(message("k", 1), message("k", 2))
    await write(desk.database, message("waits", 1, delay_s=60), clock=desk.clock)
    tables = [f"select * from {table} order by key" for table in ("outbox_keys", "outbox")]
    before = [await rows(desk.database, table) for table in tables]
    answer = await desk.do(what, message_id)
    assert (answer.status_code, answer.json()["code"]) == (404, "dead-letter-unknown")
    assert before == [await rows(desk.database, table) for table in tables]


async def test_of_two_administrators_one_frees_it(desk: Desk) -> None:
    """Who comes second is told that it is no dead letter any more; the audit log has one of them."""
    await desk.refuse(message("k", 1))
    answers = await asyncio.gather(desk.do("discard", "k-1"), desk.do("retry", "k-1"), desk.do("discard", "k-1"))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
    assert [entry.action.split(".")[0] for entry in await desk.audited("k")] == ["dead-letter", "alarm"]


async def test_what_else_a_discarded_message_changes_is_changed_once(desk: Desk) -> None:
    """It is one transaction with the discarding: of several administrators one changes it. A retry changes nothing."""
    called: list[str] = []

    async def given_up(conn: Connection, letter: DeadLetter, *, now: datetime | None) -> None:
        called.append(letter.dead_code)
        await audit.record(
            conn, action="given-up", subject_id=letter.key, actor="desk", reason=None, details={}, now=now
        )

    desk.on_discard["thing"] = given_up
    await desk.refuse(message("k", 1))
    assert (await desk.do("retry", "k-1")).status_code == 200
    assert not called
    await desk.relay.run_until_idle()
    answers = await asyncio.gather(*(desk.do("discard", "k-1") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404]
    assert set(called) == {"nonsense"}
    assert [entry.action for entry in await desk.audited("k")].count("given-up") == 1


async def test_who_writes_for_the_key_meanwhile_is_waited_for(desk: Desk, receiver: Receiver) -> None:
    """What is written before the key is free stays behind what was refused."""
    await desk.refuse(message("k", 1))
    desk.refused = set()
    async with desk.database.begin() as conn:
        await outbox.enqueue(conn, [message("k", 2)], now=desk.clock.now())
        freeing = asyncio.create_task(desk.do("retry", "k-1"))
        done, _ = await asyncio.wait([freeing], timeout=0.1)
        assert not done
    assert (await freeing).status_code == 200
    await desk.relay.run_until_idle()
    assert receiver.accepted == ["k-1", "k-2"]


async def test_a_repeat_under_a_key_is_answered_and_done_once(desk: Desk, receiver: Receiver) -> None:
    """Sent again because its answer was lost, it gets that answer; the message may be dead again by then."""
    await desk.refuse(message("k", 1))
    first = await desk.do("retry", "k-1", **{"Idempotency-Key": "once"})
    await desk.relay.run_until_idle()
    second = await desk.do("retry", "k-1", **{"Idempotency-Key": "once"})
    await desk.relay.run_until_idle()
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert second.headers["Idempotent-Replayed"] == "true"
    assert receiver.ids == ["k-1", "k-1"]


@pytest.mark.parametrize("message_id", ["a/b", "a/retry", 'say "a b"?', "100%"])
async def test_any_id_is_found_by_its_address(desk: Desk, message_id: str) -> None:
    """Whoever writes a message may choose its id."""
    await desk.refuse(message("k", 1, id=message_id))
    answer = await desk.do("discard", message_id)
    assert (answer.status_code, answer.json()["message_id"]) == (200, message_id)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 501}, {"reason": "r", "y": 1}])
async def test_who_does_not_say_why_changes_nothing(desk: Desk, body: dict[str, Any]) -> None:
    """A reason is part of it."""
    await desk.refuse(message("k", 1))
    for what in ("retry", "discard"):
        assert (await desk.do(what, "k-1", body)).status_code == 422
    assert len((await desk.read()).json()["items"]) == 1


@pytest.mark.parametrize(
    "query", ["?cursor=x", "?cursor=bnVsbA==", f"?cursor={'W1tb' * 2_000}", "?limit=0", "?limit=201", "?key=k"]
)
async def test_a_page_that_is_none_is_refused(desk: Desk, query: str) -> None:
    """A cursor that no page gave, a limit out of bounds, a filter that there is not."""
    assert (await desk.read(query)).status_code == 422


async def test_only_administrators_see_and_free_them(desk: Desk) -> None:
    """Nobody else: not a customer, and nobody who does not say who they are."""
    await desk.refuse(message("k", 1))
    for headers, expected in (({}, 401), (desk.headers("customer"), 403)):
        assert (await desk.http.get("/dead-letters", headers=headers)).status_code == expected
        for what in ("retry", "discard"):
            answer = await desk.http.post(f"/dead-letters/k-1/{what}", json=WHY, headers=headers)
            assert answer.status_code == expected
    assert len((await desk.read()).json()["items"]) == 1
