"""Erasing a customer over HTTP: here at once, at the orchestrator by a message."""

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import Response

from services.chassis import audit
from services.chassis.errors import InFlight, Invalid, KeyReused
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Admin
from services.chassis.inbound.idempotency import OptionalKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import PathId, RequestModel
from services.chassis.logs import bind, get_logger
from services.chassis.messaging import outbox
from services.chassis.postgres.connection import Connection
from services.contracts.base import Contract
from services.session.api.resources import AppResources
from services.session.domain.errors import OrdersOpen
from services.session.messages import erase_user
from services.session.store import erasure
from services.texts import Reason

router = APIRouter(tags=["customers"])

ASKED_FOR = {"value": {"reason": "asked for by the customer, ticket 4711"}}


class EraseCustomer(RequestModel):
    """Why the customer is erased."""

    reason: Reason


class CustomerErased(Contract):
    """A customer without basket, addresses and words; their orders remain, empty of them."""

    user_id: str
    orders: int


@router.post(
    "/users/{user_id}/erase",
    summary="Erase what a customer has left",
    status_code=202,
    response_model=CustomerErased,
    responses=problem_responses(OrdersOpen, InFlight, Invalid, KeyReused),
)
async def erase(
    admin: Admin,
    key: OptionalKey,
    user_id: PathId,
    body: Annotated[EraseCustomer, Body(openapi_examples={"a customer's request": ASKED_FOR})],
    resources: AppResources,
) -> Response:
    """Erase a customer whose orders have all ended: addresses and payloads go, ids, statuses and keys stay."""
    bind(user_id=user_id)

    async def work(conn: Connection) -> StoredAnswer:
        now = resources.clock.sql_now()
        orders = await erasure.erase(conn, user_id)
        await audit.record(
            conn,
            action="customer.erased",
            subject_id=user_id,
            actor=admin.subject,
            reason=body.reason,
            details={"orders": orders},
            now=now,
        )
        await outbox.enqueue(conn, [erase_user(user_id, body.reason, by=admin.subject)], now=now)
        return StoredAnswer.of(202, CustomerErased(user_id=user_id, orders=orders))

    response = await answer_once(resources.database, resources.clock, key, work)
    resources.relay.nudge()
    get_logger("session.customers").info("customer.erased", by=admin.subject)
    return response
