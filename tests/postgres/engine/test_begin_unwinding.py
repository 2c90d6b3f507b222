"""How a saga turns round: what it did last, and the turn itself, are written with the intent of its first undo."""

import pytest

from services.orchestrator.engine import TerminalError, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf, Unwindings
from tests.support.engine import ONE, SUSPENDING, THREE, Configuration, only
from tests.support.world import act, put_back, refused, undo


@workflow("hasty", version=1, undos=[undo, put_back])
async def hasty(ctx: WorkflowContext, _: None) -> None:
    """Two steps, an undo of its own, and a failure before anything else is written."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=undo)
    ctx.add_compensation(put_back, "c")
    raise TerminalError("no-way", "it cannot be done")


@workflow("refusal", version=1, undos=[undo])
async def refusal(ctx: WorkflowContext, is_undone: bool) -> None:
    """A step, and one that may have an undo, too."""
    await ctx.run(act, "a", compensate=undo)
    await ctx.run(act, "b", compensate=undo if is_undone else None)


@only(ONE, THREE, SUSPENDING)
@pytest.mark.scenario("K1", "G8")
async def test_what_was_done_last_is_undone_with_its_result(cluster_of: ClusterOf) -> None:
    """An undo that was registered, and a result that came, since the last flush are there when undoing begins."""
    cluster = cluster_of(hasty)
    saga_id = await cluster.start(hasty)
    view = await cluster.finish(saga_id)
    assert (view.status, view.error and view.error.code) == ("failed", "no-way")
    assert cluster.world.happened() == ["a", "b", "undo c", "undo b", "undo a"]
    outputs = [step.output for step in await cluster.operations.steps(saga_id) if step.kind == "step"]
    assert [cluster.world.called(f"undo {name}")[0].args for name in "ab"] == [(output,) for output in outputs]


@only(ONE)
@pytest.mark.scenario("K1")
@pytest.mark.parametrize("is_undone", [False, True])
async def test_turning_round_takes_no_flush_of_its_own(cluster_of: ClusterOf, is_undone: bool) -> None:
    """A refusal, the decision and the first undo's intent are one flush; what was refused is not undone."""
    cluster = cluster_of(refusal)
    cluster.world.script("b", refused())
    saga_id = await cluster.start(refusal, is_undone)
    view = await cluster.finish(saga_id)
    assert (view.status, view.error and view.error.code) == ("failed", "refused")
    assert cluster.world.happened() == ["a", "undo a"]
    decided = cluster.events.index("abort_decided")
    before_undo = cluster.events[decided : cluster.events.index("call_before", decided)]
    assert before_undo.count("flush_before") == 1
    assert before_undo.count("transition") == 1
    assert [undo.status for undo in view.compensations] == (["done", "waived"] if is_undone else ["done"])


@only(ONE, SUSPENDING)
@pytest.mark.scenario("K1")
async def test_who_has_written_the_undos_does_not_read_them(
    cluster_of: ClusterOf, configuration: Configuration, unwindings: Unwindings
) -> None:
    """A run remembers its undos and their results; one that walked over a log, or was claimed to unwind, reads them."""
    cluster = cluster_of(refusal)
    cluster.world.script("b", refused())
    view = await cluster.finish(await cluster.start(refusal, True))
    assert [undo.status for undo in view.compensations] == ["done", "waived"]
    remembered, read = (1, 0) if configuration is ONE else (0, 2)
    assert (unwindings.remembered, unwindings.read) == (remembered, read)
