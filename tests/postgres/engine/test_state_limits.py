"""State: what a name and a value may be, what is left of them when they are erased, and what cannot be read."""

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR


@workflow("private-state", version=1)
async def private_state(ctx: WorkflowContext, word: str) -> str | None:
    """Keep what is somebody's own."""
    ctx.state.set("word", word)
    ctx.state.set("gone", word)
    ctx.state.clear("gone")
    return ctx.state.get("word", str)


@only(ONE)
async def test_an_erased_saga_keeps_names_and_no_value(cluster_of: ClusterOf) -> None:
    """Erasing a subject takes the values, of what was cleared too, wherever they can be looked at."""
    cluster = cluster_of(private_state)
    saga_id = await cluster.start(private_state, "very private", subject="alice")
    await cluster.settle()
    assert (await cluster.view(saga_id)).state == {"word": "very private"}
    assert (await cluster.operations.erase("alice", by="root", reason="asked for")).erased == 1
    assert (await cluster.view(saga_id)).state == {"word": None}
    assert "very private" not in str(await cluster.operations.steps(saga_id))


@workflow("misnaming", version=1)
async def misnaming(ctx: WorkflowContext, good: list[str]) -> list[str]:
    """Use names that are none, each in every way, and some that are."""
    refused_names = []
    for name in ("", "x" * 201, "a\x00b", "\ud800"):
        for use in (ctx.state.clear, lambda one: ctx.state.get(one, int), lambda one: ctx.state.set(one, 1)):
            try:
                use(name)
            except ValueError as error:
                refused_names.append(type(error).__name__)
    for name in good:
        ctx.state.set(name, name)
    await ctx.sleep(HOUR)
    assert [ctx.state.get(name, str) for name in good] == good
    return refused_names


@only(ONE, THREE, SUSPENDING)
async def test_a_name_has_some_characters_and_no_nul(cluster_of: ClusterOf) -> None:
    """What no row can hold is refused where it is asked for, and takes no position; any other name is one."""
    good = ["x", "x" * 200, "a b", "clear_all", "set a", "日本 🛒", "$sealed"]
    cluster = cluster_of(misnaming)
    view = await cluster.run(misnaming, good)
    assert view.output == ["ValueError"] * 12
    assert view.state == {name: name for name in good}
    (first, *_) = await cluster.operations.steps(view.saga_id)
    assert (first.position, first.kind) == ("1", "state")


@workflow("weighty", version=1)
async def weighty(ctx: WorkflowContext, what: str) -> None:
    """Set what is too large, or what is not of its shape."""
    if what == "large":
        ctx.state.set("text", "x" * 3_000)
    else:
        ctx.state.set("text", what, int)


@only(ONE)
@pytest.mark.parametrize(("what", "told"), [("large", "limit of 2000 bytes"), ("odd", "cannot be written as int")])
async def test_a_value_that_cannot_be_kept_stops_the_saga(cluster_of: ClusterOf, what: str, told: str) -> None:
    """As for any payload there is a limit and a shape; the saga says so, and nothing is undone or written."""
    cluster = cluster_of(weighty, payload_limit=2_000)
    view = await cluster.run(weighty, what)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.state) == ("stuck", "workflow-error", {})
    assert told in view.attention.message


@only(ONE)
@pytest.mark.scenario("C4")
async def test_a_value_that_cannot_be_read_hides_nothing_else(
    cluster_of: ClusterOf, orchestrator_database: Database
) -> None:
    """Edited by hand to what is no JSON, or no write at all: the other values are shown."""
    cluster = cluster_of(misnaming)
    view = await cluster.run(misnaming, ["a", "b", "c"])
    for position, change in (("1", "output = 'garbage'"), ("2", "name = 'garbage'")):
        edit = Statement.of(f"update steps set {change} where position = '{position}'")
        async with orchestrator_database.begin() as conn:
            await conn.fetch(edit)
    assert (await cluster.view(view.saga_id)).state == {"a": None, "c": "c"}
