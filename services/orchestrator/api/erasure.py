"""Erasing a customer: what their ended sagas hold goes, the keys stay."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict

from services.chassis.errors import Invalid, KeyReused
from services.chassis.ids import IDENTIFIER
from services.chassis.inbound.auth import AdminOrService
from services.chassis.inbound.idempotency import StoredAnswer
from services.chassis.inbound.problems import problem_responses
from services.contracts.orchestrator import EraseUser
from services.orchestrator.api.errors import UserLive
from services.orchestrator.api.keyed import Keyed
from services.orchestrator.api.resources import AppResources
from services.orchestrator.api.shapes import actor, reason_of

router = APIRouter(tags=["operations"])

_TRY_AGAIN_S = 60


class EraseBody(EraseUser):
    """Why the customer is erased."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "asked for by the customer, ticket 4711"}})


class UserErased(BaseModel):
    """How many sagas were erased."""

    user_id: str
    sagas: int


@router.post(
    "/users/{user_id}/erase",
    summary="Erase what a customer's sagas hold",
    response_model=UserErased,
    responses=problem_responses(UserLive, Invalid, KeyReused),
)
async def erase(
    user_id: Annotated[str, Path(pattern=IDENTIFIER)],
    body: EraseBody,
    caller: AdminOrService,
    resources: AppResources,
    keyed: Keyed,
) -> Response:
    """Inputs, outputs and values go; ids, states and keys stay. 409 with `Retry-After` while one of them lives."""
    reason = reason_of(caller, body)

    async def work() -> StoredAnswer:
        done = await resources.operations.erase(user_id, by=actor(caller), reason=reason, once=keyed.once)
        if done.live:
            raise UserLive(retry_after_s=_TRY_AGAIN_S)
        return StoredAnswer.of(200, UserErased(user_id=user_id, sagas=done.erased))

    return await keyed.answer(work)
