"""What follows a failure: no pause after the last one, and pauses of their own for those that fail together."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest

from services.chassis.errors import RemoteMisconfigured, RemoteUnknown
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, Cluster, only
from tests.support.workflows import thrice, undone_thrice
from tests.support.world import Fault, act, dies, undo, unreachable

TOGETHER = 300
PARTS = 10
DUE = Statement.of("select due_at from sagas where run_state = 'waiting'")


@workflow("given-up", version=1, undos=[undo])
async def given_up(ctx: WorkflowContext, _: None) -> None:
    """A step and a failure, both by the policies that nobody has chosen."""
    await ctx.run(act, "a", compensate=undo)
    raise TerminalError("no-way", "it cannot be done")


@pytest.mark.scenario("R8")
@pytest.mark.parametrize("last", [unreachable(), dies(applied=False)], ids=["unanswered", "interrupted"])
async def test_the_last_failure_is_told_at_once(cluster_of: ClusterOf, last: Fault) -> None:
    """When the third of three attempts has failed, or was cut off by a death, the saga ends without another pause."""
    cluster = cluster_of(thrice)
    cluster.world.script("a", unreachable(), unreachable(), last)
    saga_id = await cluster.start(thrice)
    await _three_attempts(cluster, "a")
    view = await cluster.view(saga_id)
    assert (view.status, view.finished_at) == ("failed", cluster.clock.now())
    assert view.error is not None
    assert view.error.code == "step-exhausted"
    assert cluster.world.calls[-1].name == "undo a"
    (step,) = await cluster.operations.steps(saga_id)
    assert (step.attempts, step.finished_at) == (3, view.finished_at)


@pytest.mark.scenario("R8", "K4")
async def test_the_last_failure_of_an_undo_is_told_at_once(cluster_of: ClusterOf) -> None:
    """When the third of three attempts at an undo has failed, the saga is stuck without another pause."""
    cluster = cluster_of(undone_thrice)
    cluster.world.script("undo a", *[unreachable()] * 3)
    saga_id = await cluster.start(undone_thrice)
    await _three_attempts(cluster, "undo a")
    view = await cluster.view(saga_id)
    assert (view.status, view.updated_at) == ("stuck", cluster.clock.now())


async def _three_attempts(cluster: Cluster, name: str) -> None:
    """Let time pass until the pauses before the second and the third attempt are over, and not a moment more."""
    await cluster.settle()
    for attempt, pause_s in ((2, 1.0), (3, 2.0)):
        assert len(cluster.world.called(name)) == attempt - 1
        await cluster.advance(pause_s)
    assert len(cluster.world.called(name)) == 3


def _busy() -> Exception:
    return RemoteUnknown("busy", service="target", retry_after_s=30.0)


def _not_let_in() -> Exception:
    return RemoteMisconfigured("401", service="target")


@only(ONE)
@pytest.mark.scenario("R10", "R9")
@pytest.mark.parametrize("failing", ["a", "undo a"])
@pytest.mark.parametrize(
    ("error", "pause_s"),
    [(ConnectionError, 0.2), (_busy, 30.0), (_not_let_in, 30.0)],
    ids=["unanswered", "retry-after", "not-let-in"],
)
async def test_sagas_that_fail_together_do_not_retry_together(
    cluster_of: ClusterOf, failing: str, error: Callable[[], Exception], pause_s: float
) -> None:
    """Hundreds that failed in one moment come back over a tenth of their pause, not earlier and not in one spike."""
    cluster = cluster_of(given_up)
    cluster.world.script(failing, *[Fault(error=error)] * TOGETHER)
    for number in range(TOGETHER):
        await cluster.start(given_up, key=f"k-{number}")
    await cluster.settle()
    assert len(cluster.world.called(failing)) == TOGETHER
    shares = [pause / pause_s - 1 for pause in await _pauses(cluster, cluster.clock.now())]
    assert len(shares) == TOGETHER
    assert min(shares) >= 0
    assert max(shares) < 0.1
    parts = Counter(int(share / 0.1 * PARTS) for share in shares)
    assert max(parts.values()) <= 2 * TOGETHER / PARTS


async def _pauses(cluster: Cluster, since: datetime) -> list[float]:
    """How many seconds each saga waits before it tries again."""
    async with cluster.replicas[0].database.autocommit() as conn:
        return [(due_at - since).total_seconds() for (due_at,) in await conn.fetch(DUE)]
