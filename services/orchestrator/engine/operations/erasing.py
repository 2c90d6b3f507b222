"""Erasing a subject: the payloads of its sagas go, their keys stay."""

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine.operations.requests import Once, OperationRequest
from services.orchestrator.engine.operations.views import Erased
from services.orchestrator.engine.store import erasure

BATCH = 200


class Erasing:
    """Blanks what ended sagas hold; what still lives is counted and left alone."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take where sagas are."""
        self._database = database
        self._clock = clock

    async def erase(self, subject: str, *, by: str, reason: str, once: Once | None = None) -> Erased:
        """Blank the payloads of a subject's ended sagas, batch by batch; repeating it erases what has ended since.

        The first batch claims the request: from its commit on the key is taken.
        """
        request = OperationRequest(by, reason, once)
        erased, batch = 0, BATCH
        while batch == BATCH:
            async with self._database.begin() as conn:
                if erased == 0:
                    await request.claim(conn)
                batch = await erasure.erase(conn, subject, limit=BATCH)
                if batch:
                    await audit.record(
                        conn,
                        action="erase",
                        subject_id=subject,
                        actor=request.by,
                        reason=request.reason,
                        details={"sagas": batch, **request.mark()},
                        now=self._clock.sql_now(),
                    )
            erased += batch
        async with self._database.autocommit() as conn:
            return Erased(erased, live=await erasure.count_left(conn, subject))
