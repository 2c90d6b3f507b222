"""How many idempotency keys a user may have stored: bounded, without a look at the table, and never a lost answer."""

import httpx
import pytest

from services.chassis.clock import Clock
from services.chassis.inbound import idempotency
from services.chassis.inbound.limits import Budgets
from services.chassis.postgres.database import Database
from tests.postgres.chassis import shop as shops
from tests.postgres.chassis.shop import Shop, headers
from tests.postgres.chassis.test_outbox import rows
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("capsys")
MOST, AT_ONCE, DAY_S = 35, 5, 86_400


@pytest.fixture
def shop(database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Shop:
    limited = shops.SETTINGS.model_copy(update={"user_keys_max": MOST, "user_requests_per_s": 0})
    monkeypatch.setattr(shops, "SETTINGS", limited)
    return Shop(database, clock)


async def wish(client: httpx.AsyncClient, shop: Shop, key: str | None, *, sub: str = "alice") -> httpx.Response:
    return await client.post("/wishes", json={"what": "tea"}, headers=headers(shop, key, sub=sub))


async def test_a_user_may_store_so_many_keys(shop: Shop, client: httpx.AsyncClient, database: Database) -> None:
    """One key too many is 429 before its work and leaves no row; what is stored is answered, and others are not hit."""
    for number in range(AT_ONCE):
        assert (await wish(client, shop, f"k{number}")).status_code == 201
    refused = await wish(client, shop, "one-more")
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert "idempotency keys" in refused.json()["detail"]
    assert shop.handled == AT_ONCE
    (stored,) = await rows(database, "select count(*) from idempotency")
    assert stored[0] == AT_ONCE
    assert (await wish(client, shop, "k0")).headers["Idempotent-Replayed"] == "true"
    assert (await wish(client, shop, None)).status_code == 201
    assert (await wish(client, shop, "k0", sub="bob")).status_code == 201


async def test_a_refused_key_is_told_how_long_it_has_to_wait(
    shop: Shop, client: httpx.AsyncClient, clock: ManualClock
) -> None:
    """Retry-After is what it takes until a key may be stored again, however long: then it is, and not before."""
    for number in range(AT_ONCE):
        await wish(client, shop, f"k{number}")
    wait_s = int((await wish(client, shop, "one-more")).headers["Retry-After"])
    assert wait_s == idempotency.KEPT_DAYS * DAY_S // (MOST - AT_ONCE)
    clock.advance(wait_s - 10)
    refused = await wish(client, shop, "one-more")
    assert refused.status_code == 429
    clock.advance(int(refused.headers["Retry-After"]))
    assert (await wish(client, shop, "one-more")).status_code == 201


async def test_never_more_than_the_limit_is_stored(
    shop: Shop, client: httpx.AsyncClient, database: Database, clock: ManualClock
) -> None:
    """However greedy a user is, for days on end, what lives of her keys stays within the limit, and comes near it."""
    number, most = 0, 0
    for _ in range(12):
        clock.advance(DAY_S)
        while (await wish(client, shop, f"k{number}")).status_code == 201:
            number += 1
        async with database.begin() as conn:
            await idempotency.purge(conn, now=clock.now())
        (stored,) = await rows(database, "select count(*) from idempotency")
        most = max(most, stored[0])
    assert MOST - AT_ONCE <= most <= MOST


def test_zero_sets_no_limit() -> None:
    """USER_KEYS_MAX=0 never refuses."""
    budgets: Budgets = idempotency.key_budgets(0, Clock())
    assert [budgets.spend("user:alice") for _ in range(1_000)] == [0] * 1_000
