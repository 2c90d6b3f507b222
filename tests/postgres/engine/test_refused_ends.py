"""Postgres refuses what tells of a saga's end: the saga is stuck for all to see, or else its alarm sounds."""

from typing import Any

import pytest
import structlog

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import Transition, WorkflowContext, workflow
from services.orchestrator.engine.model.states import RunState
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, SUSPENDING, only
from tests.support.world import act

TOO_LATE_S = 1e300
"""A delay that no moment lies behind."""


def shout(_: Transition) -> list[Message]:
    """Announce what Postgres refuses."""
    return [Message(service="session", path="/events", key="k", body='"told"', name="shout", delay_s=TOO_LATE_S)]


@workflow("shouting", version=1, on_transition=shout)
async def shouting(ctx: WorkflowContext, name: str) -> str:
    """One step, and for some a bug."""
    await ctx.run(act, "a")
    if name == "fails":
        raise ValueError(name)
    return name


@only(ONE, SUSPENDING)
@pytest.mark.parametrize("name", ["fails", "completes"])
@pytest.mark.scenario("C2", "G19")
async def test_an_announcement_that_postgres_refuses_hides_no_fault(cluster_of: ClusterOf, name: str) -> None:
    """The saga is stuck, says why, and that it could not be announced; and it goes on once the code is right."""
    cluster = cluster_of(shouting)
    view = await cluster.run(shouting, name)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == (
        "stuck",
        "workflow-error" if name == "fails" else "engine-error",
    )
    assert "announcing it was refused: DatetimeFieldOverflowError" in view.attention.message
    assert '"told"' not in view.attention.message
    assert cluster.events.count("alarm") == 1
    if name == "completes":
        await cluster.restart([workflow("shouting", version=1)(shouting.fn)])
        await cluster.operations.retry(view.saga_id, by="ann", reason="repaired")
        assert (await cluster.finish(view.saga_id)).status == "completed"


@workflow("plain", version=1)
async def plain(ctx: WorkflowContext, _: None) -> None:
    """One step, then what the engine cannot take."""
    await ctx.run(act, "a")


@only(ONE)
@pytest.mark.scenario("G19", "C4")
async def test_a_fault_that_cannot_be_written_sounds_until_it_can(cluster_of: ClusterOf) -> None:
    """An alarm at every lease, and nothing raised into the void; once it can, the saga shows what it was."""
    cluster = cluster_of(plain)
    refusing = True

    def refuse(event: str, facts: tuple[Any, ...]) -> None:
        if event == "call_answered":
            raise RuntimeError("a fault of the engine")
        if event == "flush_before" and refusing and any(flush.run_state is RunState.STUCK for flush in facts[0]):
            raise ValueError("refused")

    cluster.on_event = refuse
    saga_id = await cluster.start(plain)
    with structlog.testing.capture_logs() as logs:
        for turn in (1, 2):
            await cluster.settle()
            assert cluster.events.count("alarm") == turn
            assert (await cluster.view(saga_id)).status == "running"
            cluster.clock.advance(LEASE_S + 1)
    assert [line["saga_id"] for line in logs if line["event"] == "saga.not_stuck"] == [saga_id] * 2
    refusing = False
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "engine-error")
