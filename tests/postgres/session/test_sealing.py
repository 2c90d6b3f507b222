"""Keys of what is stored rotate: addresses stay readable, are sealed anew, and then the old key can go."""

import asyncio
from datetime import timedelta

from services.chassis.inbound.idempotency import KEPT_DAYS
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.session.store import addresses, erasure
from tests.postgres.session.shop import ADDRESS, opened
from tests.support.clock import ManualClock
from tests.support.waiters import until_somebody_waits

OLD, NEW = "the-old-key-of-what-is-stored-here", "the-new-key-of-what-is-stored-here"


async def test_an_old_key_can_go_once_everything_is_sealed_anew(
    session_database: Database, session_url: str, clock: ManualClock
) -> None:
    """Sealed by the old key, read with both, sealed anew in batches of any size, read without the old one."""
    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        await shop.stock("book", 10)
        for number in range(5):
            await shop.ordered(f"user-{number}", f"order-{number}", {"book": 1})
    both = Sealer([NEW, OLD])
    async with opened(session_url, clock, encryption_keys=f"{NEW},{OLD}") as shop:
        assert (await shop.order("user-0", "order-0"))["shipping_address"] == ADDRESS
    after: tuple[str, int] | None = ("", 0)
    counts = []
    while after is not None:
        async with session_database.autocommit() as conn:
            resealed = await addresses.reseal(conn, both, after=after, limit=2)
        after = resealed.after
        counts.append(resealed.changed)
    assert counts == [2, 2, 1]
    async with session_database.autocommit() as conn:
        assert (await addresses.reseal(conn, both, after=("", 0), limit=100)).changed == 0
    clock.advance(timedelta(days=KEPT_DAYS, seconds=1))  # fingerprints of requests under the old key are forgotten
    async with opened(session_url, clock, encryption_keys=NEW) as shop:
        for number in range(5):
            assert (await shop.order(f"user-{number}", f"order-{number}"))["shipping_address"] == ADDRESS
        repeated = await shop.check_out("user-1", order_id="order-1")
        assert repeated.status_code == 202  # the same address, whichever key has sealed it


async def test_an_address_that_cannot_be_opened_stops_no_other(
    session_database: Database, session_url: str, clock: ManualClock
) -> None:
    """Sealed with a key that nobody has any more, it stays as it is; those behind it are sealed anew."""
    for number, key in enumerate((OLD, "a-key-that-has-been-lost-for-ever-now", OLD)):
        async with opened(session_url, clock, encryption_keys=key) as shop:
            await shop.stock("book", 10)
            await shop.ordered(f"user-{number}", f"order-{number}", {"book": 1})
    async with session_database.autocommit() as conn:
        assert await addresses.reseal(conn, Sealer([NEW, OLD]), after=("", 0), limit=10) == (None, 2, 1)
        assert await addresses.reseal(conn, Sealer([NEW]), after=("", 0), limit=10) == (None, 0, 1)
    async with opened(session_url, clock, encryption_keys=NEW) as shop:
        assert (await shop.order("user-2", "order-2"))["shipping_address"] == ADDRESS


async def test_what_is_erased_stays_erased(session_database: Database, session_url: str, clock: ManualClock) -> None:
    """Sealing anew leaves an erased address alone, also one that is erased between its reading and its writing."""

    async def reseal() -> addresses.Resealed:
        async with session_database.autocommit() as conn:
            return await addresses.reseal(conn, Sealer([NEW, OLD]), after=("", 0), limit=10)

    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        await shop.stock("book", 10)
        await shop.ordered("alice", "order-1", {"book": 1})
        await shop.tell("order-1", "payment_failed")
        async with session_database.begin() as conn:
            assert await erasure.erase(conn, "alice") == 1
            resealing = asyncio.create_task(reseal())
            await until_somebody_waits(session_database)
        assert await resealing == (None, 0, 0)
        assert await reseal() == (None, 0, 0)
        assert (await shop.order("alice", "order-1"))["shipping_address"]["name"] == "erased"
