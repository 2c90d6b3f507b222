"""What is mended after a while: nothing that happened before is forgotten, and nothing is held against a saga."""

from typing import Final

import pytest

from services.chassis.errors import RemoteMisconfigured
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import CannotOperate, RetryPolicy, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.restarting import log_of
from tests.support.engine import ONE, only
from tests.support.workflows import thrice, undone_thrice
from tests.support.world import HOUR_S, Fault, act, answer_lost, refused, undo, unreachable

ALARMED: Final = Statement.of("select reason from audit where action = 'alarm.step-misconfigured' order by id")
HOURLY: Final = RetryPolicy(initial_s=HOUR_S, factor=1.0, max_s=HOUR_S, jitter=0.0)


@workflow("mended", version=1, undos=[undo])
async def mended(ctx: WorkflowContext, _: None) -> str:
    """A step that is tried every hour."""
    return await ctx.run(act, "a", compensate=undo, retry=HOURLY)


@workflow("mended", version=1)
async def forgetful(ctx: WorkflowContext, _: None) -> str:
    """The same code, whose undo somebody forgot to declare."""
    return await ctx.run(act, "a", compensate=undo, retry=HOURLY)


def not_let_in(words: str = "401") -> Fault:
    """A target that answers 401."""
    return Fault(error=lambda: RemoteMisconfigured(words, service="target"))


@only(ONE)
@pytest.mark.scenario("V13", "G8", "G17")
async def test_a_fault_of_the_code_forgets_no_unknown_outcome(cluster_of: ClusterOf) -> None:
    """A call took effect unseen; then its code was broken and mended. It is refused now, and undone all the same."""
    cluster = cluster_of(mended)
    cluster.world.script("a", answer_lost(), refused())
    saga_id = await cluster.start(mended)
    await cluster.settle()
    await cluster.restart([forgetful])
    await cluster.advance(HOUR_S + 1)
    assert (await cluster.view(saga_id)).status == "stuck"
    await cluster.restart([mended])
    await cluster.operations.retry(saga_id, by="ann", reason="mended")
    assert (await cluster.finish(saga_id)).status == "failed"
    assert cluster.world.happened() == ["a", "undo a"]
    assert [call.attempt for call in cluster.world.called("a")] == [1, 2]


@only(ONE)
@pytest.mark.scenario("R13")
@pytest.mark.parametrize(("flow", "call", "status"), [(thrice, "a", "completed"), (undone_thrice, "undo a", "failed")])
async def test_attempts_that_were_not_let_in_use_up_none(
    cluster_of: ClusterOf, flow: object, call: str, status: str
) -> None:
    """However often a target lets nobody in: once that is mended, all attempts of the policy are left."""
    cluster = cluster_of(thrice, undone_thrice)
    cluster.world.script(call, *[not_let_in()] * 4, unreachable(), unreachable())
    end = await cluster.run(thrice if flow is thrice else undone_thrice)
    assert end.status == status
    assert len(cluster.world.called(call)) == 7


@only(ONE)
@pytest.mark.parametrize(("flow", "call"), [(thrice, "a"), (undone_thrice, "undo a")])
async def test_what_goes_on_is_audited_once(cluster_of: ClusterOf, flow: object, call: str) -> None:
    """Every attempt that is not let in sounds an alarm; the audit log says so once, and again when it is another."""
    cluster = cluster_of(thrice, undone_thrice)
    cluster.world.script(call, *[not_let_in()] * 3, *[not_let_in("no such route")] * 2)
    await cluster.run(thrice if flow is thrice else undone_thrice)
    assert cluster.events.count("alarm") == 5
    async with cluster.replicas[0].database.begin() as conn:
        reasons = [reason for (reason,) in await conn.fetch(ALARMED)]
    name = "act" if flow is thrice else "undo"
    assert reasons == [f"{name}: 401", f"{name}: no such route"]


@workflow("mended", version=1, undos=[undo])
async def buggy(ctx: WorkflowContext, _: None) -> None:
    """The same step, and a bug behind it."""
    await ctx.run(act, "a", compensate=undo, retry=HOURLY)
    raise RuntimeError("a bug in the author's code")


@only(ONE)
@pytest.mark.scenario("V12")
async def test_a_result_that_a_target_gave_is_not_corrected(cluster_of: ClusterOf) -> None:
    """What was given by hand may be given anew; after a restart the step has a result of its own, which may not."""
    cluster = cluster_of(buggy)
    cluster.world.script("a", unreachable())
    saga_id = await cluster.start(buggy)
    await cluster.settle()
    await cluster.restart([forgetful])
    await cluster.advance(HOUR_S + 1)
    await cluster.operations.skip(saga_id, "1", by="ann", reason="a test", output="by hand")
    await cluster.restart([buggy])
    assert (await cluster.finish(saga_id)).status == "stuck"
    await cluster.operations.skip(saga_id, "1", by="ann", reason="a test", output="by hand, corrected")
    assert (await cluster.finish(saga_id)).status == "stuck"
    assert (await log_of(cluster, saga_id))["1"].output == "by hand, corrected"
    await cluster.operations.restart(saga_id, "1", by="ann", reason="a test")
    assert (await cluster.finish(saga_id)).status == "stuck"
    assert (await log_of(cluster, saga_id))["1"].output == "a#1"
    with pytest.raises(CannotOperate):
        await cluster.operations.skip(saga_id, "1", by="ann", reason="a test", output="by hand again")
    assert (await log_of(cluster, saga_id))["1"].output == "a#1"
