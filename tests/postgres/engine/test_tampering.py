"""A database edited by hand: what does not fit is stopped before any effect, what fits is believed (SECURITY.md)."""

from dataclasses import replace
from typing import Final

import asyncpg
import pytest
import structlog

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import SagaFilter, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, SUSPENDING, Cluster, only
from tests.support.world import HOUR, HOUR_S, act, act_on, undo, undo_on

NOTICED: Final = {
    "renamed": "update steps set name = 'another' where position = '1'",
    "another-kind": "update steps set kind = 'timer' where position = '1'",
    "moved": "update steps set position = '9' where position = '1'",
    "no-json": "update steps set output = 'garbage' where position = '1'",
    "another-shape": """update steps set output = '{"a": 1}' where position = '1'""",
    "failed": "update steps set output = null, error_code = 'refused', error_message = 'no' where position = '1'",
    "deleted-first": "delete from steps where position = '1'",
    "deleted-second": "delete from steps where position = '2'",
    "added": """insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output)
                select saga_id, '5', kind, name, attempts, started_at, finished_at, output
                from steps where position = '1'""",
    "another-input": "update sagas set input = '5'",
}
REFUSED: Final = {
    "output-and-error": "update steps set error_code = 'refused', error_message = 'no'",
    "ended-and-waiting": "update sagas set phase = 'ended'",
    "no-return-and-unwinding": "update sagas set phase = 'compensating', outcome = 'failed', no_return = true",
    "due-and-stuck": "update sagas set run_state = 'stuck', attention = '{}'",
    "undone-twice": "insert into compensations select * from compensations",
}
BELIEVED: Final = {
    "another-value": ("""update steps set output = '"forged"' where position = '1'""", "forged"),
    "an-earlier-moment": ("""update steps set output = '"2000-01-01T00:00:00Z"' where position = '3'""", "a#1"),
}


@workflow("audited", version=1, undos=[undo, undo_on])
async def audited(ctx: WorkflowContext, _: None) -> str:
    """Two steps, an hour's sleep, a step with what the first one has given."""
    first = await ctx.run(act, "a", compensate=undo)
    await ctx.run(act_on, "b", first, compensate=undo_on)
    await ctx.sleep(HOUR)
    return await ctx.run(act_on, "c", first)


async def asleep(cluster_of: ClusterOf) -> tuple[Cluster, str]:
    """Run a saga up to its sleep, and let a fresh replica have it, which knows of its log what the database says."""
    cluster = cluster_of(audited)
    saga_id = await cluster.start(audited)
    await cluster.settle()
    await cluster.restart()
    return cluster, saga_id


async def edit(database: Database, statement: str) -> None:
    async with database.begin() as conn:
        await conn.fetch(Statement.of(statement))


@only(ONE, SUSPENDING)
@pytest.mark.scenario("SEC-d", "G17")
@pytest.mark.parametrize("statement", NOTICED.values(), ids=NOTICED.keys())
async def test_an_edit_that_does_not_fit_is_stopped(
    cluster_of: ClusterOf, orchestrator_database: Database, statement: str
) -> None:
    """A log that is not what this code has written stops the saga for a person: nothing is called, nothing undone."""
    cluster, saga_id = await asleep(cluster_of)
    await edit(orchestrator_database, statement)
    await cluster.advance(HOUR_S + 1)
    assert (await cluster.view(saga_id)).status == "stuck"
    assert [call.name for call in cluster.world.calls] == ["a", "b"]
    assert "alarm" in cluster.events


@only(ONE)
@pytest.mark.scenario("SEC-d")
@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED.keys())
async def test_an_edit_that_contradicts_itself_is_refused(
    cluster_of: ClusterOf, orchestrator_database: Database, statement: str
) -> None:
    """What no saga can be is refused by the database itself, and the saga goes on as if nobody had tried."""
    cluster, saga_id = await asleep(cluster_of)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await edit(orchestrator_database, statement)
    assert (await cluster.finish(saga_id)).status == "completed"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("SEC-d")
@pytest.mark.parametrize(("statement", "seen"), BELIEVED.values(), ids=BELIEVED.keys())
async def test_an_edit_that_fits_is_believed(
    cluster_of: ClusterOf, orchestrator_database: Database, statement: str, seen: str
) -> None:
    """The log is not signed: a value of the right shape is taken for what was recorded, and nothing is called again."""
    cluster, saga_id = await asleep(cluster_of)
    await edit(orchestrator_database, statement)
    view = await cluster.finish(saga_id)
    assert view.status == "completed"
    assert [(call.name, *call.args) for call in cluster.world.calls] == [("a",), ("b", "a#1"), ("c", seen)]


@only(ONE)
@pytest.mark.scenario("SEC-d", "G4")
async def test_a_forgotten_last_step_is_called_again_under_its_key(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """Without the end of its log a saga does that again, under the key by which the receiver recognises it."""
    cluster, saga_id = await asleep(cluster_of)
    await edit(orchestrator_database, "delete from steps where position in ('2', '3')")
    assert (await cluster.finish(saga_id)).status == "completed"
    assert [call.name for call in cluster.world.calls] == ["a", "b", "b", "c"]
    assert len({call.key for call in cluster.world.called("b")}) == 1
    assert cluster.world.happened() == ["a", "b", "c"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("SEC-d", "V8")
async def test_a_kind_of_record_that_nobody_knows_stops_its_saga_alone(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """A record that another release may have written is shown as a divergence; sagas claimed beside it go on."""
    cluster, saga_id = await asleep(cluster_of)
    beside = await cluster.start(audited, key="beside")
    await cluster.settle()
    await cluster.restart()
    await edit(orchestrator_database, f"update steps set kind = 'novel' where position = '1' and saga_id = '{saga_id}'")
    await cluster.advance(HOUR_S + 1)
    assert (await cluster.view(beside)).status == "completed"
    assert (await cluster.view(saga_id)).status == "stuck"
    assert (await cluster.operations.steps(saga_id))[0].kind == "unknown"


@only(ONE, SUSPENDING)
@pytest.mark.scenario("SEC-d", "V8")
@pytest.mark.parametrize("calls", ["garbage", '[["3","act",1,"2026-11-24T10:00:00Z",false,null,null,"novel"]]'])
async def test_a_row_that_cannot_be_read_is_passed_by(
    cluster_of: ClusterOf, orchestrator_database: Database, calls: str
) -> None:
    """A saga whose row is written as nobody here reads it is left alone until somebody can; those beside it go on."""
    cluster, saga_id = await asleep(cluster_of)
    beside = await cluster.start(audited, key="beside")
    await cluster.settle()
    await cluster.restart()
    await edit(orchestrator_database, f"update sagas set calls = '{calls}' where id = '{saga_id}'")
    with structlog.testing.capture_logs() as logs:
        for _ in range(8):
            await cluster.advance(HOUR_S / 4)
    assert (await cluster.view(beside)).status == "completed"
    assert [call.name for call in cluster.world.calls_of(saga_id)] == ["a", "b"]
    assert "saga.unreadable" in {entry["event"] for entry in logs}
    await edit(orchestrator_database, f"update sagas set calls = null where id = '{saga_id}'")
    await cluster.advance(LEASE_S + 1)
    assert (await cluster.view(saga_id)).status == "completed"


@only(ONE)
@pytest.mark.scenario("SEC-d", "V8", "C4")
@pytest.mark.parametrize("garbage", ["garbage", '{"a": 1}', "[[1]]", '[["timer", "sleep", 5, null, null]]'])
@pytest.mark.parametrize("column", ["calls", "waits", "attention", "input"])
async def test_a_row_that_cannot_be_read_is_listed_with_those_beside_it(
    cluster_of: ClusterOf, orchestrator_database: Database, column: str, garbage: str
) -> None:
    """People see it with what can be read of it, and are told what cannot; the page and its other rows are there."""
    cluster, saga_id = await asleep(cluster_of)
    beside = await cluster.start(audited, key="beside")
    stuck = ", run_state = 'stuck', due_at = null" if column == "attention" else ""
    await edit(orchestrator_database, f"update sagas set {column} = '{garbage}'{stuck} where id = '{saga_id}'")
    shown = {one.saga_id: one for one in (await cluster.operations.find(SagaFilter())).items}
    assert shown.keys() == {saga_id, beside}
    assert (shown[saga_id].key, shown[saga_id].status) == ("k", "stuck" if stuck else "waiting")
    is_json = column == "input" and garbage != "garbage"
    assert (f"cannot read its {column}:" in shown[saga_id].explanation) == (not is_json)
    assert "cannot read" not in shown[beside].explanation
    assert await cluster.view(saga_id) == replace(shown[saga_id], state={})
    assert (await cluster.operations.find(SagaFilter(reason="some"))).items == ()
    assert [step.name for step in await cluster.operations.steps(saga_id)] == ["act", "act_on", "sleep"]


@only(ONE)
@pytest.mark.scenario("SEC-d", "C4")
async def test_results_that_cannot_be_read_are_listed(cluster_of: ClusterOf, orchestrator_database: Database) -> None:
    """The output of a saga, and that of a step, are left out, and everything else of them is shown."""
    cluster, saga_id = await asleep(cluster_of)
    assert (await cluster.finish(saga_id)).status == "completed"
    await edit(orchestrator_database, "update sagas set output = 'garbage'")
    await edit(orchestrator_database, "update steps set output = 'garbage' where position = '1'")
    (shown,) = (await cluster.operations.find(SagaFilter(status="completed"))).items
    assert (shown.output, "cannot read its output:" in shown.explanation) == (None, True)
    first, *_ = await cluster.operations.steps(saga_id)
    assert (first.position, first.status, first.output) == ("1", "done", None)
