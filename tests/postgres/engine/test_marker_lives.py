"""The life of a version marker: asked for again, joined by another, met by the wrong code, moved, and taken out."""

from collections.abc import Callable

import pytest

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition
from tests.postgres.engine.conftest import ClusterOf
from tests.postgres.engine.marked import MINUTE, calls, finish, line, of, positions_of, sleeps
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, STEADY, act, undo, unreachable

FEW = only(ONE, THREE, SUSPENDING)


@FEW
@pytest.mark.scenario("V9")
async def test_the_same_name_at_the_same_place_has_one_answer(cluster_of: ClusterOf) -> None:
    """Asked twice with nothing between, a marker says the same both times, at first and on replay; it is one record."""

    async def twice(ctx: WorkflowContext, _: None) -> str:
        answers = [ctx.patched("new-way"), ctx.patched("new-way")]
        await ctx.sleep(MINUTE)
        answers += [ctx.patched("a.name~1"), ctx.patched("a.name~1")]
        await ctx.run(act, " ".join(map(str, answers)))
        await ctx.sleep(MINUTE)
        return " ".join(map(str, answers))

    cluster = cluster_of(of(twice))
    saga_id = await cluster.start(of(twice))
    await cluster.settle()
    await cluster.restart()
    await cluster.advance(61)
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, view.output) == ("completed", "True True True True")
    assert (await positions_of(cluster, saga_id))[:3] == ["0~new-way", "1", "1~a.name~1"]
    assert len(cluster.world.calls) == 1


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V9", "V13")
async def test_a_marker_put_before_another_at_the_same_place(cluster_of: ClusterOf) -> None:
    """A second change before the first: who passed with the first marker, of which alone the log tells, has passed."""

    def changed(*, twice: bool, broken: bool = False) -> WorkflowDefinition:
        async def code(ctx: WorkflowContext, _: None) -> None:
            await ctx.run(act, "first")
            if twice and ctx.patched("second-change"):
                await ctx.run(act, "newer")
            way = "new" if ctx.patched("new-way") else "old"
            if broken:
                raise ValueError("a bug right behind the marker")
            await ctx.run(act, way)
            await ctx.sleep(MINUTE)

        return of(code)

    cluster = cluster_of(changed(twice=False, broken=True), max_faults=1)
    saga_id = await cluster.start(changed(twice=False, broken=True))
    await cluster.settle()
    assert await positions_of(cluster, saga_id) == ["1", "1~new-way"]
    cluster.definitions = [changed(twice=True)]
    await cluster.restart()
    await cluster.operations.retry(saga_id, by="ann", reason="the code is mended")
    assert await finish(cluster, saga_id) == ["first", "new"]
    fresh = await cluster.start(changed(twice=True), key="fresh")
    assert await finish(cluster, fresh) == ["first", "newer", "new"]


@FEW
@pytest.mark.scenario("V9", "V13", "G17")
async def test_code_from_before_a_marker_stops_at_it(cluster_of: ClusterOf) -> None:
    """Code that does not ask for a recorded marker is stopped before any call; with the right code the saga goes on."""
    old, new = line(sleeps, marked=False), line(sleeps, marked=True)
    cluster = cluster_of(new)
    saga_id = await cluster.start(new)
    await cluster.settle()
    await cluster.restart([old])
    await cluster.advance(3_601)
    view = await cluster.view(saga_id)
    assert (view.status, view.attention and view.attention.reason) == ("stuck", "divergence")
    assert cluster.world.happened(saga_id) == ["first", "new"]
    await cluster.restart()
    await cluster.operations.retry(saga_id, by="ann", reason="the right code is back")
    assert await finish(cluster, saga_id) == ["first", "new", "last"]


@only(ONE, SUSPENDING)
@pytest.mark.scenario("V9", "G17")
async def test_a_marker_that_is_asked_for_elsewhere_is_a_divergence(cluster_of: ClusterOf) -> None:
    """A marker that was moved behind another step is not taken for one that is there: the saga stops before a call."""

    async def moved(ctx: WorkflowContext, _: None) -> None:
        await ctx.run(act, "first", compensate=undo)
        await ctx.run(act, "new", compensate=undo, retry=STEADY)
        ctx.patched("new-way")
        await ctx.run(act, "wrong")

    cluster = cluster_of(line(calls, marked=True))
    cluster.world.script("new", *[unreachable()] * 2)
    saga_id = await cluster.start(line(calls, marked=True))
    await cluster.settle()
    await cluster.restart([of(moved)])
    await cluster.finish(saga_id)
    view = await cluster.view(saga_id)
    assert (view.status, view.attention and view.attention.position) == ("stuck", "1~new-way")
    assert cluster.world.called("wrong") == []


@FEW
@pytest.mark.scenario("V9")
async def test_a_marker_is_taken_out_in_three_releases(cluster_of: ClusterOf) -> None:
    """Asked for, then deprecated, then gone: no saga of a release stops under the next one, and the last have none."""

    def release(ask: Callable[[WorkflowContext], object]) -> WorkflowDefinition:
        async def code(ctx: WorkflowContext, _: None) -> None:
            ask(ctx)
            await ctx.run(act, "new")
            await ctx.sleep(HOUR)
            await ctx.run(act, "last")

        return of(code)

    releases = [
        release(lambda ctx: ctx.patched("new-way")),
        release(lambda ctx: ctx.deprecate_patch("new-way")),
        release(lambda _: None),
    ]
    cluster = cluster_of(releases[0])
    for number, definition in enumerate(releases):
        saga_id = await cluster.start(definition, key=f"saga-{number}")
        await cluster.settle()
        cluster.definitions = [releases[min(number + 1, 2)]]
        await cluster.restart()
        view = await cluster.finish(saga_id)
        assert view.status == "completed", view.explanation
        assert cluster.world.happened(saga_id) == ["new", "last"]
        markers = [step for step in await cluster.operations.steps(saga_id) if step.kind == "marker"]
        assert len(markers) == (1 if number == 0 else 0)
