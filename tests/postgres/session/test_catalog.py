"""The catalogue: anyone may look, an administrator sets prices and stock."""

from typing import Any

import pytest

from services.chassis.postgres.database import Database
from tests.postgres.session.shop import USD_19_99, Shop, check_refused, opened
from tests.support.clock import ManualClock


async def test_anyone_sees_what_is_available(shop: Shop) -> None:
    """The catalogue needs no credentials and counts what is on hand and not held."""
    await shop.reserve("order-1", {"book": 4})
    items = (await shop.client.get("/catalog")).json()
    assert items == [
        {"sku": "book", "name": "The book", "price": USD_19_99, "available": 6},
        {"sku": "mug", "name": "The mug", "price": USD_19_99, "available": 5},
    ]


async def test_stock_sets_what_is_on_hand(shop: Shop) -> None:
    """A stock of 7 means 7 pieces on hand, also when repeated; 4 held of them leave 3."""
    await shop.reserve("order-1", {"book": 4})
    for _ in range(2):
        answer = await shop.stock("book", 7, price={"amount_minor": 2500, "currency": "USD"})
        assert answer.json() == {
            "sku": "book",
            "name": "The book",
            "price": {"amount_minor": 2500, "currency": "USD"},
            "available": 3,
        }
    await shop.check_balance({"book": 7, "mug": 5})


async def test_held_pieces_cannot_be_edited_away(shop: Shop) -> None:
    """A stock below what open orders hold is refused and changes nothing."""
    await shop.reserve("order-1", {"book": 4})
    check_refused(await shop.stock("book", 3), 409, "stock-held")
    assert (await shop.stock("book", 4)).json()["available"] == 0


async def test_the_currency_stays(shop: Shop) -> None:
    """A product's currency cannot change."""
    check_refused(await shop.stock("book", 3, price={"amount_minor": 1, "currency": "EUR"}), 409, "currency-fixed")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Book", "price": USD_19_99},
        {"name": "Book", "price": USD_19_99, "stock": -1},
        {"name": "Book", "price": USD_19_99, "stock": "5"},
        {"name": "Book", "price": USD_19_99, "stock": True},
        {"name": "Book", "price": USD_19_99, "stock": 5.5},
        {"name": "Book", "price": USD_19_99, "stock": 10**12},
        {"name": "", "price": USD_19_99, "stock": 5},
        {"name": "Bo\u0000ok", "price": USD_19_99, "stock": 5},
        {"name": "Bo\u202eok", "price": USD_19_99, "stock": 5},
        {"name": "Book", "price": {"amount_minor": 0, "currency": "USD"}, "stock": 5},
        {"name": "Book", "price": {"amount_minor": 10, "currency": "usd"}, "stock": 5},
        {"name": "Book", "price": {"amount_minor": 10}, "stock": 5},
        {"name": "Book", "price": USD_19_99, "stock": 5, "colour": "red"},
    ],
)
async def test_an_invalid_product_is_refused(shop: Shop, body: dict[str, Any]) -> None:
    """What is missing, of another type, out of bounds or unknown is 422."""
    answer = await shop.client.put("/catalog/book", json=body, headers=shop.bearer("root", "admin"))
    check_refused(answer, 422, "invalid")


async def test_an_edit_leaves_an_audit_row(shop: Shop) -> None:
    """Who set a price and a stock, and to what, is kept."""
    rows = await shop.rows("SELECT action, subject_id, actor, details FROM audit ORDER BY id")
    assert (rows[0]["action"], rows[0]["subject_id"], rows[0]["actor"]) == ("catalog.put", "book", "root")


async def test_a_development_start_seeds_the_catalogue_once(
    session_database: Database, session_url: str, clock: ManualClock
) -> None:
    """A first start puts products on the shelves; a second one leaves what an administrator has changed."""
    for stock in (1_000, 3):
        async with opened(session_url, clock, seed_catalog=True) as shop:
            items = {item["sku"]: item for item in (await shop.client.get("/catalog")).json()}
            assert set(items) == {"book", "mug", "shirt"}
            assert items["book"]["price"] == USD_19_99
            assert items["book"]["available"] == stock
            await shop.stock("book", 3)


async def test_production_seeds_nothing(session_database: Database, session_url: str, clock: ManualClock) -> None:
    """In production the catalogue is the administrator's alone."""
    secrets: dict[str, Any] = {
        "auth_jwt_secret": "u" * 40,
        "service_token_secret": "s" * 40,
        "encryption_keys": "k" * 40,
        "trusted_hosts": "session",
    }
    async with opened(session_url, clock, seed_catalog=True, env="production", **secrets) as shop:
        assert (await shop.client.get("/catalog")).json() == []
        await shop.stock("book", 3)
        await shop.add("alice", "book")
        check_refused(await shop.check_out("alice"), 422, "invalid")  # no simulator's token to fall back to


async def test_a_large_catalogue_is_read_page_by_page(shop: Shop) -> None:
    """Following the links gives each product once, by sku; no answer is longer than a page."""
    await shop.rows(
        "INSERT INTO products (sku, name, price_minor, currency, on_hand, held)"
        " SELECT 'sku-' || i, 'Product ' || i, 1999, 'USD', 1, 0 FROM generate_series(1, 448) i RETURNING sku"
    )
    for asked, sizes in (("/catalog", [200, 200, 50]), ("/catalog?limit=150", [150, 150, 150])):
        seen: list[list[str]] = []
        path: str | None = asked
        while path is not None:
            answer = await shop.client.get(path)
            seen.append([item["sku"] for item in answer.json()])
            path = answer.links.get("next", {}).get("url")
        assert [len(page) for page in seen] == sizes
        skus = [sku for page in seen for sku in page]
        assert len(set(skus)) == 450
        assert skus == [row["sku"] for row in await shop.rows("SELECT sku FROM products ORDER BY sku")]
    assert (await shop.client.get("/catalog?cursor=zzz")).json() == []
    for wrong in ("limit=0", "limit=201", "cursor=a%20b", f"cursor={'x' * 65}"):
        check_refused(await shop.client.get(f"/catalog?{wrong}"), 422, "invalid")
