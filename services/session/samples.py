"""A few products for development, so that there is something to buy."""

from typing import Final

from services.chassis.postgres.database import Database
from services.session.domain.cart import Product
from services.session.store import products

SAMPLES: Final = (
    Product("book", "The Book of Sagas", 1999, "USD", 1_000),
    Product("mug", "Mug, 0.3 l", 1250, "USD", 1_000),
    Product("shirt", "T-shirt", 2500, "USD", 1_000),
)


async def add_samples(database: Database) -> None:
    """Put them into the catalogue; what is there stays as it is."""
    async with database.begin() as conn:
        for product in SAMPLES:
            await products.insert(conn, product, on_hand=product.available)
