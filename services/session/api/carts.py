"""Baskets over HTTP: each change locks the user's basket, so that concurrent changes add up."""

from typing import Annotated, Final

from fastapi import APIRouter, Body
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from services.chassis.errors import InFlight, Invalid, KeyReused, NotFound
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Customer
from services.chassis.inbound.idempotency import OptionalKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Identifier, PathId, RequestModel
from services.chassis.logs import get_logger
from services.chassis.postgres.connection import Connection
from services.contracts.base import Contract
from services.contracts.money import Money
from services.session.api.resources import AppResources
from services.session.domain.cart import MAX_QUANTITY, Basket
from services.session.domain.errors import BasketFull, LineLimit, MixedCurrencies, UnknownSku
from services.session.store import carts, products

router = APIRouter(prefix="/users/{user_id}/cart", tags=["cart"])

Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY, examples=[2])]
BASKET_REFUSALS: Final = (UnknownSku, LineLimit, BasketFull, MixedCurrencies)


TWO_BOOKS: Final[JsonDict] = {
    "user_id": "alice",
    "version": 1,
    "items": [
        {
            "sku": "book",
            "name": "The Book of Sagas",
            "quantity": 2,
            "unit_price": {"amount_minor": 1999, "currency": "USD"},
            "line_total": {"amount_minor": 3998, "currency": "USD"},
        }
    ],
    "total": {"amount_minor": 3998, "currency": "USD"},
}


class AddItem(RequestModel):
    """Add pieces of a sku to the basket."""

    sku: Annotated[Identifier, Field(examples=["book"])]
    quantity: Quantity


class SetQuantity(RequestModel):
    """Set the pieces of a sku in the basket."""

    quantity: Quantity


class CartLine(Contract):
    """One line of a basket, at today's price."""

    sku: str
    name: str
    quantity: int
    unit_price: Money
    line_total: Money


class Cart(Contract):
    """A basket; `version` grows with every change."""

    user_id: str
    version: int
    items: list[CartLine]
    total: Money

    model_config = ConfigDict(json_schema_extra={"examples": [TWO_BOOKS]})


def cart(basket: Basket, *, currency: str) -> Cart:
    """Return a basket as the customer sees it; `currency` is that of an empty one's total."""
    return Cart(
        user_id=basket.user_id,
        version=basket.version,
        items=[
            CartLine(
                sku=line.sku,
                name=line.name,
                quantity=line.quantity,
                unit_price=Money(amount_minor=line.unit_minor, currency=line.currency),
                line_total=Money(amount_minor=line.total_minor, currency=line.currency),
            )
            for line in basket.lines
        ],
        total=Money(amount_minor=basket.total_minor, currency=basket.currency or currency),
    )


@router.get("", summary="The basket", responses=problem_responses(NotFound))
async def read_cart(_: Customer, user_id: PathId, resources: AppResources) -> Cart:
    """Return the basket at today's prices."""
    async with resources.database.autocommit() as conn:
        basket = await carts.read(conn, user_id)
    return cart(basket, currency=resources.settings.currency)


@router.post(
    "/items",
    summary="Add to the basket",
    response_model=Cart,
    responses=problem_responses(NotFound, InFlight, Invalid, KeyReused, *BASKET_REFUSALS),
)
async def add_item(
    _: Customer,
    key: OptionalKey,
    user_id: PathId,
    item: Annotated[AddItem, Body(openapi_examples={"a book": {"value": {"sku": "book", "quantity": 2}}})],
    resources: AppResources,
) -> Response:
    """Add to a line of the basket; with an `Idempotency-Key` a repeat does not add twice."""
    added: Basket | None = None

    async def add(conn: Connection) -> StoredAnswer:
        nonlocal added
        before = await carts.lock(conn, user_id)
        product = await products.get(conn, item.sku)
        after = before.with_quantity(product, before.quantity(item.sku) + item.quantity)
        await carts.save(conn, before, after)
        added = after
        return StoredAnswer.of(200, cart(after, currency=resources.settings.currency))

    response = await answer_once(resources.database, resources.clock, key, add)
    if added is not None:
        log = get_logger("session.carts")
        log.info("cart.item_added", user_id=user_id, sku=item.sku, quantity=item.quantity, version=added.version)
    return response


@router.put(
    "/items/{sku}", summary="Set a line of the basket", responses=problem_responses(NotFound, Invalid, *BASKET_REFUSALS)
)
async def set_quantity(
    _: Customer,
    user_id: PathId,
    sku: PathId,
    wanted: Annotated[SetQuantity, Body(openapi_examples={"three": {"value": {"quantity": 3}}})],
    resources: AppResources,
) -> Cart:
    """Set a line of the basket; idempotent by nature."""
    async with resources.database.begin() as conn:
        before = await carts.lock(conn, user_id)
        after = before.with_quantity(await products.get(conn, sku), wanted.quantity)
        await carts.save(conn, before, after)
    return cart(after, currency=resources.settings.currency)


@router.delete("/items/{sku}", summary="Take a line out of the basket", responses=problem_responses(NotFound))
async def remove_item(_: Customer, user_id: PathId, sku: PathId, resources: AppResources) -> Cart:
    """Remove a line from the basket; idempotent by nature."""
    async with resources.database.begin() as conn:
        before = await carts.lock(conn, user_id)
        after = before.without(sku)
        await carts.save(conn, before, after)
    return cart(after, currency=resources.settings.currency)
