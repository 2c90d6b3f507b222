"""The audit log: what is recorded is found, newest first."""

from services.chassis import audit
from services.chassis.postgres.database import Database
from tests.support.clock import ManualClock


async def test_the_audit_log_pages_backwards(database: Database, clock: ManualClock) -> None:
    """Entries come newest first, by subject if asked, from a cursor on."""
    async with database.begin() as conn:
        for number in range(5):
            await audit.record(
                conn,
                action=f"a{number}",
                subject_id="s" if number % 2 == 0 else "t",
                actor="root",
                reason="why",
                details={"n": number},
                now=clock.now(),
            )
        page = await audit.find(conn, limit=2)
        assert [entry.action for entry in page] == ["a4", "a3"]
        assert [entry.action for entry in await audit.find(conn, cursor=page[-1].id, limit=9)] == ["a2", "a1", "a0"]
        found = await audit.find(conn, subject_id="s")
        assert [(entry.action, entry.details["n"]) for entry in found] == [("a4", 4), ("a2", 2), ("a0", 0)]
        assert found[0].at == clock.now()
        assert (found[0].actor, found[0].reason) == ("root", "why")
