"""Orders over HTTP: a user's own, newest first, page by page."""

import asyncio
from base64 import urlsafe_b64encode

import pytest

from services.session.store import orders
from tests.postgres.session.shop import Shop, check_refused
from tests.support.clock import ManualClock


async def many(shop: Shop, clock: ManualClock, count: int) -> list[str]:
    """Place orders one after another, two of them in every instant, and return their ids, newest first."""
    await shop.add("alice", "book")
    placed: list[str] = []
    for number in range(count):
        order_id = f"order-{number:02}"
        assert (await shop.check_out("alice", key=order_id, order_id=order_id)).status_code == 202
        assert (await shop.tell(order_id, "cancelled" if number % 3 else "payment_failed")).status_code == 204
        placed.append(order_id)
        if number % 2:
            clock.advance(1)
    return placed[::-1]


async def test_pages_cover_every_order_once(shop: Shop, clock: ManualClock) -> None:
    """Following the cursors gives each order once, newest first, also where several were placed at one instant."""
    expected = await many(shop, clock, 9)
    for limit in (1, 2, 4, 9, 200):
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = (await shop.orders("alice", limit=limit, **({"cursor": cursor} if cursor else {}))).json()
            assert len(page["items"]) <= limit
            seen += [order["order_id"] for order in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == expected, limit


async def test_a_page_ends_after_so_many_lines(shop: Shop, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large orders make short pages, of one order at least: nobody waits while two hundred of them are written down."""
    await shop.add("alice", "mug")
    expected = await many(shop, clock, 5)  # of two lines each
    for most, sizes in ((1, [1, 1, 1, 1, 1]), (2, [1, 1, 1, 1, 1]), (3, [2, 2, 1]), (4, [2, 2, 1]), (10, [5])):
        monkeypatch.setattr(orders, "LINES_OF_A_PAGE", most)
        pages: list[list[str]] = []
        after: dict[str, str] = {}
        while not pages or after:
            page = (await shop.orders("alice", **after)).json()
            pages.append([order["order_id"] for order in page["items"]])
            assert all(len(order["items"]) == 2 for order in page["items"])
            after = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        assert [order_id for page in pages for order_id in page] == expected
        assert [len(page) for page in pages] == sizes, most
    assert len((await shop.order("alice", expected[0]))["items"]) == 2


async def test_a_page_is_stable_while_orders_come_in(shop: Shop, clock: ManualClock) -> None:
    """An order placed meanwhile neither repeats nor hides any other on the next page."""
    expected = await many(shop, clock, 5)
    first = (await shop.orders("alice", limit=3)).json()
    await shop.ordered("alice", "order-99", {"mug": 1}, key="k-99")
    second = (await shop.orders("alice", limit=3, cursor=first["next_cursor"])).json()
    assert [order["order_id"] for order in first["items"] + second["items"]] == expected


async def test_the_status_filters(shop: Shop, clock: ManualClock) -> None:
    """A status gives the orders of that status alone, paged alike; an unknown status is 422."""
    expected = await many(shop, clock, 7)
    failed = [order_id for order_id in expected if int(order_id[-2:]) % 3 == 0]
    page = (await shop.orders("alice", status="payment_failed", limit=2)).json()
    rest = (await shop.orders("alice", status="payment_failed", limit=2, cursor=page["next_cursor"])).json()
    assert [order["order_id"] for order in page["items"] + rest["items"]] == failed
    assert rest["next_cursor"] is None
    assert (await shop.orders("alice", status="shipped")).json() == {"items": [], "next_cursor": None}
    check_refused(await shop.orders("alice", status="lost"), 422, "invalid")


@pytest.mark.parametrize("limit", ["0", "201", "-1", "x", "1.5", "1_0", "", "9" * 40])
async def test_a_limit_is_a_number_from_1_to_200(shop: Shop, limit: str) -> None:
    """A limit of another form or out of bounds is 422."""
    check_refused(await shop.orders("alice", limit=limit), 422, "invalid")


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b"null",
        b"5",
        b'"ab"',
        b'["2026-11-24T10:00:00", "o"]',
        b'["never", "o"]',
        b'[5, "o"]',
        b'["2026-11-24T10:00:00+00:00", "a\\u0000"]',
        b'["2026-11-24T10:00:00+00:00", "\\ud800"]',
        b'["0001-01-01T00:00:00+23:59", "o"]',
        b"[" * 200,
        b"[" * 6_000,
        b"\xff",
    ],
)
async def test_a_forged_cursor_is_refused(shop: Shop, text: bytes) -> None:
    """A cursor that this listing has not given is 422, never a 5xx, and the fault says that it is the cursor."""
    answer = await shop.orders("alice", cursor=urlsafe_b64encode(text).decode())
    check_refused(answer, 422, "invalid")
    assert [fault["where"] for fault in answer.json()["errors"]] == ["query.cursor"]


@pytest.mark.parametrize("cursor", ["!", "a", "é", "%00", "x" * 301])
async def test_a_cursor_that_is_no_base64_is_refused(shop: Shop, cursor: str) -> None:
    """Text that is no cursor at all is 422."""
    check_refused(await shop.orders("alice", cursor=cursor), 422, "invalid")


async def test_orders_are_their_users_own(shop: Shop) -> None:
    """Another user's order is 404 like one that does not exist, and in nobody else's listing."""
    await shop.ordered("alice", "order-1", {"book": 1})
    for order_id in ("order-1", "order-2"):
        answer = await shop.client.get(f"/users/bob/orders/{order_id}", headers=shop.bearer("bob"))
        check_refused(answer, 404, "not-found")
    assert (await shop.orders("bob")).json()["items"] == []


async def test_an_order_reads_the_same_alone_and_in_the_listing(shop: Shop) -> None:
    """The listing tells of each order what the order itself tells."""
    await shop.ordered("alice", "order-1", {"book": 2, "mug": 1})
    (listed,) = (await shop.orders("alice")).json()["items"]
    assert listed == await shop.order("alice", "order-1")
    assert set(listed) == {
        "order_id",
        "attempt",
        "status",
        "items",
        "total",
        "shipping_address",
        "history",
        "links",
    }
    assert listed["history"][0]["at"] == "2026-11-24T10:00:00Z"


async def test_many_users_order_at_once(shop: Shop) -> None:
    """Concurrent orders of many users all succeed and each sees its own."""
    users = [f"user-{number}" for number in range(12)]
    await asyncio.gather(*(shop.add(user, "book") for user in users))
    answers = await asyncio.gather(*(shop.check_out(user) for user in users))
    assert {answer.status_code for answer in answers} == {202}
    for user, answer in zip(users, answers, strict=True):
        (order,) = (await shop.orders(user)).json()["items"]
        assert order["order_id"] == answer.json()["order_id"]
