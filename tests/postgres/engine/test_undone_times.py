"""What an end says of the undos before it: which were done, and when; not what an operator settled by hand."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import (
    RetryPolicy,
    Step,
    TerminalError,
    Transition,
    WorkflowContext,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.clock import ManualClock
from tests.support.world import Clients, act, dies, undo, unreachable

TOLD: Final[dict[str, Mapping[str, datetime]]] = {}
ONCE: Final = RetryPolicy(max_attempts=1)


async def send_back(step: Step[Clients], result: str | None, name: str) -> None:
    """Undo under another name."""
    await undo(step, result, name)


def ended(transition: Transition) -> Iterable[Message]:
    """Remember what is said of undos."""
    TOLD[transition.after] = transition.undone
    return ()


@workflow("trip", version=1, undos=[undo, send_back], undo_retry=ONCE, on_transition=ended)
async def trip(ctx: WorkflowContext, fail: bool) -> None:
    """Two steps whose undos have names of their own, and perhaps a failure."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=send_back)
    if fail:
        raise TerminalError("no-way", "it cannot be done")


@pytest.fixture(autouse=True)
def _nothing_told() -> Iterator[None]:
    TOLD.clear()
    yield
    TOLD.clear()


@pytest.mark.scenario("K1")
async def test_an_end_names_the_undos_that_were_done(cluster_of: ClusterOf, clock: ManualClock) -> None:
    """However often the saga has changed hands between two undos; a completed one has none."""
    cluster = cluster_of(trip)
    cluster.world.script("undo a", dies())
    assert (await cluster.run(trip, True, key="failing")).status == "failed"
    assert set(TOLD["failed"]) == {"undo", "send_back"}
    assert TOLD["failed"]["send_back"] <= TOLD["failed"]["undo"] <= clock.now()
    await cluster.run(trip, False, key="completed")
    assert TOLD["completed"] == {}


@pytest.mark.scenario("K4")
async def test_an_undo_that_an_operator_settled_is_not_named(cluster_of: ClusterOf) -> None:
    """Nobody is told that the code has done what a person says has been done."""
    cluster = cluster_of(trip)
    cluster.world.script("undo b", unreachable())
    view = await cluster.run(trip, True)
    assert view.status == "stuck"
    (position,) = [one.position for one in view.compensations if one.name == "send_back"]
    await cluster.operations.skip(view.saga_id, position, by="ann", reason="done by hand")
    assert (await cluster.finish(view.saga_id)).status == "failed"
    assert set(TOLD["failed"]) == {"undo"}
