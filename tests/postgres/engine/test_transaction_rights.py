"""Transactions that the database does not let be: a table or a grant is missing, or it takes no writes for a while."""

from typing import Final, NamedTuple

import asyncpg
import pytest

from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Transaction
from tests.postgres.engine.conftest import ClusterOf
from tests.support import server
from tests.support.bookings import SCRIPT, Bookings, Disturbance, alone, fails
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, only

pytestmark = pytest.mark.usefixtures("bookings")

ALARMED: Final = Statement.of("select reason from audit where action = 'alarm.step-misconfigured'")
NO_WRITES: Final = Statement.of("select set_config('transaction_read_only', 'on', true)")
ADD: Final = Statement.of("insert into bookings (saga_id, key, name, value) values ('', '', 'x', 'x')")
TRIES: Final = 3
PAUSE_S: Final = 34
"""Longer than the pause between tries of what is misconfigured."""
OFTEN: Final = 12


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the pauses between tries move on."""
    return ManualClock(flowing=True)


class Lack(NamedTuple):
    """What somebody has forgotten, by what it does to the table; and what that is called."""

    done: str
    mended: str
    why: str


LACKS: Final = {
    "table": Lack("alter table bookings rename to away", "alter table away rename to bookings", "UndefinedTableError"),
    "column": Lack(
        "alter table bookings rename value to worth",
        "alter table bookings rename worth to value",
        "UndefinedColumnError",
    ),
    "grant": Lack(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise insufficient_privilege using message = 'permission denied for table bookings'; end $$;"
        " create trigger refused before insert on bookings for each row execute function refuse()",
        "drop function refuse() cascade",
        "InsufficientPrivilegeError",
    ),
}


async def run(url: str, script: str) -> None:
    """Do something to the database as its owner."""
    connection = await asyncpg.connect(server.direct(url))
    try:
        await connection.execute(script)
    finally:
        await connection.close()


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S14", "G2", "G5")
@pytest.mark.parametrize("lack", LACKS.values(), ids=LACKS)
async def test_what_is_missing_waits_for_a_person(cluster_of: ClusterOf, bookings: Bookings, lack: Lack) -> None:
    """Its only attempt is not used up, an alarm and the saga say what is missing; once it is there, it is done."""
    cluster = cluster_of(alone)
    await run(cluster.url, lack.done)
    try:
        saga_id = await cluster.start(alone, "a")
        for _ in range(TRIES):
            await cluster.settle()
            view = await cluster.view(saga_id)
            assert view.status == "waiting"
            assert lack.why in view.explanation
            await cluster.advance(PAUSE_S)
    finally:
        await run(cluster.url, lack.mended)
    async with bookings.database.autocommit() as conn:
        ((told,),) = await conn.fetch(ALARMED)
    assert told.startswith("book: ")
    await cluster.advance(PAUSE_S)
    view = await cluster.finish(saga_id)
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(saga_id))
    assert SCRIPT.runs == [("a", 1)]


async def writes_where_none_may(tx: Transaction) -> None:
    """Write in a transaction that takes none, as on a server that is no primary any more."""
    await tx.connection.fetch(NO_WRITES)
    await tx.connection.fetch(ADD)


@only(ONE)
@pytest.mark.scenario("S14", "RC13", "G2", "G5")
@pytest.mark.parametrize(
    "disturbance",
    [
        writes_where_none_may,
        fails(lambda: asyncpg.DiskFullError("no room")),
        fails(lambda: asyncpg.TooManyConnectionsError("too many clients already")),
    ],
    ids=["no-writes", "no-room", "no-connection"],
)
async def test_a_server_that_is_not_fit_counts_for_nothing(
    cluster_of: ClusterOf, bookings: Bookings, disturbance: Disturbance
) -> None:
    """However long it takes no writes, or has no room: that is no attempt, and no fault of the code."""
    cluster = cluster_of(alone)
    SCRIPT.add("a", *[disturbance] * OFTEN)
    view = await cluster.run(alone, "a")
    assert (view.status, {"a": [view.output]}) == ("completed", await bookings.of(view.saga_id))
    assert SCRIPT.runs == [("a", 1)] * (OFTEN + 1)
