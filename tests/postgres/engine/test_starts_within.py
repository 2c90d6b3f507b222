"""Starts within a transaction of the caller's: there with it or not at all, and run as any other start is."""

import pytest

from services.orchestrator.engine import SagaConflict, SagaFilter, StartRequest
from tests.postgres.engine.conftest import ClusterOf, row_of
from tests.support.engine import LEASE_S, ONE, only
from tests.support.workflows import brief, single
from tests.support.world import Gate, held

REQUEST = StartRequest(workflow=brief.name, key="k", input=None)


@only(ONE)
@pytest.mark.scenario("I10")
async def test_it_runs_once_its_transaction_is_committed(cluster_of: ClusterOf) -> None:
    """Where there is room it is leased at once: it runs under its first lease, and no claim is made for it."""
    cluster = cluster_of(brief)
    gate = Gate()
    cluster.world.script("a", held(gate))
    first = await cluster.start(brief, key="first")
    async with cluster.running():
        await gate.reached.wait()  # the replica accepts sagas as long as this one runs
        async with cluster.replicas[0].database.begin() as conn:
            opened = await cluster.operations.start_within(conn, REQUEST)
            assert (await cluster.operations.find(SagaFilter(key="k"))).items == ()
        cluster.operations.begin(opened)
        assert (opened.started.created, opened.started.status) == (True, "queued")
        assert await row_of(cluster, opened.started.saga_id) == ("leased", 1)
        gate.open()
    for saga_id in (first, opened.started.saga_id):
        assert (await cluster.view(saga_id)).status == "completed"
    assert cluster.events.count("started") == 2


@only(ONE)
@pytest.mark.scenario("I10", "C8")
async def test_it_goes_with_its_transaction(cluster_of: ClusterOf) -> None:
    """What is rolled back was never started."""
    cluster = cluster_of(brief)
    with pytest.raises(ZeroDivisionError):
        async with cluster.replicas[0].database.begin() as conn:
            await cluster.operations.start_within(conn, REQUEST)
            raise ZeroDivisionError
    assert (await cluster.operations.find(SagaFilter())).items == ()
    await cluster.settle()
    assert (await cluster.operations.start(REQUEST)).created


@only(ONE)
@pytest.mark.scenario("RC3")
async def test_it_is_taken_over_if_nobody_begins_it(cluster_of: ClusterOf) -> None:
    """A replica that dies behind the commit leaves it to the next claim, at the latest when its lease has run out."""
    cluster = cluster_of(brief)
    async with cluster.replicas[0].database.begin() as conn:
        opened = await cluster.operations.start_within(conn, REQUEST)
    await cluster.advance(LEASE_S + 1)
    assert (await cluster.view(opened.started.saga_id)).status == "completed"
    assert len(cluster.world.calls) == 1


@only(ONE)
@pytest.mark.scenario("I1", "I2")
async def test_one_that_is_there_is_told_as_it_stands(cluster_of: ClusterOf) -> None:
    """The same input again is the same saga, with its status by then; another one is a conflict; neither begins it."""
    cluster = cluster_of(single)
    request = StartRequest(workflow=single.name, key="k", input="a")
    saga_id = await cluster.start(single, "a")
    for status in ("queued", "completed"):
        async with cluster.replicas[0].database.begin() as conn:
            opened = await cluster.operations.start_within(conn, request)
        cluster.operations.begin(opened)
        assert (opened.started.created, opened.started.saga_id, opened.started.status) == (False, saga_id, status)
        assert (await cluster.operations.start(request)).status == status
        await cluster.settle()
    assert cluster.events.count("started") == 1
    with pytest.raises(SagaConflict):
        async with cluster.replicas[0].database.begin() as conn:
            await cluster.operations.start_within(conn, StartRequest(workflow=single.name, key="k", input="b"))
