"""Who did what, when and why: the audit log, newest first."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from services.chassis import audit
from services.chassis.inbound.auth import authenticated
from services.chassis.inbound.requests import WHOLE, Limit
from services.orchestrator.api.resources import AppResources

router = APIRouter(tags=["operations"])


class AuditEntry(BaseModel):
    """One action."""

    at: datetime
    action: str
    subject_id: str
    actor: str
    reason: str | None
    details: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the log; `next_cursor` gives the next one."""

    items: list[AuditEntry]
    next_cursor: str | None


@router.get(
    "/audit",
    summary="Who did what, when and why",
    dependencies=[Depends(authenticated("admin"))],
)
async def entries(
    resources: AppResources,
    saga_id: Annotated[str | None, Query(pattern=r"^[\x21-\x7e]{1,255}$")] = None,
    cursor: Annotated[int, Field(ge=1, lt=2**63), WHOLE] | None = None,
    limit: Limit = 100,
) -> AuditPage:
    """All of it, or what was done to one saga."""
    async with resources.database.autocommit() as conn:
        found = await audit.find(conn, subject_id=saga_id, cursor=cursor, limit=limit + 1)
    shown = found[:limit]
    return AuditPage(
        items=[
            AuditEntry(
                at=entry.at,
                action=entry.action,
                subject_id=entry.subject_id,
                actor=entry.actor,
                reason=entry.reason,
                details=dict(entry.details),
            )
            for entry in shown
        ],
        next_cursor=str(shown[-1].id) if len(found) > limit else None,
    )
