"""The saga without an end that docs/writing-a-saga.md shows: taken from the page, and killed at every point."""

import itertools
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from services.orchestrator.engine import (
    Operations,
    SagaFilter,
    StartRequest,
    Step,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, Cluster, only
from tests.support.events import AtPoint
from tests.support.pages import block_after, read
from tests.support.world import Clients, act, undo

PAGE = "docs/writing-a-saga.md"
MARK = "<!-- runs: tests/postgres/engine/test_documented_renewal.py -->"
MONTH_S = 30 * 86_400 + 60
"""A month, and what a replica that has died on the way has cost."""


class Member(BaseModel):
    """The input of the page's saga."""

    name: str
    month: int


async def charge(step: Step[Clients], member: Member) -> str:
    """Take a month's money."""
    return await act(step, f"month {member.month}")


async def give_back(step: Step[Clients], charged: str | None, member: Member) -> None:
    """Give it back."""
    await undo(step, charged, f"month {member.month}")


@pytest.fixture
def membership() -> WorkflowDefinition:
    """The block of the page, among what it names."""
    module = ModuleType("documented_renewal")
    named: dict[str, Any] = {"timedelta": timedelta, "workflow": workflow, "WorkflowContext": WorkflowContext}
    module.__dict__.update(named, Member=Member, charge=charge, give_back=give_back)
    exec(compile(block_after(read(PAGE), MARK), PAGE, "exec"), module.__dict__)
    found: WorkflowDefinition = module.__dict__["membership"]
    return found


async def _months(cluster: Cluster, name: str) -> dict[str, object]:
    """Return how every month of a member stands, by its key, as whoever looks for the user finds them."""
    page = await cluster.operations.find(SagaFilter(subject=name))
    return {view.key: view.output or view.status for view in page.items}


@only(ONE)
async def test_each_month_has_one_next(cluster_of: ClusterOf, membership: WorkflowDefinition) -> None:
    """Wherever the replica dies, a month is charged once and followed once, and the promise ends the last."""
    for point in itertools.count():
        name, cluster = f"ada-{point}", cluster_of(membership)
        cluster.on_event = dies = AtPoint(point)
        first = StartRequest("membership", f"{name}/1", {"name": name, "month": 1}, subject=name)
        await cluster.ask(partial(Operations.start, request=first))
        await cluster.settle()
        await cluster.advance(MONTH_S)
        assert await _months(cluster, name) == {f"{name}/1": "renewed", f"{name}/2": "waiting"}
        (last,) = (await cluster.operations.find(SagaFilter(subject=name, status="waiting"))).items
        ended = partial(Operations.resolve_promise, saga_id=last.saga_id, name="ended", value=True, by="ada")
        await cluster.ask(ended)
        await cluster.settle()
        assert await _months(cluster, name) == {f"{name}/1": "renewed", f"{name}/2": "ended"}
        assert cluster.world.happened() == ["month 1", "month 2"]
        await cluster.kill()
        if not dies.reached:
            break
    assert point > 20


@only(ONE, SUSPENDING)
async def test_a_cancel_gives_back_the_month_that_runs(cluster_of: ClusterOf, membership: WorkflowDefinition) -> None:
    """What earlier months have taken stays, and no month follows."""
    cluster = cluster_of(membership)
    await cluster.start(membership, {"name": "ada", "month": 1}, key="ada/1", subject="ada")
    await cluster.settle()
    await cluster.advance(MONTH_S)
    (running,) = (await cluster.operations.find(SagaFilter(subject="ada", status="waiting"))).items
    await cluster.operations.cancel(running.saga_id, by="ann", reason="enough")
    await cluster.advance(MONTH_S)
    assert await _months(cluster, "ada") == {"ada/1": "renewed", "ada/2": "cancelled"}
    assert cluster.world.happened() == ["month 1", "month 2", "undo month 2"]
