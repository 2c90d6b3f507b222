"""Keys of what is stored rotate: addresses stay readable, are sealed anew, and then the old key can go."""

import asyncio
from datetime import timedelta

import pytest

from services.chassis.inbound.idempotency import KEPT_DAYS
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.session.resealing import resealing
from services.session.store import addresses, erasure
from tests.postgres.session.shop import ADDRESS, check_refused, opened
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
        assert await addresses.reseal(conn, Sealer([NEW, OLD]), after=("", 0), limit=10) == (None, 2, ["order-1"])
        assert await addresses.reseal(conn, Sealer([NEW]), after=("", 0), limit=10) == (None, 0, ["order-1"])
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
        assert await resealing == (None, 0, [])
        assert await reseal() == (None, 0, [])
        assert (await shop.order("alice", "order-1"))["shipping_address"]["name"] == "erased"


@pytest.mark.usefixtures("session_database")
async def test_an_order_is_read_without_the_key_of_its_address(session_url: str, clock: ManualClock) -> None:
    """Its status, history and links are there, alone and in the list, and it can be cancelled; its address is not."""
    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        await shop.stock("book", 10)
        await shop.ordered("alice", "order-1", {"book": 1})
        await shop.tell("order-1", "cancelled")
    async with opened(session_url, clock, encryption_keys=NEW) as shop:
        await shop.ordered("alice", "order-2", {"book": 1}, key="k-2")
        order = await shop.order("alice", "order-1")
        assert set(order["shipping_address"].values()) == {"unreadable", "ZZ"}
        assert [entry["status"] for entry in order["history"]] == ["pending_payment", "cancelled"]
        shown = {item["order_id"]: item["shipping_address"] for item in (await shop.orders("alice")).json()["items"]}
        assert shown == {"order-1": order["shipping_address"], "order-2": ADDRESS}
    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        assert set((await shop.order("alice", "order-2"))["shipping_address"].values()) == {"unreadable", "ZZ"}
        assert (await shop.cancel("alice", "order-2")).status_code == 202


@pytest.mark.usefixtures("session_database")
async def test_whether_a_checkout_repeats_an_order_is_not_guessed_without_the_key(
    session_url: str, clock: ManualClock
) -> None:
    """503 until the key is back, unless another payment token tells already; a next attempt needs no old address."""
    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        await shop.stock("book", 10)
        await shop.ordered("alice", "order-1", {"book": 1})
    async with opened(session_url, clock, encryption_keys=NEW) as shop:
        unknown = await shop.check_out("alice", key="k-2", order_id="order-1")
        check_refused(unknown, 503, "address-unreadable")
        assert unknown.headers["retry-after"] == "60"
        other = await shop.check_out("alice", key="k-3", order_id="order-1", payment_token="tok_manual")
        check_refused(other, 409, "order-conflict")
    async with opened(session_url, clock, encryption_keys=f"{NEW},{OLD}") as shop:
        assert (await shop.check_out("alice", key="k-2", order_id="order-1")).status_code == 202
        await shop.tell("order-1", "payment_failed")
    async with opened(session_url, clock, encryption_keys=NEW) as shop:
        again = await shop.check_out("alice", key="k-4", order_id="order-1")
        assert (again.status_code, again.json()["attempt"]) == (202, 2)


@pytest.mark.usefixtures("session_database")
async def test_a_lost_key_is_an_alarm_at_every_start(session_url: str, clock: ManualClock) -> None:
    """One for all addresses that cannot be opened, once they have been looked through; it leaves one row in all."""
    async with opened(session_url, clock, encryption_keys=OLD) as shop:
        await shop.stock("book", 10)
        for number in range(3):
            await shop.ordered(f"user-{number}", f"order-{number}", {"book": 1})
    for _ in range(2):
        async with opened(session_url, clock, encryption_keys=NEW) as shop:
            resources = shop.app.state.resources
            loop = resealing(resources.database, resources.clock, resources.sealer, resources.metrics)
            while not await loop.run_once():
                pass
            counted = (await shop.client.get("/metrics")).text
            assert 'order_saga_alarms_total{kind="addresses-unreadable"} 1.0' in counted
            (row,) = await shop.rows("SELECT subject_id, reason FROM audit WHERE action = 'alarm.addresses-unreadable'")
            assert (row["subject_id"], row["reason"].split(" were ")[0]) == (
                "order-0",
                "addresses of 3 attempts at orders",
            )
