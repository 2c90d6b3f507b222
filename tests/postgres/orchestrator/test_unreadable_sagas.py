"""A saga that somebody has edited by hand: what is asked of it is done without the garbage, or refused, saying why."""

from typing import Any

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.orchestrator.acts import steer, unpaid, waiting, waiting_for_approval
from tests.postgres.orchestrator.browser import Browser
from tests.support.system import System, succeeded

GARBAGE = ("garbage", '{"a": 1}', "[[1]]", '[[1, 2, 3, "2026-11-24T10:00:00Z", true, null, null]]')
STUCK = """run_state = 'stuck', due_at = null, owner = null,
           attention = '{"reason": "divergence", "message": "the code has changed", "position": "99"}'"""
CALL = """calls = '[["99", "a", 1, "2026-11-24T10:00:00Z", true, null, null]]'"""
CARRIED = """calls = '[["99", "a", 1, "2026-11-24T10:00:00Z", ["step", null, null], null, null]]'"""
UNDOING = "phase = 'compensating', outcome = 'failed'"
STATES = {"pause": "", "resume": "paused", "restart": "paused", "retry": STUCK, "skip": f"{STUCK}, {CALL}"}
"""Each operation, and how a saga stands that it is allowed on."""
BODIES: dict[str, dict[str, Any]] = {"skip": {"position": "99", "output": 1}, "restart": {"from_position": "2"}}
garbled = pytest.mark.parametrize("garbage", GARBAGE)


async def edit(database: Database, sql: str) -> None:
    async with database.begin() as conn:
        await conn.fetch(Statement.of(sql))


async def stand(database: Database, state: str) -> None:
    """Have the saga stand as an operation needs it."""
    if state == "paused":
        state = "run_state = 'paused', due_at = null, owner = null"
    if state:
        await edit(database, f"update sagas set {state}")


async def everything(database: Database) -> list[tuple[Any, ...]]:
    """All that is written of sagas, and of who did what."""
    found = []
    async with database.autocommit() as conn:
        for table in ("sagas", "steps", "compensations", "signals", "audit"):
            found += [tuple(row) for row in await conn.fetch(Statement.of(f"select * from {table} order by 1, 2"))]
    return found


def told(answer: Any, *words: str) -> None:
    """Assert that the saga cannot be read, and that the answer says what of it."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "saga-unreadable"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    for word in (*words, "mend it by hand", "cancel"):
        assert word in problem["detail"]


async def carried_out(system: System, what: str) -> dict[str, Any]:
    """Have an operation done, and return the saga as it stands once all is done that follows."""
    assert (await steer(system, "order-1", what)).status_code == 202
    await system.settle()
    return dict(await system.saga("order-1"))


@garbled
@pytest.mark.parametrize("what", STATES)
@pytest.mark.scenario("SEC-d", "V8")
async def test_what_needs_the_calls_is_refused(
    system: System, orchestrator_database: Database, what: str, garbage: str
) -> None:
    """The answer says what cannot be read and what to do about it, and nothing has changed."""
    await unpaid(system)
    await stand(orchestrator_database, STATES[what])
    await edit(orchestrator_database, f"update sagas set calls = '{garbage}'")
    before = await everything(orchestrator_database)
    told(await steer(system, "order-1", what, **BODIES.get(what, {})), "calls")
    assert await everything(orchestrator_database) == before


@garbled
@pytest.mark.parametrize("column", ["calls", "attention"])
@pytest.mark.scenario("SEC-d", "V8", "X3")
async def test_it_is_cancelled_without_them(
    system: System, orchestrator_database: Database, column: str, garbage: str
) -> None:
    """What is owed stands in rows of its own: everything is undone, and the saga ends."""
    await unpaid(system)
    await stand(orchestrator_database, STUCK)
    await edit(orchestrator_database, f"update sagas set {column} = '{garbage}'")
    saga = await carried_out(system, "cancel")
    assert saga["status"] == "cancelled"
    assert {undo["status"] for undo in saga["compensations"]} == {"done"}
    assert await system.status("order-1") == "cancelled"
    await system.check_balance()


@garbled
@pytest.mark.scenario("SEC-d", "V8")
async def test_a_saga_that_is_undone_goes_on_without_them(
    system: System, orchestrator_database: Database, garbage: str
) -> None:
    """Its undos need none of what its code was at, so that a retry drops it."""
    await unpaid(system)
    await stand(orchestrator_database, f"{UNDOING}, {STUCK}")
    await edit(orchestrator_database, f"update sagas set calls = '{garbage}'")
    assert (await carried_out(system, "retry"))["status"] == "failed"


@garbled
@pytest.mark.scenario("SEC-d", "V8")
async def test_why_it_is_stuck_matters_only_to_a_call_that_was_carried_over(
    system: System, orchestrator_database: Database, garbage: str
) -> None:
    """Whether that one may be skipped is said there; whatever else is done needs no reason, and renews it."""
    await unpaid(system)
    await stand(orchestrator_database, f"{STUCK}, {CARRIED}")
    await edit(orchestrator_database, f"update sagas set attention = '{garbage}'")
    told(await steer(system, "order-1", "skip", position="99"), "attention")
    await edit(orchestrator_database, f"update sagas set {CALL}")
    assert (await steer(system, "order-1", "skip", position="99")).status_code == 202
    await stand(orchestrator_database, STUCK)
    await edit(orchestrator_database, f"update sagas set calls = null, attention = '{garbage}'")
    assert (await steer(system, "order-1", "retry")).status_code == 202


@pytest.mark.parametrize(
    "edited",
    [
        "update steps set position = 'garbage' where position = '3'",
        "update steps set output = '{}' where kind = 'awakeable'",
        "update compensations set step_position = 'garbage'",
    ],
    ids=["position", "awakeable", "undo"],
)
@pytest.mark.scenario("SEC-d", "V8")
async def test_a_log_that_cannot_be_read_is_not_run_anew(
    system: System, orchestrator_database: Database, edited: str
) -> None:
    """Refused, with nothing changed; the log is shown all the same."""
    await unpaid(system)
    await stand(orchestrator_database, "paused")
    known = [step["name"] for step in await system.steps("order-1")]
    await edit(orchestrator_database, edited)
    before = await everything(orchestrator_database)
    told(await steer(system, "order-1", "restart", from_position="2"), "log")
    assert await everything(orchestrator_database) == before
    assert sorted(step["name"] for step in await system.steps("order-1")) == sorted(known)


@pytest.mark.parametrize("garbage", ["garbage", "[]", '"x"'])
@pytest.mark.scenario("SEC-d", "V8", "W8")
async def test_a_payment_whose_expectations_cannot_be_read_is_not_believed(
    system: System, orchestrator_database: Database, garbage: str
) -> None:
    """The processor is told, and sends it again until they are mended: then it counts."""
    payment = await unpaid(system)
    async with orchestrator_database.autocommit() as conn:
        expects = await conn.scalar(Statement.of("select expects from signals where kind = 'awakeable'"))
    await edit(orchestrator_database, f"update signals set expects = '{garbage}' where kind = 'awakeable'")
    told(await system.deliver(succeeded(payment)), "expectations")
    await system.settle()
    assert await system.status("order-1") == "pending_payment"
    await edit(orchestrator_database, f"update signals set expects = '{expects}' where kind = 'awakeable'")
    assert (await system.deliver(succeeded(payment))).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"


@pytest.mark.parametrize("garbage", ["garbage", "[]", '{"approved": "perhaps"}'])
@pytest.mark.scenario("SEC-d", "V8", "P5")
async def test_a_decision_that_cannot_be_read_is_neither_repeated_nor_changed(
    system: System, orchestrator_database: Database, garbage: str
) -> None:
    """Programs and people are told so."""
    path = await waiting(system)
    assert (await system.decide("order-1", path=path)).status_code == 200
    await edit(orchestrator_database, f"update signals set value = '{garbage}' where name = 'admin_approval'")
    for decision in ("approve", "reject"):
        answer = await system.decide("order-1", decision, path=path)
        assert (answer.status_code, answer.json()["code"]) == (409, "saga-unreadable"), answer.text
    browser = Browser(system)
    browser.accept = "text/html"
    await browser.sign_in()
    page = await browser.get(path)
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (409, "text/html")
    assert "cannot read" in page.text


@pytest.mark.parametrize("column", ["calls", "waits", "attention"])
@pytest.mark.parametrize(
    "garbage",
    [
        '[[1, 2, 3, "2026-11-24T10:00:00Z", true, null, null]]',
        '[["1", "a", "x", "2026-11-24T10:00:00Z", true, null, null]]',
        '[["1", "a", 1, "2026-11-24T10:00:00", true, null, null]]',
        '[["1", "a", 1, "2026-11-24T10:00:00Z", true, null, [1, 2]]]',
        '[[1, 2, "2026-11-24T10:00:00Z", 3, null]]',
        '{"reason": 1, "message": 2}',
    ],
)
@pytest.mark.scenario("SEC-d", "V8", "C4")
async def test_what_has_the_form_but_not_the_kind_hides_no_saga(
    system: System, orchestrator_database: Database, column: str, garbage: str
) -> None:
    """Numbers in the place of texts are as unreadable as anything else: the page and the saga are shown without."""
    await waiting_for_approval(system)
    await unpaid(system, "order-2")
    await stand(orchestrator_database, STUCK)
    await edit(orchestrator_database, f"update sagas set {column} = '{garbage}' where key = 'order-1'")
    found = await system.call("GET", "orchestrator", "/sagas", headers=system.admin)
    assert found.status_code == 200
    assert {saga["key"] for saga in found.json()["items"]} == {"order-1", "order-2"}
    assert f"cannot read its {column}" in (await system.saga("order-1"))["explanation"]
    assert await system.steps("order-1")


@pytest.mark.scenario("SEC-d", "V8", "ST1")
async def test_a_state_that_cannot_be_read_is_left_out(system: System, orchestrator_database: Database) -> None:
    """A write at a place that is none: the saga is shown, and said to have a state that cannot be read."""
    await unpaid(system)
    await edit(
        orchestrator_database,
        "insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output)"
        " select id, 'garbage', 'state', 'set x', 1, created_at, created_at, '1' from sagas",
    )
    saga = await system.saga("order-1")
    assert saga["state"] is None
    assert "cannot read its state" in saga["explanation"]
