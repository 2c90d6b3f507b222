"""Names and texts that no column can hold are an author's error, told where they are given and before any effect."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import Transition, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.bookings import book
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.programs import note
from tests.support.workflows import brief
from tests.support.world import act

pytestmark = [only(ONE, SUSPENDING), pytest.mark.scenario("G17", "V1")]

Use = Callable[[WorkflowContext, str], Any]

USES: dict[str, Use] = {
    "step": lambda ctx, name: ctx.run(act, "a", name=name),
    "transaction": lambda ctx, name: ctx.transaction(book, "a", name=name),
    "key of a start": lambda ctx, name: ctx.start(brief, key=name, input=None),
    "subject of a start": lambda ctx, name: ctx.start(brief, key="k2", input=None, subject=name),
    "key of a call": lambda ctx, name: ctx.call(brief, key=name, input=None),
    "subject of a call": lambda ctx, name: ctx.call(brief, key="k2", input=None, subject=name),
    "status": lambda ctx, text: ctx.set_status(text),
    "marker": lambda ctx, name: ctx.patched(name),
    "old marker": lambda ctx, name: ctx.deprecate_patch(name),
    "state": lambda ctx, name: ctx.state.set(name, 1),
    "key of a message": lambda ctx, key: ctx.send(note("said", key)),
    "name of a message": lambda ctx, name: ctx.send(note(name, "k")),
}


def _using(use: Use, name: str) -> WorkflowDefinition:
    async def misnamed(ctx: WorkflowContext, _: None) -> str:
        """Use a name, or a text, after a message that may have been sent by then."""
        ctx.send(note("before", ctx.key))
        used = use(ctx, name)
        if isinstance(used, Awaitable):
            await used
        return "used"

    return workflow("misnamed", version=1)(misnamed)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800", "\udfff"])
@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
async def test_a_name_that_cannot_be_stored_is_a_bug_of_the_code(cluster_of: ClusterOf, use: Use, name: str) -> None:
    """It is told as one, with what was given; nothing is called, and corrected code goes on."""
    cluster = cluster_of(_using(use, name), brief)
    saga_id = await cluster.start(_using(use, name))
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert "ValueError" in view.attention.message
    assert cluster.world.calls == []
    await cluster.restart([_using(lambda ctx, good: ctx.set_status(good), "é ☃"), brief])
    await cluster.operations.retry(saga_id, by="ann", reason="mended")
    view = await cluster.finish(saga_id)
    assert (view.status, view.progress, view.output) == ("completed", "é ☃", "used")


def _announces(transition: Transition) -> list[Message]:
    return [note("a\0b", transition.key)]


@workflow("announced", version=1, on_transition=_announces)
async def announced(_ctx: WorkflowContext, _: None) -> None:
    """Nothing; its end cannot be told of."""


async def test_an_announcement_that_cannot_be_stored_is_told_as_one(cluster_of: ClusterOf) -> None:
    """The saga waits for a person, under the reason that names the author's function."""
    view = await cluster_of(announced).run(announced)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "on-transition")
