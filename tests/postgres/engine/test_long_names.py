"""What rows are found by, and what a message holds, has a length: more is an author's error, told where it is given."""

import random
import string
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import Transition, WorkflowContext, WorkflowDefinition, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.programs import note
from tests.support.workflows import brief

pytestmark = [only(ONE, SUSPENDING), pytest.mark.scenario("G17", "V1")]

LIMIT = 10_000
INDEXED = 500
Use = Callable[[WorkflowContext, str], Any]

USES: dict[str, Use] = {
    "subject of a start": lambda ctx, name: ctx.start(brief, key="k2", input=None, subject=name),
    "subject of a call": lambda ctx, name: ctx.call(brief, key="k2", input=None, subject=name),
    "marker": lambda ctx, name: ctx.patched(name),
    "old marker": lambda ctx, name: ctx.deprecate_patch(name),
    "key of a message": lambda ctx, key: ctx.send(note("said", key)),
}


def irregular(length: int) -> str:
    """A text that no compression makes short enough for an index."""
    return "".join(random.Random(length).choices(string.ascii_letters + "äöüß€☃\U0001f6d2", k=length))


def _using(use: Use, text: str) -> WorkflowDefinition:
    async def longwinded(ctx: WorkflowContext, _: None) -> str:
        """Use a text, after a message that may have been sent by then."""
        ctx.send(note("before", ctx.key))
        used = use(ctx, text)
        if hasattr(used, "__await__"):
            await used
        return "used"

    return workflow("longwinded", version=1)(longwinded)


@pytest.mark.parametrize("use", list(USES.values()), ids=list(USES))
async def test_what_rows_are_found_by_has_a_length(cluster_of: ClusterOf, use: Use) -> None:
    """Too long for an index, it is a bug of the code, and told as one; corrected code goes on."""
    definition = _using(use, irregular(INDEXED + 1))
    cluster = cluster_of(definition, brief)
    saga_id = await cluster.start(definition)
    view = await cluster.finish(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert f"ValueError: {_told(use)} has at most {INDEXED} characters, not {INDEXED + 1}" in view.attention.message
    await cluster.restart([_using(use, irregular(INDEXED)), brief])
    await cluster.operations.retry(saga_id, by="ann", reason="mended")
    assert (await cluster.finish(saga_id)).output == "used"


def _told(use: Use) -> str:
    (name,) = [name for name, known in USES.items() if known is use]
    return {
        "subject of a start": "the subject of a saga",
        "subject of a call": "the subject of a saga",
        "key of a message": "the key of a message",
    }.get(name, "a version marker")


@pytest.mark.parametrize("message_id", ["x" * 256, "é", "a\nb", "a\0", " ", '""', " a", '"a"'])
async def test_the_id_of_a_message_is_an_idempotency_key(cluster_of: ClusterOf, message_id: str) -> None:
    """Its receiver gets it as one; what is none would be sent for ever, or never."""

    def sending(_: WorkflowContext, given: str) -> None:
        _.send(replace(note("said", "k"), id=given))

    definition = _using(sending, message_id)
    view = await cluster_of(definition, brief).run(definition)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert "ValueError: the id of a message" in view.attention.message
    good = _using(sending, "~ " * 127 + "~")
    assert (await cluster_of(good, brief).run(good, key="good")).output == "used"


@pytest.mark.scenario("S6")
async def test_a_message_over_the_limit_is_refused_where_it_is_sent(cluster_of: ClusterOf) -> None:
    """It is a payload like any other: the author's code is told, with the limit, and may do without."""

    def sending(ctx: WorkflowContext, body: str) -> None:
        ctx.send(replace(note("said", "k"), body=f'"{body}"'))

    large, fits = _using(sending, "x" * LIMIT), _using(sending, "x" * (LIMIT - 2))
    view = await cluster_of(large, brief, payload_limit=LIMIT).run(large)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "workflow-error")
    assert f"PayloadError: the payload is larger than the limit of {LIMIT} bytes" in view.attention.message
    assert (await cluster_of(fits, brief, payload_limit=LIMIT).run(fits, key="fits")).output == "used"


def _announces(transition: Transition) -> list[Message]:
    return [replace(note("ended", transition.key), body=f'"{"x" * LIMIT}"')]


@workflow("announced at length", version=1, on_transition=_announces)
async def announced(_ctx: WorkflowContext, _: None) -> None:
    """Nothing; its end cannot be told of."""


async def test_an_announcement_over_the_limit_is_told_as_one(cluster_of: ClusterOf) -> None:
    """The saga waits for a person, under the reason that names the author's function."""
    view = await cluster_of(announced, payload_limit=LIMIT).run(announced)
    assert view.attention is not None
    assert (view.status, view.attention.reason) == ("stuck", "on-transition")
    assert str(LIMIT) in view.attention.message
