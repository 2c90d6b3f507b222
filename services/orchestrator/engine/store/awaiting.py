"""Which sagas wait for the ends of others: inserted with a call, deleted once the signal of the end is settled."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from services.chassis.postgres.connection import Connection, Row
from services.chassis.postgres.sql import Queries
from services.orchestrator.engine.model.calls import ChildEnd
from services.orchestrator.engine.model.codec import ERASED
from services.orchestrator.engine.model.records import ErrorInfo, NewSaga
from services.orchestrator.engine.store import sagas
from services.orchestrator.engine.store.columns import error_of

queries = Queries.beside(__file__, "awaiting.sql")
"""Read the statements of this module, once."""

ERASURE = ErrorInfo("erased", "what this saga has come to has been erased")

Awaiting = tuple[UUID, UUID]
"""A saga, and one that waits for its end."""


async def start_called(conn: Connection, new: Sequence[NewSaga], *, now: datetime | None) -> None:
    """Start called sagas in the caller's transaction; for those that exist, only the wait is inserted."""
    if not new:
        return
    starts = sagas.start_parameters(new, sagas.NO_LEASES, now)["sagas"]
    waiting = {"child_ids": [saga.id for saga in new], "parent_ids": [saga.parent_id for saga in new]}
    await conn.fetch(queries()["start_called"], {"now": now, "sagas": starts, **waiting})


async def ended(conn: Connection, *, limit: int) -> dict[UUID, ChildEnd]:
    """Read up to `limit` sagas that have ended and whose end somebody may wait for."""
    rows = await conn.fetch(queries()["awaited_ends"], {"erased": ERASED, "limit": limit})
    return {row["id"]: _end(row) for row in rows}


async def of_sagas(conn: Connection, saga_ids: Collection[UUID], *, limit: int) -> list[Awaiting]:
    """Read up to `limit` of those that wait for the ends of some sagas."""
    rows = await conn.fetch(queries()["awaiting_of"], {"saga_ids": list(saga_ids), "limit": limit})
    return [(row["child_id"], row["parent_id"]) for row in rows]


async def forget(conn: Connection, saga_ids: Collection[UUID], told: Sequence[Awaiting]) -> int:
    """Delete the waits that are over, in a transaction; return how many rows were written.

    A saga whose row is locked is left for the next time: another call of it may be committed now.
    """
    held = {row["id"] for row in await conn.fetch(queries()["hold_ended"], {"ids": list(saga_ids)})}
    if not held:
        return 0
    gone = [(child_id, parent_id) for child_id, parent_id in told if child_id in held]
    forgotten = await conn.affect(
        queries()["forget_awaiting"],
        {"child_ids": [child_id for child_id, _ in gone], "parent_ids": [parent_id for _, parent_id in gone]},
    )
    return forgotten + await conn.affect(queries()["await_no_more"], {"ids": list(held)})


def _end(row: Row) -> ChildEnd:
    saga_id = str(row["id"])
    if row["erased"]:
        return ChildEnd(saga_id, "erased", None, ERASURE)
    if row["outcome"] == "completed":
        return ChildEnd(saga_id, "completed", row["output"] or "null", None)
    return ChildEnd(saga_id, row["outcome"], None, error_of(row) or ErrorInfo("child-failed", ""))
