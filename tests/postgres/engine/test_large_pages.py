"""Pages of sagas with large payloads: they end sooner, so that nobody else waits while they are written down."""

from collections.abc import Awaitable, Callable

import pytest

from services.orchestrator.engine import SagaFilter, SagaPage, WorkflowContext, workflow
from services.orchestrator.engine.operations.reading import PAYLOADS_OF_A_PAGE
from services.orchestrator.engine.operations.views import OpenPromisePage
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


async def pages(read: Callable[[str | None], Awaitable[SagaPage | OpenPromisePage]]) -> list[list[str]]:
    """Read page by page; the ids of the sagas on each."""
    page = await read(None)
    found = [[item.saga_id for item in page.items]]
    while page.next_cursor is not None:
        page = await read(page.next_cursor)
        found.append([item.saga_id for item in page.items])
    return found


@only(ONE)
@pytest.mark.scenario("S1")
async def test_a_page_of_sagas_ends_where_they_are_large(cluster_of: ClusterOf) -> None:
    """No page has more than one saga beyond the bound, none is empty, and together they have each saga once."""
    cluster = cluster_of(large)
    newest = (await started(cluster))[::-1]
    found = await pages(lambda cursor: cluster.operations.find(SagaFilter(limit=200, cursor=cursor)))
    assert found == [newest[:A_PAGE], newest[A_PAGE:]]


@only(ONE)
@pytest.mark.scenario("P1")
async def test_a_page_of_what_waits_ends_where_it_is_large(cluster_of: ClusterOf) -> None:
    """The sagas that wait for a promise are listed in pages of that size too, the oldest first, with their inputs."""
    cluster = cluster_of(large)
    sagas = await started(cluster)

    async def read(cursor: str | None) -> OpenPromisePage:
        page = await cluster.operations.open_promises("go", limit=200, cursor=cursor)
        assert all(waiting.input for waiting in page.items)
        return page

    assert await pages(read) == [sagas[: A_PAGE + 1], sagas[A_PAGE + 1 :]]
