"""Pages of sagas with large payloads: they end sooner, so that nobody else waits while they are written down."""

import pytest

from services.orchestrator.engine import SagaFilter, WorkflowContext, workflow
from services.orchestrator.engine.operations.reading import PAYLOADS_OF_A_PAGE
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, Cluster, only

LARGE = 1_000_000
A_PAGE = PAYLOADS_OF_A_PAGE // LARGE + 1
MANY = 2 * A_PAGE


@workflow("large", version=1, promises={"go": bool})
async def large(ctx: WorkflowContext, _: str) -> None:
    """Wait with a large input."""
    await ctx.promise("go").result()


async def started(cluster: Cluster) -> list[str]:
    """Start sagas, one after the other; the input of the first alone is small."""
    sagas = []
    for number in range(MANY):
        sagas.append(await cluster.start(large, "x" * (LARGE if number else 1), key=f"k-{number}"))
        await cluster.settle()
        cluster.clock.advance(1)
    return sagas


@only(ONE)
@pytest.mark.scenario("S1")
async def test_a_page_of_sagas_ends_where_they_are_large(cluster_of: ClusterOf) -> None:
    """No page has more than one saga beyond the bound, none is empty, and together they have each saga once."""
    cluster = cluster_of(large)
    sagas = await started(cluster)
    found: list[str] = []
    sizes, cursor = [], None
    while cursor is not None or not found:
        page = await cluster.operations.find(SagaFilter(limit=200, cursor=cursor))
        found += [saga.saga_id for saga in page.items]
        sizes.append(len(page.items))
        cursor = page.next_cursor
    assert found == sagas[::-1]
    assert sizes == [A_PAGE, A_PAGE]


@only(ONE)
@pytest.mark.scenario("P1")
async def test_a_page_of_what_waits_ends_where_it_is_large(cluster_of: ClusterOf) -> None:
    """The sagas that wait for a promise are listed in pages of that size too, the oldest first."""
    cluster = cluster_of(large)
    sagas = await started(cluster)
    found: list[str] = []
    sizes, cursor = [], None
    while cursor is not None or not found:
        page = await cluster.operations.open_promises("go", limit=200, cursor=cursor)
        found += [waiting.saga_id for waiting in page.items]
        assert all(waiting.input for waiting in page.items)
        sizes.append(len(page.items))
        cursor = page.next_cursor
    assert found == sagas
    assert sizes == [A_PAGE + 1, A_PAGE - 1]
