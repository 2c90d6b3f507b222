"""A claim takes no more than its limit, whichever way Postgres chooses to run it."""

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import StartRequest
from services.orchestrator.engine.store.queries import queries
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import LEASE_S, ONE, only
from tests.support.workflows import brief

DUE = 40
LIMIT = 5
WAYS = {
    "as-planned": (),
    "no-hash": ("hashjoin", "hashagg"),
    "nested-loops": ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize"),
    "nested-loops-over-whole-tables": (
        *("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize"),
        *("indexscan", "indexonlyscan", "bitmapscan"),
    ),
}


@only(ONE)
@pytest.mark.scenario("CC2", "G20")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
async def test_no_plan_claims_more_than_asked_for(
    cluster_of: ClusterOf, orchestrator_database: Database, way: tuple[str, ...]
) -> None:
    """With far more due than a claim asks for, it gives exactly its limit, also by plans that repeat a subquery."""
    cluster = cluster_of(brief)
    for number in range(DUE):
        await cluster.operations.start(StartRequest(workflow=brief.name, key=f"k-{number}", input=None, delay_s=1))
    cluster.clock.advance(2)
    async with orchestrator_database.begin() as conn:
        for kind in way:
            await conn.fetch(Statement.of(f"set local enable_{kind} = off"))
        claimed = await conn.fetch(
            queries()["claim"],
            {
                "versions": ["brief@1"],
                "owner": "somebody",
                "lease_s": float(LEASE_S),
                "suspect": 2,
                "limit": LIMIT,
                "now": cluster.clock.now(),
            },
        )
        assert len(claimed) == LIMIT
        assert await conn.scalar(Statement.of("select count(*) from sagas where run_state = 'leased'")) == LIMIT
