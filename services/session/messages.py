"""The messages that session sends to the orchestrator, and which answer settles each of them.

An answer is checked because success alone proves nothing: a proxy, or another service at the same address, may answer
with success as well. An answer that fails its check counts as no answer, and the relay sends the message again.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from services.chassis.logs import get_logger
from services.chassis.messaging.dead_letters import DeadLetter
from services.chassis.messaging.delivery import AnswerCheck
from services.chassis.messaging.outbox import Message
from services.chassis.outbound.http import Answer
from services.chassis.postgres.connection import Connection
from services.chassis.security.sealing import Sealer
from services.chassis.tracing import current_traceparent
from services.contracts.money import Money
from services.contracts.orchestrator import SAGA_CANCELLED, SAGA_CONFLICT, CancelSaga, EraseUser, PlacedOrder, StartSaga
from services.contracts.session import Address, OrderItem
from services.session.domain.cart import Line
from services.session.domain.checkout import WORKFLOW, PlacedAttempt, id_of_saga, saga_id, saga_key
from services.session.domain.order import CANCEL_REFUSED, DETAILS, GIVEN_UP, OrderUpdate
from services.session.store import orders

ORCHESTRATOR: Final = "orchestrator"
START_SAGA: Final = "start-saga"
CANCEL_SAGA: Final = "cancel-saga"
ERASE_USER: Final = "erase-user"
_CONFLICT: Final = 409


def order_items(lines: Iterable[Line]) -> tuple[OrderItem, ...]:
    """Return lines of a basket or an order in the form of the contracts."""
    return tuple(
        OrderItem(
            sku=line.sku,
            name=line.name,
            quantity=line.quantity,
            unit_price=Money(amount_minor=line.unit_minor, currency=line.currency),
        )
        for line in lines
    )


# starting the saga of an attempt


def start_saga(placed: PlacedAttempt, address: Address, token: str, sealer: Sealer) -> Message:
    """Return the message that starts the saga of an attempt.

    It is the only place where the payment token is kept. Its body is sealed until the relay sends it.
    """
    order = PlacedOrder(
        order_id=placed.order_id,
        attempt=placed.attempt,
        user_id=placed.user_id,
        items=order_items(placed.lines),
        total=Money(amount_minor=placed.total_minor, currency=placed.lines[0].currency),
        shipping_address=address,
        payment_token=token,
    )
    start = StartSaga(
        workflow=WORKFLOW,
        key=saga_key(placed.order_id, placed.attempt),
        input=order.model_dump(mode="json"),
        subject=placed.user_id,
    )
    return Message(
        service=ORCHESTRATOR,
        path="/sagas",
        key=placed.order_id,
        body=sealer.seal(start.model_dump_json()),
        name=START_SAGA,
        acting_user=placed.user_id,
        traceparent=current_traceparent(),
    )


def is_started(_message: Message, body: str, given: Answer) -> bool:
    """Say whether the answer names the saga that this message starts."""
    asked = StartSaga.model_validate_json(body)
    return isinstance(given.data, dict) and given.data.get("saga_id") == id_of_saga(asked.workflow, asked.key)


async def give_up_start(conn: Connection, letter: DeadLetter, *, now: datetime | None) -> None:
    """End the order whose saga will never be started, so that its customer may check out again.

    Not if its saga is there with other content: what becomes of that order is for a person to say.
    """
    known = await orders.lock(conn, letter.key)
    if known is None or letter.dead_code == SAGA_CONFLICT:
        return
    attempt, status = known
    if status == "pending_payment":
        update = OrderUpdate(letter.key, attempt, "cancelled", DETAILS[GIVEN_UP], payment=None, shipment=None)
        await orders.apply(conn, update, now=now)
        get_logger("session.orders").info("order.given_up", order_id=letter.key, attempt=attempt)


# cancelling the saga of an attempt


def cancel_saga(user_id: str, order_id: str, attempt: int, reason: str) -> Message:
    """Return the message that cancels the saga of an attempt; a refusal (409) settles it too."""
    return Message(
        service=ORCHESTRATOR,
        path=_cancel_path(order_id, attempt),
        key=order_id,
        body=CancelSaga(reason=reason).model_dump_json(),
        name=CANCEL_SAGA,
        settled_by=(_CONFLICT,),
        acting_user=user_id,
        traceparent=current_traceparent(),
    )


def is_cancel_answer(message: Message, _body: str, given: Answer) -> bool:
    """Say whether the answer names the saga that this message cancels, or gives a reason why it refuses."""
    data = given.data if isinstance(given.data, dict) else {}
    if given.status == _CONFLICT:
        return isinstance(data.get("code"), str)
    return message.path == f"/sagas/{data.get('saga_id')}/cancel"


async def record_refused_cancel(conn: Connection, message: Message, given: Answer, *, now: datetime | None) -> None:
    """Add the refusal of a cancel to the order's history, in the transaction that marks the message as delivered.

    `saga-cancelled` is no refusal: the message was sent again because its answer was lost. The relay holds the lock of
    the outbox key here, so this must lock nothing else: it only inserts a row.
    """
    if given.status != _CONFLICT or (isinstance(given.data, dict) and given.data.get("code") == SAGA_CANCELLED):
        return
    order_id = message.key
    latest = await orders.latest_attempt(conn, order_id)
    if latest is None:
        return
    attempt = _attempt_of(message, latest)
    await orders.add_entry(conn, order_id, attempt, CANCEL_REFUSED, DETAILS[CANCEL_REFUSED], now=now)
    get_logger("session.orders").info("order.cancel_refused", order_id=order_id)


def _attempt_of(message: Message, latest: int) -> int:
    """Return the attempt that a cancel was sent for: the saga's id in the path derives from it."""
    tried = range(latest, 0, -1)
    return next((attempt for attempt in tried if message.path == _cancel_path(message.key, attempt)), latest)


def _cancel_path(order_id: str, attempt: int) -> str:
    return f"/sagas/{saga_id(order_id, attempt)}/cancel"


# erasing a customer


def erase_user(user_id: str, reason: str, *, by: str) -> Message:
    """Return the message that erases a customer at the orchestrator; the administrator `by` is the acting user."""
    return Message(
        service=ORCHESTRATOR,
        path=_erase_path(user_id),
        key=f"user:{user_id}",
        body=EraseUser(reason=reason).model_dump_json(),
        name=ERASE_USER,
        acting_user=by,
        traceparent=current_traceparent(),
    )


def is_erased(message: Message, _body: str, given: Answer) -> bool:
    """Say whether the answer names the customer that this message erases."""
    return isinstance(given.data, dict) and message.path == _erase_path(str(given.data.get("user_id")))


def _erase_path(user_id: str) -> str:
    return f"/users/{user_id}/erase"


ANSWER_CHECKS: Final[Mapping[str, AnswerCheck]] = {
    START_SAGA: is_started,
    CANCEL_SAGA: is_cancel_answer,
    ERASE_USER: is_erased,
}
"""Which answers settle a message, by its name."""
