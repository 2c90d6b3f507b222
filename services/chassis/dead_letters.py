"""The routes by which administrators find dead letters, and send them again or discard them.

For the services that send messages: those whose `app.state` has a `database`, a `relay`, and `on_discard`: what else a
discarded message changes in the service's tables, by message name.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Body, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.errors import DeadLetterUnknown, InFlight, Invalid, KeyReused
from services.chassis.inbound.answering import answer_once
from services.chassis.inbound.auth import Admin
from services.chassis.inbound.cursors import Cursor, read_cursor, write_cursor
from services.chassis.inbound.idempotency import IdempotencyKey, OptionalKey, StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Limit, RequestModel
from services.chassis.messaging import dead_letters
from services.chassis.messaging.dead_letters import DeadLetter, Freed
from services.chassis.messaging.relay import Relay
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.texts import Reason

router = APIRouter(prefix="/dead-letters", tags=["dead letters"])

MessageId = Annotated[str, Path(pattern=r"^[ -~]+$")]
"""An idempotency key that its receiver has read, so that it is printable."""
_REFUSALS: Final = problem_responses(DeadLetterUnknown, InFlight, Invalid, KeyReused)

Work = Callable[..., Awaitable[Freed]]
OnDiscard = Callable[..., Awaitable[None]]
"""Called with the connection, the dead letter and `now=`, in the transaction that discards it; it may lock rows."""


class DeadLetterShown(BaseModel):
    """A message that its receiver refused, with the receiver's code and detail.

    `held_up` counts the messages of the same key that wait behind it. Its body is not shown: it may hold secrets.
    """

    message_id: str
    key: str
    name: str
    service: str
    method: str
    path: str
    created_at: datetime
    refused_at: datetime
    code: str
    detail: str
    held_up: int


class DeadLetterPage(BaseModel):
    """Dead letters, those that were refused first before others; `next_cursor` goes on, null at the end."""

    items: list[DeadLetterShown]
    next_cursor: str | None


class Why(RequestModel):
    """Why it is sent again or discarded, for the audit log."""

    reason: Reason


class MessageFreed(BaseModel):
    """The message that is no dead letter any more, and its key, whose messages are sent again."""

    message_id: str
    key: str
    name: str


MENDED: Final = {"the cause is mended": {"value": {"reason": "the orchestrator knows the workflow again"}}}
NEEDLESS: Final = {"nobody needs it": {"value": {"reason": "the order was refunded by hand, ticket 4711"}}}


@router.get("", summary="Messages that were refused", responses=problem_responses(Invalid))
async def list_dead_letters(_: Admin, request: Request, cursor: Cursor = None, limit: Limit = 100) -> DeadLetterPage:
    """Return the messages that their receivers refused; what follows for the same key waits behind each."""
    database: Database = request.app.state.database
    async with database.autocommit() as conn:
        after = None if cursor is None else read_cursor(cursor)
        found = await dead_letters.find(conn, after=after, limit=limit + 1)
    shown = found[:limit]
    more = len(found) > limit
    return DeadLetterPage(
        items=[_shown(letter) for letter in shown],
        next_cursor=write_cursor(shown[-1].dead_at, shown[-1].id) if more else None,
    )


@router.post(
    "/{message_id:path}/retry",
    summary="Send it again",
    response_model=MessageFreed,
    responses=_REFUSALS,
)
async def retry(
    admin: Admin,
    key: OptionalKey,
    request: Request,
    message_id: MessageId,
    body: Annotated[Why, Body(openapi_examples=MENDED)],
) -> Response:
    """It is the next message of its key, under the same idempotency key; refused again, it is a dead letter again."""
    work = partial(dead_letters.send_again, message_id=message_id)
    return await _free(request, key, work, action="dead-letter.retried", by=admin.subject, reason=body.reason)


@router.post(
    "/{message_id:path}/discard",
    summary="Never send it",
    response_model=MessageFreed,
    responses=_REFUSALS,
)
async def discard(
    admin: Admin,
    key: OptionalKey,
    request: Request,
    message_id: MessageId,
    body: Annotated[Why, Body(openapi_examples=NEEDLESS)],
) -> Response:
    """It is deleted, and what follows it leaves; what it was to bring about is left to whoever discards it."""
    handlers: Mapping[str, OnDiscard] = request.app.state.on_discard

    async def work(conn: Connection, *, now: datetime | None) -> Freed:
        letter = await dead_letters.look_at(conn, message_id)
        if letter.name in handlers:  # before the key is locked, which every transaction locks last
            await handlers[letter.name](conn, letter, now=now)
        return await dead_letters.discard(conn, message_id, now=now)

    return await _free(request, key, work, action="dead-letter.discarded", by=admin.subject, reason=body.reason)


async def _free(
    request: Request,
    key: IdempotencyKey | None,
    work: Work,
    *,
    action: str,
    by: str,
    reason: str,
) -> Response:
    """Do it in one transaction with its line in the audit log, then have the relay look."""
    database: Database = request.app.state.database
    relay: Relay = request.app.state.relay
    clock: Clock = request.app.state.chassis.clock

    async def free(conn: Connection) -> StoredAnswer:
        now = clock.sql_now()
        freed = await work(conn, now=now)
        details = {"message_id": freed.id, "name": freed.name}
        await audit.record(conn, action=action, subject_id=freed.key, actor=by, reason=reason, details=details, now=now)
        return StoredAnswer.of(200, MessageFreed(message_id=freed.id, key=freed.key, name=freed.name))

    response = await answer_once(database, clock, key, free)
    relay.nudge()
    return response


def _shown(letter: DeadLetter) -> DeadLetterShown:
    return DeadLetterShown(
        message_id=letter.id,
        key=letter.key,
        name=letter.name,
        service=letter.service,
        method=letter.method,
        path=letter.path,
        created_at=letter.created_at,
        refused_at=letter.dead_at,
        code=letter.dead_code,
        detail=letter.dead_detail,
        held_up=letter.held_up,
    )
