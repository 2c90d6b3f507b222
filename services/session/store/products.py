"""Products: what the catalogue offers, and how many pieces are on hand."""

from collections.abc import Sequence

from services.chassis.postgres.connection import Connection
from services.session.domain.cart import Product
from services.session.domain.errors import CurrencyFixed, StockHeld, UnknownSku
from services.session.store.queries import queries


async def get(conn: Connection, sku: str) -> Product:
    """Return one product; UnknownSku if there is none."""
    row = await conn.first(queries()["read_product"], {"sku": sku})
    if row is None:
        raise UnknownSku
    return Product(row["sku"], row["name"], row["price_minor"], row["currency"], row["available"])


async def page(conn: Connection, *, behind: str, limit: int) -> tuple[Sequence[Product], str | None]:
    """Return products by sku that come after `behind`, and the sku after which the next page begins, if any."""
    rows = await conn.fetch(queries()["read_catalog"], {"behind": behind, "limit": limit + 1})
    products = [Product(**dict(row)) for row in rows[:limit]]
    return products, products[-1].sku if len(rows) > limit else None


async def put(conn: Connection, product: Product, *, on_hand: int) -> Product:
    """Create a product or change it, and set what is on hand; `product.available` is ignored."""
    created = await insert(conn, product, on_hand=on_hand)
    held = 0
    if not created:
        (row,) = await conn.fetch(queries()["lock_product"], {"sku": product.sku})
        held = row["held"]
        if row["currency"] != product.currency:
            raise CurrencyFixed
        if on_hand < held:
            raise StockHeld(f"Open orders hold {held} pieces; the stock cannot be less.")
        values = {"name": product.name, "price_minor": product.price_minor, "on_hand": on_hand}
        await conn.fetch(queries()["change_product"], {"sku": product.sku, **values})
    return Product(product.sku, product.name, product.price_minor, product.currency, on_hand - held)


async def insert(conn: Connection, product: Product, *, on_hand: int) -> bool:
    """Create a product unless the sku exists; True if it was created."""
    created = await conn.first(
        queries()["insert_product"],
        {
            "sku": product.sku,
            "name": product.name,
            "price_minor": product.price_minor,
            "currency": product.currency,
            "on_hand": on_hand,
        },
    )
    return created is not None
