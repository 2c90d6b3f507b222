"""Operations whose answer was lost: they are committed, but their key has no answer, as when a service died between."""

import json
from typing import Any

import pytest

from services.chassis.inbound import answering
from services.chassis.postgres.sql import Statement
from tests.postgres.orchestrator.acts import start, steer
from tests.support.system import System

BEFORE = {"pause": (), "resume": ("pause",), "restart": ("pause",), "retry": ("pause", "stick"), "cancel": ()}
"""Each operation, and what comes before it."""
BODIES = {"restart": {"from_position": "1"}}
ALLOWING = {"pause": "ready", "resume": "paused", "restart": "paused", "retry": "stuck"}
"""Each operation, and a state that allows it."""
ALLOW = Statement.of(
    "update sagas set run_state = cast(:run_state as text), owner = null, attention = cast(:attention as text),"
    " due_at = case when cast(:run_state as text) = 'ready' then created_at end where key = 'order-1'"
)
STICK = Statement.of("update sagas set run_state = 'stuck', attention = :attention where key = 'order-1'")
ATTENTION = {"reason": "divergence", "message": "the code has changed"}


async def _broken(*_: object, **__: object) -> bool:
    raise ConnectionError("the service died")


async def _keyed(system: System, what: str, key: str = "k", **body: Any) -> Any:
    path = f"/sagas/{(await system.saga('order-1'))['saga_id']}/{what}"
    headers = system.admin | {"Idempotency-Key": key}
    return await system.call("POST", "orchestrator", path, json={"reason": "a test"} | body, headers=headers)


async def _unanswered(system: System, patch: pytest.MonkeyPatch, what: str, **body: Any) -> None:
    """Send an operation whose answer is not stored."""
    with patch.context() as dying:
        dying.setattr(answering, "store", _broken)
        assert (await _keyed(system, what, **body)).status_code >= 500


async def _bring_to(system: System, what: str) -> None:
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    for before in BEFORE[what]:
        if before == "pause":
            assert (await steer(system, "order-1", "pause")).status_code == 202
        else:
            async with system.apps["orchestrator"].state.database.begin() as conn:
                await conn.fetch(STICK, {"attention": json.dumps(ATTENTION)})


async def _count(system: System, what: str) -> int:
    saga_id = (await system.saga("order-1"))["saga_id"]
    answer = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    return [entry["action"] for entry in answer.json()["items"]].count(what)


async def _done_unanswered(system: System, monkeypatch: pytest.MonkeyPatch, what: str) -> int:
    """Have an operation done whose answer is lost; return how often it had been done before."""
    await _bring_to(system, what)
    done = await _count(system, what)
    await _unanswered(system, monkeypatch, what, **BODIES.get(what, {}))
    return done


@pytest.mark.parametrize("what", sorted(BEFORE))
async def test_an_operation_sent_again_is_not_refused(
    system: System, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The same request is answered with the saga as it stands by then, and changes nothing; the answer is kept."""
    body = BODIES.get(what, {})
    done = await _done_unanswered(system, monkeypatch, what)
    await system.settle()
    stands = await system.saga("order-1")
    again = await _keyed(system, what, **body)
    assert (again.status_code, again.json()) == (202, stands)
    assert await _count(system, what) == done + 1
    assert (await _keyed(system, what, **body)).headers["Idempotent-Replayed"] == "true"


async def test_another_request_is_refused_as_ever(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under another key it is not the request that has been done."""
    await _bring_to(system, "pause")
    await _unanswered(system, monkeypatch, "pause")
    answer = await _keyed(system, "pause", key="k-2")
    assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict")


@pytest.mark.parametrize("what", sorted(ALLOWING))
@pytest.mark.scenario("I2")
async def test_another_content_does_nothing_under_the_key(
    system: System, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The key belongs to what was done, also when its answer was lost, and when the state would allow it once more."""
    body = BODIES.get(what, {})
    done = await _done_unanswered(system, monkeypatch, what)
    async with system.apps["orchestrator"].state.database.begin() as conn:
        attention = json.dumps(ATTENTION) if what == "retry" else None
        await conn.fetch(ALLOW, {"run_state": ALLOWING[what], "attention": attention})
    answer = await _keyed(system, what, **body | {"reason": "another test"})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert await _count(system, what) == done + 1


@pytest.mark.scenario("I2")
async def test_a_start_whose_answer_cannot_be_stored_has_not_happened(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saga and answer are one transaction: the key is free then, also for another content."""
    keyed = system.service() | {"Idempotency-Key": "k"}
    with monkeypatch.context() as dying:
        dying.setattr(answering, "store", _broken)
        assert (await start(system, keyed)).status_code >= 500
    assert (await start(system, keyed, key="pay_2", input={"payment_id": "pay_2"})).status_code == 202
    assert (await start(system, keyed)).json()["code"] == "idempotency-key-reused"
    found = await system.call("GET", "orchestrator", "/sagas", headers=system.admin)
    assert [saga["key"] for saga in found.json()["items"]] == ["pay_2"]


async def test_a_request_is_known_again_for_as_long_as_answers_are_kept(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a week the key is a new one: what is asked for then is done."""
    await _bring_to(system, "pause")
    await _unanswered(system, monkeypatch, "pause")
    await system.pass_time(7 * 86_400 + 1)
    assert (await _keyed(system, "pause")).status_code == 409
