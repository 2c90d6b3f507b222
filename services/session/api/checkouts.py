"""Checkout over HTTP, and the executed mark that the orchestrator sets.

A checkout is one transaction with its idempotency key: basket locked, items and prices frozen, order and
attempt written, and the start of the saga put into the outbox.
"""

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import Response
from pydantic import Field, SecretStr

from services.chassis.errors import Fault, InFlight, Invalid, KeyReused, NotFound
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Customer, Service
from services.chassis.inbound.idempotency import OptionalKey, RequiredKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Identifier, PathId, RequestModel
from services.chassis.inbound.response_headers import LOCATION, with_header
from services.chassis.logs import bind, get_logger
from services.chassis.messaging import outbox
from services.chassis.postgres.connection import Connection
from services.contracts.session import CheckoutExecuted, GivenAddress, MarkExecuted
from services.session.api.orders import OrderPlaced, links
from services.session.api.resources import AppResources
from services.session.domain import order as domain
from services.session.domain.checkout import (
    CheckoutRequest,
    ExecutionMark,
    PlacedAttempt,
    derived_order_id,
    fingerprint,
)
from services.session.domain.errors import (
    AddressUnreadable,
    CartEmpty,
    CheckoutInProgress,
    NotReserved,
    OrderConflict,
    OrderIdTaken,
)
from services.session.messages import start_saga
from services.session.settings import SessionSettings
from services.session.store import checkouts

router = APIRouter(tags=["checkout"])


ADA = {
    "name": "Ada Lovelace",
    "street": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y",
    "country": "GB",
}
CHECKOUTS = {
    "an order": {"value": {"shipping_address": ADA}},
    "with an id of your own": {"value": {"shipping_address": ADA, "order_id": "order-123", "payment_token": "tok_ok"}},
}


class Checkout(RequestModel):
    """Order what is in the basket; without `order_id` it derives from the user and the idempotency key."""

    shipping_address: GivenAddress
    payment_token: Annotated[SecretStr, Field(min_length=1, max_length=255)] | None = None
    order_id: Identifier | None = None


@router.post(
    "/users/{user_id}/checkout",
    summary="Place an order",
    status_code=202,
    response_model=OrderPlaced,
    responses={
        202: with_header(LOCATION),
        **problem_responses(
            NotFound,
            CartEmpty,
            CheckoutInProgress,
            OrderConflict,
            OrderIdTaken,
            InFlight,
            Invalid,
            KeyReused,
            AddressUnreadable,
        ),
    },
)
async def check_out(
    _: Customer,
    key: RequiredKey,
    user_id: PathId,
    checkout: Annotated[Checkout, Body(openapi_examples=CHECKOUTS)],
    resources: AppResources,
) -> Response:
    """Place an order, or its next attempt after a failed payment; a repeat names the same order."""
    order_id = checkout.order_id or derived_order_id(user_id, key.key)
    bind(order_id=order_id, user_id=user_id)
    token = _payment_token(checkout, resources.settings)
    placed: PlacedAttempt | None = None

    async def place(conn: Connection) -> StoredAnswer:
        nonlocal placed
        now = resources.clock.sql_now()
        request = CheckoutRequest(
            user_id,
            order_id,
            domain.Address(**checkout.shipping_address.model_dump()),
            token_hash=fingerprint("token", order_id, token),
            key_hash=fingerprint("key", user_id, key.key),
        )
        placed = await checkouts.place(conn, request, sealer=resources.sealer, now=now)
        if placed.fresh:
            await outbox.enqueue(
                conn, [start_saga(placed, checkout.shipping_address, token, resources.sealer)], now=now
            )
        return _placed_answer(placed)

    response = await answer_once(resources.database, resources.clock, key, place)
    resources.relay.nudge()
    log = get_logger("session.checkouts")
    if placed is not None and placed.fresh:
        log.info("checkout.started", order_id=order_id, attempt=placed.attempt, total_minor=placed.total_minor)
    else:
        log.info("checkout.duplicate", order_id=order_id)
    return response


@router.post(
    "/checkouts/{order_id}/executed",
    summary="Mark a checkout executed",
    response_model=CheckoutExecuted,
    responses=problem_responses(NotFound, NotReserved, InFlight, Invalid, KeyReused),
)
async def mark_executed(
    _: Service,
    key: OptionalKey,
    order_id: PathId,
    mark: Annotated[MarkExecuted, Body(openapi_examples={"the first attempt": {"value": {"attempt": 1}}})],
    resources: AppResources,
) -> Response:
    """Mark an attempt as paid and take what it ordered out of the basket, in one transaction; idempotent."""
    bind(order_id=order_id)
    executed: ExecutionMark | None = None

    async def execute(conn: Connection) -> StoredAnswer:
        nonlocal executed
        executed = await checkouts.mark_executed(conn, order_id, mark.attempt, now=resources.clock.sql_now())
        return StoredAnswer.of(200, CheckoutExecuted(order_id=order_id, attempt=mark.attempt))

    response = await answer_once(resources.database, resources.clock, key, execute)
    if executed is not None and executed.fresh:
        log = get_logger("session.checkouts")
        log.info("checkout.executed", order_id=order_id, attempt=mark.attempt, user_id=executed.user_id)
        if executed.cleared:
            log.info("cart.cleared", order_id=order_id, user_id=executed.user_id)
    return response


def _payment_token(checkout: Checkout, settings: SessionSettings) -> str:
    if checkout.payment_token is not None:
        return checkout.payment_token.get_secret_value()
    if settings.fallback_payment_token is None:
        raise Invalid(faults=[Fault("body.payment_token", "is required")])
    return settings.fallback_payment_token


def _placed_answer(placed: PlacedAttempt) -> StoredAnswer:
    where = links(placed.user_id, placed.order_id, placed.status)
    body = OrderPlaced(order_id=placed.order_id, attempt=placed.attempt, status=placed.status, links=where)
    return StoredAnswer.of(202, body, {"Location": where.self})
