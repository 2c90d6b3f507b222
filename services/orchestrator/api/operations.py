"""What an operator may do to a saga: cancel, pause, resume, retry, skip, restart; each says why."""

from collections.abc import Awaitable
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, StringConstraints

from services.chassis.errors import Invalid, KeyReused
from services.chassis.inbound.auth import Admin, AdminOrService
from services.chassis.inbound.idempotency import StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import RequestModel
from services.chassis.inbound.response_headers import LOCATION, with_header
from services.contracts.orchestrator import CancelSaga
from services.orchestrator.api.errors import (
    SagaCancelled,
    SagaFinal,
    SagaPastNoReturn,
    SagaUnknown,
    SagaUnreadable,
    SagaUnwinding,
    StateConflict,
)
from services.orchestrator.api.keyed import Keyed, KeyedAnswers
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources
from services.orchestrator.api.shapes import SagaId, SagaShown, actor, reason_of, saga_shown
from services.orchestrator.engine import Once
from services.texts import KeptReason, Reason

router = APIRouter(
    tags=["operations"],
    responses={
        202: with_header(LOCATION),
        **problem_responses(SagaUnknown, StateConflict, SagaUnreadable, Invalid, KeyReused),
    },
)


class CancelBody(CancelSaga):
    """Why it is cancelled."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "the customer has changed their mind"}})

    reason: Annotated[
        KeptReason,
        Field(description="If it is an order, its customer reads it, word for word, in the order's history."),
    ]


class ReasonBody(RequestModel):
    """Why it is done."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "the carrier is back"}})

    reason: Reason


class SkipBody(RequestModel):
    """Which step or undo is settled by hand, why, and what it would have given."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"position": "7:undo", "reason": "refunded by hand, ticket 4711"}}
    )

    position: Annotated[str, StringConstraints(pattern=r"^[0-9.:a-z-]{1,200}$")]
    reason: Reason
    output: Any = None


class RestartBody(RequestModel):
    """From which position of its main line it is run anew, and why."""

    model_config = ConfigDict(json_schema_extra={"example": {"from_position": "7", "reason": "the address is mended"}})

    from_position: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]
    reason: Reason


@router.post(
    "/sagas/{saga_id}/cancel",
    status_code=202,
    summary="Unwind it",
    response_model=SagaShown,
    responses=problem_responses(SagaFinal, SagaCancelled, SagaPastNoReturn, SagaUnwinding),
)
async def cancel(
    saga_id: SagaId, body: CancelBody, caller: AdminOrService, resources: AppResources, keyed: Keyed
) -> Response:
    """Everything done is undone; refused once it has ended or is past its point of no return, telling which."""
    reason = reason_of(caller, body)
    return await _steered(keyed, saga_id, partial(resources.operations.cancel, by=actor(caller), reason=reason))


@router.post("/sagas/{saga_id}/pause", status_code=202, summary="Hold it where it is", response_model=SagaShown)
async def pause(saga_id: SagaId, body: ReasonBody, admin: Admin, resources: AppResources, keyed: Keyed) -> Response:
    """It does nothing more until it is resumed; signals are kept."""
    return await _steered(keyed, saga_id, partial(resources.operations.pause, by=actor(admin), reason=body.reason))


@router.post("/sagas/{saga_id}/resume", status_code=202, summary="Let it go on", response_model=SagaShown)
async def resume(saga_id: SagaId, body: ReasonBody, admin: Admin, resources: AppResources, keyed: Keyed) -> Response:
    """The end of a pause."""
    return await _steered(keyed, saga_id, partial(resources.operations.resume, by=actor(admin), reason=body.reason))


@router.post("/sagas/{saga_id}/retry", status_code=202, summary="Try again", response_model=SagaShown)
async def retry(saga_id: SagaId, body: ReasonBody, admin: Admin, resources: AppResources, keyed: Keyed) -> Response:
    """What was recorded stays; the step or undo that it is stuck at is attempted anew."""
    return await _steered(keyed, saga_id, partial(resources.operations.retry, by=actor(admin), reason=body.reason))


@router.post("/sagas/{saga_id}/skip", status_code=202, summary="Settle it by hand", response_model=SagaShown)
async def skip(saga_id: SagaId, body: SkipBody, admin: Admin, resources: AppResources, keyed: Keyed) -> Response:
    """It counts as done, with the given output; the reason stays on record."""
    skip_it = partial(
        resources.operations.skip, position=body.position, by=actor(admin), reason=body.reason, output=body.output
    )
    return await _steered(keyed, saga_id, skip_it)


@router.post("/sagas/{saga_id}/restart", status_code=202, summary="Run it anew from a step", response_model=SagaShown)
async def restart(saga_id: SagaId, body: RestartBody, admin: Admin, resources: AppResources, keyed: Keyed) -> Response:
    """What is recorded before the position stays; steps from there on are called again, each under its old key.

    Only a stuck or paused saga is restarted, and none that is being undone or has ended.
    """
    restart_it = partial(
        resources.operations.restart, from_position=body.from_position, by=actor(admin), reason=body.reason
    )
    return await _steered(keyed, saga_id, restart_it)


class _Operation(Protocol):
    """An operation of the engine, with all that it is given but the saga and the request that asks for it."""

    def __call__(self, saga_id: str, *, once: Once | None) -> Awaitable[None]: ...


async def _steered(keyed: KeyedAnswers, saga_id: str, operation: _Operation) -> Response:
    """Do what is asked and answer with the saga as it stands then, once per idempotency key.

    The engine knows the request too: sent again because its answer was lost before it was stored, it is not refused.
    """

    async def work() -> StoredAnswer:
        with engine_refusals("body.output"):  # of `skip`, which alone gives a value
            await operation(saga_id, once=keyed.once)
            view = await keyed.resources.operations.get(saga_id)
        return StoredAnswer.of(202, saga_shown(view), {"Location": f"/sagas/{saga_id}"})

    return await keyed.answer(work)
