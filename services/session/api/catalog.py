"""The catalogue over HTTP: anyone may look, an administrator sets names, prices and stock."""

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Query, Response
from pydantic import Field

from services.chassis import audit
from services.chassis.inbound.auth import Admin
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Identifier, Limit, PathId, RequestModel
from services.chassis.inbound.response_headers import LINK, with_header
from services.contracts.base import Contract
from services.contracts.money import Money
from services.session.api.resources import AppResources
from services.session.domain.cart import MAX_PRICE_MINOR, Product
from services.session.domain.errors import CurrencyFixed, StockHeld
from services.session.domain.stock import MAX_STOCK
from services.session.store import products
from services.texts import Title

router = APIRouter(prefix="/catalog", tags=["catalog"])

PAGE: Final = 200


class Price(RequestModel):
    """A price; `amount_minor` counts the currency's smallest unit (cents)."""

    amount_minor: Annotated[int, Field(ge=1, le=MAX_PRICE_MINOR)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class PutProduct(RequestModel):
    """What a product is called, costs, and how many pieces are on hand, those held by open orders included."""

    name: Title
    price: Price
    stock: Annotated[int, Field(ge=0, le=MAX_STOCK)]


class CatalogItem(Contract):
    """A product; `available` counts what is on hand and not held by an open order."""

    sku: str
    name: str
    price: Money
    available: int


def catalog_item(product: Product) -> CatalogItem:
    return CatalogItem(
        sku=product.sku,
        name=product.name,
        price=Money(amount_minor=product.price_minor, currency=product.currency),
        available=product.available,
    )


BOOK = {"name": "The Book of Sagas", "price": {"amount_minor": 1999, "currency": "USD"}, "stock": 100}


@router.get(
    "",
    summary="What is for sale",
    responses={200: with_header(LINK)},
)
async def read_catalog(
    resources: AppResources,
    response: Response,
    cursor: Annotated[Identifier | None, Query(description="From the `Link` of the page before.")] = None,
    limit: Limit = PAGE,
) -> list[CatalogItem]:
    """Return products by sku; where there are more, the header `Link` has the address of the next page."""
    async with resources.database.autocommit() as conn:
        found, last = await products.page(conn, behind=cursor or "", limit=limit)
    if last is not None:
        asked = {"cursor": last} | ({} if limit == PAGE else {"limit": limit})
        response.headers["Link"] = f'<{router.prefix}?{urlencode(asked)}>; rel="next"'
    return [catalog_item(product) for product in found]


@router.put("/{sku}", summary="Create or change a product", responses=problem_responses(StockHeld, CurrencyFixed))
async def put_product(
    admin: Admin,
    sku: PathId,
    product: Annotated[PutProduct, Body(openapi_examples={"a book": {"value": BOOK}})],
    resources: AppResources,
) -> CatalogItem:
    """Create a product or change it; `stock` sets what is on hand, so a repeat changes nothing."""
    wanted = Product(sku, product.name, product.price.amount_minor, product.price.currency, 0)
    async with resources.database.begin() as conn:
        saved = await products.put(conn, wanted, on_hand=product.stock)
        await audit.record(
            conn,
            action="catalog.put",
            subject_id=sku,
            actor=admin.subject,
            details=product.model_dump(mode="json"),
            now=resources.clock.sql_now(),
        )
    return catalog_item(saved)
