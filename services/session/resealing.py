"""Moving stored addresses to the newest encryption key, so that older keys can be retired.

It goes through all addresses once after each start of the service. Addresses whose key is missing raise one alarm.
"""

from typing import Final

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.metrics import Metrics
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.session.store import addresses

ADDRESSES_UNREADABLE: Final = "addresses-unreadable"
_BATCH: Final = 200
_BEFORE_ALL: Final = ("", 0)
_A_DAY_S: Final = 86_400.0


def resealing(database: Database, clock: Clock, sealer: Sealer, metrics: Metrics) -> Loop:
    """Return the loop that reseals one batch of addresses per run, and sleeps once it has been through all of them."""
    after: tuple[str, int] | None = _BEFORE_ALL
    first_lost, lost = "", 0

    async def reseal() -> float:
        nonlocal after, first_lost, lost
        if after is None:
            if lost:
                await _raise_alarm(database, clock, metrics, first_lost, lost)
                lost = 0
            return _A_DAY_S
        async with database.autocommit() as conn:  # each row is its own transaction: nobody waits for a whole batch
            done = await addresses.reseal(conn, sealer, after=after, limit=_BATCH)
        if done.changed:
            get_logger("session.sealing").info("addresses.resealed", count=done.changed)
        if done.lost:
            first_lost, lost = first_lost or done.lost[0], lost + len(done.lost)
        after = done.after
        return 0

    return Loop("resealing", reseal, clock=clock)


async def _raise_alarm(database: Database, clock: Clock, metrics: Metrics, order_id: str, count: int) -> None:
    """Raise one alarm for all addresses that cannot be opened; it names the first order."""
    reason = f"addresses of {count} attempts at orders were sealed with a key that is not among ENCRYPTION_KEYS"
    async with database.begin() as conn:
        await audit.alarm_once(conn, ADDRESSES_UNREADABLE, subject_id=order_id, reason=reason, now=clock.sql_now())
    metrics.alarm(ADDRESSES_UNREADABLE, order_id=order_id, reason=reason)
