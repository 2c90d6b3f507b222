"""Idempotency keys, from the outside: one effect and one answer per key, for its time and in its scope."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from services.chassis.errors import Conflict, KeyReused
from services.chassis.inbound import idempotency
from services.chassis.inbound.answering import answer_without_transaction
from services.chassis.inbound.idempotency import IdempotencyKey, StoredAnswer
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.receiver import Gate
from tests.postgres.chassis.shop import Shop, SoldOut, headers
from tests.postgres.chassis.test_outbox import rows
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("capsys")


@pytest.fixture
def shop(database: Database, clock: ManualClock) -> Shop:
    return Shop(database, clock)


async def ordered(database: Database) -> int:
    (row,) = await rows(database, "select count(*) from audit")
    return int(row[0])


@pytest.mark.scenario("I1", "I10")
async def test_the_same_request_gets_the_same_answer(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """Status, body and headers come again, marked as a replay; the effect happened once."""
    first = await client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k"))
    again = await client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k"))
    assert (first.status_code, first.json()) == (201, {"number": 1})
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    for name in ("location", "content-type"):
        assert again.headers[name] == first.headers[name]
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert await ordered(database) == 1
    assert (shop.metric("new"), shop.metric("replayed")) == (1, 1)


@pytest.mark.scenario("I2", "I13")
async def test_another_body_is_a_mismatch_and_another_spelling_is_not(
    shop: Shop, client: httpx.AsyncClient, database: Database
) -> None:
    """The fingerprint is of the canonical JSON and the query: spaces and order of names do not count, values do."""
    given = headers(shop, "k") | {"Content-Type": "application/json"}
    await client.post("/orders/a", content=b'{"what": "tea", "how_many": 2}', headers=given)
    same = await client.post("/orders/a", content=b'{"how_many":2,\n"what":"\\u0074ea"}', headers=given)
    assert same.headers["Idempotent-Replayed"] == "true"
    for path, body in (("/orders/a", b'{"what": "tea"}'), ("/orders/a?x=1", b'{"what": "tea", "how_many": 2}')):
        other = await client.post(path, content=body, headers=given)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert await ordered(database) == 1
    assert shop.metric("mismatch") == 2


@pytest.mark.scenario("I3")
async def test_of_concurrent_requests_one_runs(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """While the first one runs the others are told to come again; afterwards they get its answer."""
    shop.gate = Gate()
    first = asyncio.create_task(client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k")))
    await shop.gate.reached.wait()
    others = await asyncio.gather(
        *(client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k")) for _ in range(5))
    )
    for other in others:
        assert (other.status_code, other.json()["code"], other.headers["Retry-After"]) == (409, "in-flight", "1")
    shop.gate.opened.set()
    assert (await first).status_code == 201
    again = await client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k"))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await ordered(database) == 1
    assert shop.metric("in_flight") == 5


@pytest.mark.scenario("I3")
async def test_a_storm_of_one_key_has_one_effect(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """However many requests race, every answer is the one answer or "still running"."""
    answers = await asyncio.gather(
        *(client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k")) for _ in range(40))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.text for answer in answers if answer.status_code == 201} == {'{"number": 1}'}
    assert await ordered(database) == 1


@pytest.mark.scenario("I4")
async def test_a_key_is_asked_for_where_it_is_required(shop: Shop, client: httpx.AsyncClient) -> None:
    """400 naming the header and the docs; elsewhere a request without a key simply runs, each time."""
    response = await client.post("/orders/a", json={"what": "tea"}, headers=headers(shop))
    assert (response.status_code, response.json()["code"]) == (400, "malformed")
    assert "Idempotency-Key" in response.json()["detail"]
    for number in (1, 2):
        response = await client.post("/wishes", json={"what": "tea"}, headers=headers(shop))
        assert response.json() == {"number": number}


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256, "é", "a\tb", "a\x7fb", '"é"'])
@pytest.mark.scenario("I5")
async def test_a_malformed_key_is_refused(shop: Shop, client: httpx.AsyncClient, key: str) -> None:
    """Empty, too long or not printable ASCII: 400, and nothing runs."""
    given = [*headers(shop).items(), ("Idempotency-Key", key.encode("latin-1"))]
    response = await client.post("/wishes", json={"what": "tea"}, headers=given)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["code"]) == (400, "malformed")
    assert shop.handled == 0
    assert shop.metric("invalid") == 1


async def test_two_keys_are_none(shop: Shop, client: httpx.AsyncClient) -> None:
    """A request with two Idempotency-Key headers is refused."""
    given = [*headers(shop).items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await client.post("/wishes", json={"what": "tea"}, headers=given)).status_code == 400


@pytest.mark.scenario("I6")
async def test_the_quoted_form_is_the_same_key(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """`"k"`, a string of structured fields, and `k` name one request; 255 characters are allowed in both."""
    for key in ("k" * 255, '"' + "k" * 255 + '"'):
        assert (await client.post("/wishes", json={"what": "tea"}, headers=headers(shop, key))).status_code == 201
    assert await ordered(database) == 1


@pytest.mark.scenario("I7")
async def test_keys_belong_to_caller_and_path(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """Another user's, another route's and another path's equal key is another key, and leaks nothing."""
    for path, sub in (("/orders/a", "alice"), ("/orders/a", "bob"), ("/orders/b", "alice"), ("/wishes", "alice")):
        response = await client.post(path, json={"what": "tea"}, headers=headers(shop, "k", sub=sub))
        assert "Idempotent-Replayed" not in response.headers
    assert await ordered(database) == 4


@pytest.mark.parametrize("what", ["later", "bad"])
@pytest.mark.scenario("I8")
async def test_a_passing_refusal_frees_the_key(
    shop: Shop, client: httpx.AsyncClient, database: Database, what: str
) -> None:
    """A refusal that is not final, and one before execution, leave neither an effect nor an answer."""
    for _ in range(2):
        response = await client.post("/wishes", json={"what": what}, headers=headers(shop, "k"))
        assert response.status_code in (409, 422)
        assert "Idempotent-Replayed" not in response.headers
    assert (await client.post("/wishes", json={"no": "order"}, headers=headers(shop, "k"))).status_code == 422
    assert await ordered(database) == 0
    assert (await client.post("/wishes", json={"what": "tea"}, headers=headers(shop, "k"))).status_code == 201


@pytest.mark.scenario("I9")
async def test_a_final_refusal_is_kept_and_its_effects_are_not(
    shop: Shop, client: httpx.AsyncClient, database: Database
) -> None:
    """A business refusal rolls back, and is the answer from then on."""
    first = await client.post("/wishes", json={"what": "gone"}, headers=headers(shop, "k"))
    again = await client.post("/wishes", json={"what": "gone"}, headers=headers(shop, "k"))
    assert (first.status_code, first.json()["code"]) == (409, "sold-out")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"
    assert again.content == first.content
    assert shop.handled == 1
    assert await ordered(database) == 0


@pytest.mark.scenario("I11")
async def test_the_lock_of_a_dead_request_is_free(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """A request that dies holds its key no longer than its transaction."""
    shop.gate = Gate()
    dying = asyncio.create_task(client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k")))
    await shop.gate.reached.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    shop.gate = None
    response = await client.post("/orders/a", json={"what": "tea"}, headers=headers(shop, "k"))
    assert response.status_code == 201
    assert await ordered(database) == 1


@pytest.mark.scenario("I12")
async def test_a_key_lives_seven_days(
    shop: Shop, client: httpx.AsyncClient, database: Database, clock: ManualClock
) -> None:
    """Until then it is remembered, after that it is new, purged or not."""
    day = 86_400
    await client.post("/wishes", json={"what": "tea"}, headers=headers(shop, "k"))
    clock.advance(7 * day - 1)
    replay = await client.post("/wishes", json={"what": "tea"}, headers=headers(shop, "k"))
    assert replay.headers["Idempotent-Replayed"] == "true"
    clock.advance(2)
    fresh = await client.post("/wishes", json={"what": "other"}, headers=headers(shop, "k"))
    assert fresh.json() == {"number": 2}
    replay = await client.post("/wishes", json={"what": "other"}, headers=headers(shop, "k"))
    assert replay.json() == {"number": 2}
    async with database.begin() as conn:
        assert await idempotency.purge(conn, now=clock.now()) == 0
        clock.advance(8 * day)
        assert await idempotency.purge(conn, now=clock.now()) == 1


async def test_work_outside_a_transaction_keeps_its_first_answer(database: Database, clock: ManualClock) -> None:
    """`recall` and `store`, for services that call out: what was stored first stays."""
    key = IdempotencyKey("service:x", "POST /y", "k", "fingerprint")
    answers: list[Any] = []
    async with database.begin() as conn:
        answers.append(await idempotency.recall(conn, key, now=clock.now()))
        for number in (1, 2):
            is_first = await idempotency.store(conn, key, StoredAnswer(200, str(number)), now=clock.now())
            assert is_first == (number == 1)
        answers.append(await idempotency.recall(conn, key, now=clock.now()))
        assert await conn.scalar(Statement.of("select count(*) from idempotency")) == 1
    assert answers[0] is None
    assert answers[1] == StoredAnswer(200, "1", {})


async def test_work_outside_a_transaction_has_one_answer(database: Database, clock: ManualClock) -> None:
    """Two requests under one key reach the work: both get what is stored first, and one with another body is told."""
    gates = {"same": Gate(), "other": Gate()}

    def slow(gate: Gate) -> Callable[[], Awaitable[StoredAnswer]]:
        async def work() -> StoredAnswer:
            await gate.pass_through()
            return StoredAnswer(201, "slow")

        return work

    async def quick() -> StoredAnswer:
        return StoredAnswer(201, "quick")

    async def ask(fingerprint: str, work: Callable[[], Awaitable[StoredAnswer]]) -> Response:
        return await answer_without_transaction(
            database, clock, IdempotencyKey("service:x", "POST /y", "k", fingerprint), work
        )

    waiting = [asyncio.create_task(ask(fingerprint, slow(gate))) for fingerprint, gate in gates.items()]
    for gate in gates.values():
        await gate.reached.wait()
    first = await ask("same", quick)
    for gate in gates.values():
        gate.opened.set()
    second, reused = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(second, Response)
    assert (first.body, second.body) == (b"quick", b"quick")
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert isinstance(reused, KeyReused)


async def test_work_outside_a_transaction_keeps_what_is_final(database: Database, clock: ManualClock) -> None:
    """A final refusal is its answer; one that passes, and an answer that is no 2xx, leave the key free."""
    key = IdempotencyKey("service:x", "POST /y", "k", "fingerprint")
    refusals: list[Conflict] = [Conflict("not at this moment"), SoldOut()]

    async def refuse() -> StoredAnswer:
        raise refusals.pop(0)

    async def disagree() -> StoredAnswer:
        return StoredAnswer(409, "{}")

    with pytest.raises(Conflict):
        await answer_without_transaction(database, clock, key, refuse)
    assert (await answer_without_transaction(database, clock, key, disagree)).status_code == 409
    answers = [await answer_without_transaction(database, clock, key, refuse) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert [b"sold-out" in answer.body for answer in answers] == [True, True]
    assert refusals == []
