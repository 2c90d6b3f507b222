"""Sagas: start once per key, look at them, wait for their end."""

from contextlib import nullcontext
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.chassis.errors import Fault, Forbidden, InFlight, Invalid, KeyReused
from services.chassis.inbound.auth import AdminOrService, Principal, authenticated
from services.chassis.inbound.idempotency import StoredAnswer
from services.chassis.inbound.limits import Limits
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import NUMBER, WHOLE
from services.chassis.inbound.response_headers import LOCATION, with_header
from services.chassis.postgres.connection import Connection
from services.chassis.tracing import current_traceparent
from services.contracts.moments import Moment
from services.contracts.orchestrator import SagaStarted, StartSaga
from services.orchestrator.api.errors import InvalidPayload, SagaExists, SagaUnknown, SearchTooWide, WorkflowUnknown
from services.orchestrator.api.keyed import Keyed
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import AppResources, Resources
from services.orchestrator.api.shapes import (
    SagaId,
    SagaPageShown,
    SagaResult,
    SagaShown,
    Status,
    StepShown,
    result_shown,
    saga_listed,
    saga_shown,
    step_shown,
)
from services.orchestrator.engine import SagaFilter, Started, StartRequest, WideSearch

router = APIRouter(tags=["sagas"])

_WAIT_MAX_S = 30.0
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]

_admin = Depends(authenticated("admin"))
_admin_or_service = Depends(authenticated("admin", "service"))


class StartBody(StartSaga):
    """Which workflow to start, once per key, with what."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {"workflow": "refund-payment", "key": "pay_8kXo2m", "input": {"payment_id": "pay_8kXo2m"}}
        },
    )


@router.post(
    "/sagas",
    status_code=202,
    summary="Start a saga, once per workflow and key",
    response_model=SagaStarted,
    responses={
        200: {"description": "It was started before", "model": SagaStarted} | with_header(LOCATION),
        202: with_header(LOCATION),
        **problem_responses(WorkflowUnknown, SagaExists, InFlight, Invalid, KeyReused, InvalidPayload),
    },
)
async def start(body: StartBody, caller: AdminOrService, resources: AppResources, keyed: Keyed) -> Response:
    """202 for a new saga, 200 for the same one again; another input under the same key is a conflict."""
    if keyed.key is None:
        with engine_refusals("body.input"):
            return _answer(body, await resources.operations.start(_wanted(body, caller, resources))).response()
    open_start = None

    async def work(conn: Connection) -> StoredAnswer:
        nonlocal open_start
        with engine_refusals("body.input"):
            open_start = await resources.operations.start_within(conn, _wanted(body, caller, resources))
        return _answer(body, open_start.started)

    response = await keyed.answer_within(work)
    if open_start is not None:
        resources.operations.begin(open_start)
    return response


def _wanted(body: StartBody, caller: Principal, resources: Resources) -> StartRequest:
    definition = resources.registry.newest(body.workflow)
    if caller.kind == "user" and not definition.admin_may_start:
        raise Forbidden(f"The workflow {body.workflow} is started by services only.")
    return StartRequest(
        workflow=body.workflow,
        key=body.key,
        input=body.input,
        subject=body.subject or caller.acting_user,
        delay_s=body.delay_s,
        traceparent=current_traceparent(),
    )


def _answer(body: StartBody, started: Started) -> StoredAnswer:
    said = SagaStarted(saga_id=started.saga_id, workflow=body.workflow, key=body.key, status=started.status)
    return StoredAnswer.of(202 if started.created else 200, said, {"Location": f"/sagas/{started.saga_id}"})


class FindQuery(BaseModel):
    """Which sagas to find; every filter narrows."""

    model_config = ConfigDict(frozen=True)

    workflow: Word | None = None
    status: Status | None = None
    key: Word | None = None
    user_id: Word | None = None
    reason: Word | None = Field(default=None, description="The code of its error, or why it is stuck")
    created_after: Moment | None = Field(default=None, examples=["2026-11-24T10:00:00Z"])
    cursor: Word | None = None
    limit: Annotated[int, Field(ge=1, le=200), WHOLE] = 50


@router.get("/sagas", summary="Find sagas", responses=problem_responses(Invalid, SearchTooWide), dependencies=[_admin])
async def find(resources: AppResources, wanted: Annotated[FindQuery, Query()]) -> SagaPageShown:
    """Newest first; `next_cursor` gives the next page.

    Sagas that are paused, stuck, compensating, failed or cancelled are found at once, as are those of a key or a user.
    Others are looked for among all, which may take too long where they are rare: `created_after` narrows that.
    """
    try:
        with engine_refusals("query.cursor"):
            page = await resources.operations.find(
                SagaFilter(
                    workflow=wanted.workflow,
                    status=wanted.status,
                    key=wanted.key,
                    subject=wanted.user_id,
                    reason=wanted.reason,
                    created_after=wanted.created_after,
                    cursor=wanted.cursor,
                    limit=wanted.limit,
                )
            )
    except WideSearch as refusal:
        raise SearchTooWide(faults=[Fault("query.created_after", "is missing, or too long ago")]) from refusal
    return SagaPageShown(items=[saga_listed(view) for view in page.items], next_cursor=page.next_cursor)


@router.get(
    "/sagas/{saga_id}",
    summary="One saga",
    responses=problem_responses(SagaUnknown),
    dependencies=[_admin_or_service],
)
async def show(saga_id: SagaId, resources: AppResources) -> SagaShown:
    """What it is doing, or why it waits, and what ends that."""
    with engine_refusals():
        return saga_shown(await resources.operations.get(saga_id))


@router.get(
    "/sagas/{saga_id}/steps",
    summary="Its step log",
    responses=problem_responses(SagaUnknown),
    dependencies=[_admin_or_service],
)
async def steps(saga_id: SagaId, resources: AppResources) -> list[StepShown]:
    """Everything recorded, in order."""
    with engine_refusals():
        return [step_shown(step) for step in await resources.operations.steps(saga_id)]


@router.get(
    "/sagas/{saga_id}/result",
    summary="Wait for its end",
    response_model=SagaResult,
    responses={202: {"description": "Still running", "model": SagaResult}, **problem_responses(SagaUnknown)},
    dependencies=[_admin_or_service],
)
async def result(
    saga_id: SagaId,
    resources: AppResources,
    request: Request,
    response: Response,
    wait_s: Annotated[float, Query(ge=0, le=_WAIT_MAX_S, allow_inf_nan=False), NUMBER] = 0,
) -> Any:
    """200 with output or error once it has ended, 202 while it runs; 503 where too many wait already."""
    limits: Limits = request.app.state.chassis.limits
    with engine_refusals(), limits.waiting.held() if wait_s else nullcontext():
        end = await resources.operations.result(saga_id, wait_s)
    response.status_code = 200 if end.has_ended else 202
    return result_shown(end)
