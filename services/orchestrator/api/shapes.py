"""The shapes of sagas as the HTTP contract shows them, and what of a payload nobody gets to see."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from services.chassis.errors import Fault, Invalid
from services.chassis.inbound.auth import Principal
from services.contracts.base import SEALED
from services.contracts.orchestrator import CancelSaga, EraseUser
from services.orchestrator.engine import SagaEnd, SagaView, StepView
from services.texts import readable_lines

_SECRET = frozenset({"payment_token", "shipping_address", "address", SEALED})
_REDACTED = "[redacted]"

SagaId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        examples=["1f0c8f8e-6a5b-5d1e-9f0a-3c1f8d6f0b77"],
    ),
]
Status = Literal["queued", "running", "waiting", "paused", "stuck", "compensating", "completed", "failed", "cancelled"]


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ErrorShown(_Shown):
    """Why something failed: a stable code and words."""

    code: str
    message: str


class WaitShown(_Shown):
    """What a saga waits for."""

    kind: str
    name: str
    id: str | None = None
    since: datetime
    until: datetime | None = None


class CompensationShown(_Shown):
    """An undo and what has become of it; `position` is what skipping it asks for."""

    name: str
    position: str
    status: str
    attempts: int


class AttentionShown(_Shown):
    """Why a saga is stuck, and where; `expected` is what its log has there, `found` what its code asked for."""

    reason: str
    message: str
    position: str | None = None
    expected: str | None = None
    found: str | None = None


class SagaListed(_Shown):
    """A saga; `explanation` says what it is doing or why it waits, and what ends that; `attention` why it is stuck."""

    saga_id: str
    workflow: str
    version: int
    key: str
    user_id: str | None
    status: Status
    input: Any
    output: Any
    error: ErrorShown | None
    waiting_on: list[WaitShown]
    compensations: list[CompensationShown]
    progress: str | None
    parent: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    explanation: str
    attention: AttentionShown | None


class SagaShown(SagaListed):
    """One saga, with its state, which is read from its log."""

    state: dict[str, Any] | None = Field(description="What its code has set, by name; null if that cannot be read.")


class SagaPageShown(BaseModel):
    """A page of sagas, newest first."""

    items: list[SagaListed]
    next_cursor: str | None


class StepShown(_Shown):
    """One line of a saga's log."""

    position: str
    kind: str
    name: str
    status: str
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    output: Any = None
    error: ErrorShown | None = None


class SagaResult(BaseModel):
    """How a saga ended, or that it has not yet."""

    saga_id: str
    status: Status
    output: Any
    error: ErrorShown | None


def saga_shown(view: SagaView) -> SagaShown:
    """One saga for administrators and services: payment tokens and addresses stay where they are."""
    state = None if view.state is None else _redacted_fields(view.state)
    return SagaShown(**dict(saga_listed(view)), state=state)


def saga_listed(view: SagaView) -> SagaListed:
    """A saga of a page, likewise."""
    return SagaListed(
        saga_id=view.saga_id,
        workflow=view.workflow,
        version=view.version,
        key=view.key,
        user_id=view.subject,
        status=view.status,
        input=redacted(view.input),
        output=redacted(view.output),
        error=_error(view.error),
        waiting_on=[WaitShown.model_validate(wait) for wait in view.waiting_on],
        compensations=[CompensationShown.model_validate(undo) for undo in view.compensations],
        progress=view.progress,
        parent=view.parent,
        created_at=view.created_at,
        updated_at=view.updated_at,
        finished_at=view.finished_at,
        explanation=view.explanation,
        attention=None if view.attention is None else AttentionShown.model_validate(view.attention),
    )


def step_shown(step: StepView) -> StepShown:
    """A step for administrators; what a saga has set is as secret as it is in its state."""
    shown = StepShown.model_validate(step)
    is_secret = shown.kind == "state" and shown.name.removeprefix("set ") in _SECRET
    return shown.model_copy(update={"output": _REDACTED if is_secret else redacted(shown.output)})


def result_shown(end: SagaEnd) -> SagaResult:
    """The end of a saga."""
    return SagaResult(saga_id=end.saga_id, status=end.status, output=redacted(end.output), error=_error(end.error))


def _error(error: Any) -> ErrorShown | None:
    return None if error is None else ErrorShown.model_validate(error)


def redacted(value: Any) -> Any:
    """The payload without what only its receiver may see."""
    if isinstance(value, dict):
        if value.keys() == {SEALED}:
            return _REDACTED
        return _redacted_fields(value)
    if isinstance(value, list):
        return [redacted(item) for item in value]
    return value


def _redacted_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _REDACTED if name in _SECRET else redacted(item) for name, item in fields.items()}


def actor(principal: Principal) -> str:
    """Who did it, for the audit log: a user, or a service and the user that it acts for."""
    if principal.kind == "user" or principal.acting_user is None:
        return principal.subject
    return f"{principal.subject} for {principal.acting_user}"


def reason_of(principal: Principal, said: CancelSaga | EraseUser) -> str:
    """Why it is done: a person's reason has to be readable; another service's is one that it had taken before."""
    if principal.kind == "user":
        try:
            readable_lines(said.reason)
        except ValueError as error:
            raise Invalid(faults=[Fault("body.reason", str(error))]) from None
    return said.reason
