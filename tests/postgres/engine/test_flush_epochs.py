"""Flushes and the epochs that they name: beside a flush of another epoch, and with a lease that is yet to be taken."""

from uuid import UUID

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.engine.model.flush import Flush, FlushAnswer, Grant
from services.orchestrator.engine.model.records import Attention, Kind, LogRecord, Signal, SignalKind, Undo
from services.orchestrator.engine.model.states import Phase, RunState
from services.orchestrator.engine.store import flushes, sagas
from tests.postgres.engine.conftest import ClusterOf
from tests.support.clock import ManualClock
from tests.support.engine import LEASE_S, Configuration, only
from tests.support.world import act, undo

IDLE = Configuration("idle", replicas=1)


@workflow("held-twice", version=1, undos=[undo])
async def held_twice(ctx: WorkflowContext, _: None) -> str:
    """One step."""
    return await ctx.run(act, "a", compensate=undo)


async def _claim(database: Database, clock: ManualClock) -> int:
    """Lease the saga, as a replica does; its new epoch."""
    async with database.autocommit() as conn:
        (saga,) = await sagas.claim(
            conn, versions=["held-twice@1"], owner="r", lease_s=LEASE_S, suspect=2, limit=1, now=clock.now()
        )
    return saga.epoch


def _flush(saga_id: UUID, epoch: int, clock: ManualClock, position: str) -> Flush:
    """A flush with a record, an undo and a signal of its own."""
    now = clock.now()
    record = LogRecord(position, Kind.STEP, "act", now, now, output="null", attempts=1)
    return Flush(
        saga_id,
        epoch,
        flush_no=1,
        phase=Phase.FORWARD,
        run_state=RunState.LEASED,
        undo_no=1,
        records=(record,),
        undos=(Undo(saga_id, epoch, "undo", f"{position}:undo", "[]"),),
        opened=(Signal(saga_id, f"signal-{position}", SignalKind.PROMISE, opened_at=now),),
    )


@only(IDLE)
@pytest.mark.scenario("CC4", "G6", "G8")
async def test_a_former_lease_writes_nothing_beside_the_present_one(
    cluster_of: ClusterOf, orchestrator_database: Database, clock: ManualClock
) -> None:
    """In a batch with the flush of a newer epoch, a stale flush of the same saga is lost, with everything it brings."""
    saga_id = UUID(await cluster_of(held_twice).start(held_twice))
    clock.advance(LEASE_S + 1)
    stale = _flush(saga_id, await _claim(orchestrator_database, clock), clock, "1")
    clock.advance(LEASE_S + 1)
    present = _flush(saga_id, await _claim(orchestrator_database, clock), clock, "2")
    async with orchestrator_database.autocommit() as conn:
        answers = await flushes.write(conn, [stale, present], now=clock.now())
    assert answers == [FlushAnswer.LOST, FlushAnswer.APPLIED]
    async with orchestrator_database.autocommit() as conn:
        for table, column in (("steps", "position"), ("compensations", "position"), ("signals", "name")):
            found = [name for (name,) in await conn.fetch(Statement.of(f"select {column} from {table}"))]
            assert [name for name in found if "2" not in name] == [], table
            assert len(found) == 1, table


@only(IDLE)
@pytest.mark.scenario("V13", "G6", "G17")
@pytest.mark.parametrize("run_state", [RunState.WAITING, RunState.STUCK])
async def test_no_turn_begins_in_memory_with_a_saga_that_does_not_wait(
    cluster_of: ClusterOf, orchestrator_database: Database, clock: ManualClock, run_state: RunState
) -> None:
    """A flush takes a lease where its saga waits since the epoch before; one that is stuck is an operator's."""
    saga_id = UUID(await cluster_of(held_twice).start(held_twice))
    epoch = await _claim(orchestrator_database, clock)
    attention = Attention("key-expired", "look there") if run_state is RunState.STUCK else None
    rests = _flush(saga_id, epoch, clock, "1")._replace(run_state=run_state, attention=attention)
    goes_on = _flush(saga_id, epoch + 1, clock, "2")._replace(flush_no=2, takes=Grant("r", LEASE_S))
    async with orchestrator_database.autocommit() as conn:
        assert await flushes.write(conn, [rests], now=clock.now()) == [FlushAnswer.APPLIED]
        (answer,) = await flushes.write(conn, [goes_on], now=clock.now())
    assert answer is (FlushAnswer.APPLIED if run_state is RunState.WAITING else FlushAnswer.LOST)
