"""Decisions of administrators: finding the order of a link, reading its decision, and taking a new one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import ValidationError

from services.chassis.errors import NotFound
from services.chassis.inbound import auth
from services.chassis.logs import get_logger
from services.chassis.messaging import inbox
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.api.approval_links import ApprovalLink
from services.orchestrator.api.errors import (
    ApprovalClosed,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalUnknown,
    SagaUnreadable,
)
from services.orchestrator.api.refusals import engine_refusals
from services.orchestrator.api.resources import Resources
from services.orchestrator.engine import PayloadError, SagaView, SettledSignal, UnknownSaga
from services.orchestrator.workflows import ADMIN_APPROVAL, Approval, order

Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(auth.bearer, scopes=["admin"])]
"""A token, where a route may be asked by a browser's cookie instead."""
Decision = Literal["approve", "reject"]
_ROUND = 1
_DECIDED = "approval.decided"
_REMEMBERED = timedelta(days=inbox.KEPT_DAYS)


@dataclass(frozen=True, slots=True)
class Case:
    """The order that a link is about."""

    link: ApprovalLink
    placed: PlacedOrder
    saga: SagaView


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision that stands."""

    decision: Decision
    by: str
    at: datetime
    reason: str | None


async def case_of(resources: Resources, token: str) -> Case:
    """The order behind a token; ApprovalUnknown for another workflow, promise or round, or no token of ours."""
    try:
        link = resources.links.read(token)
        saga = await resources.operations.get(link.saga_id)
        placed = resources.read_order(saga.input)
    except (NotFound, UnknownSaga, PayloadError):  # an erased order is as unknown as none
        raise ApprovalUnknown from None
    if saga.workflow != order.name or link.promise != ADMIN_APPROVAL or link.round != _ROUND:
        raise ApprovalUnknown
    return Case(link, placed, saga)


def link_of(saga_id: str) -> ApprovalLink:
    """The link that decides an order's saga."""
    return ApprovalLink(saga_id=saga_id, promise=ADMIN_APPROVAL, round=_ROUND)


async def decide(resources: Resources, case: Case, decision: Decision, *, reason: str | None, by: str) -> Decided:
    """Decide, once: the same decision again gives the first one, the opposite is refused with the one that stands.

    What stands is audited by whoever asks next if the process died before it could be.
    """
    approval = Approval(approved=decision == "approve", reason=reason)
    try:
        with engine_refusals():
            settled = await resources.operations.resolve_promise(
                case.link.saga_id, case.link.promise, approval.model_dump(mode="json"), by=by
            )
    except NotFound:
        raise ApprovalUnknown from None
    stands = taken_decision(settled.standing)
    if settled.outcome == "accepted":
        get_logger("orchestrator").info(
            _DECIDED,
            order_id=case.placed.order_id,
            user_id=case.placed.user_id,
            saga_id=case.link.saga_id,
            decision=decision,
            by=by,
        )
    await _audit(resources, case, stands)
    if stands.decision != decision:
        raise ApprovalDecided(f"The order was {in_words(stands.decision)} by {stands.by} already.")
    return stands


async def _audit(resources: Resources, case: Case, stands: Decided) -> None:
    """Write down who decided what, and why, once."""
    if resources.clock.now() - stands.at > _REMEMBERED:  # by then the inbox has forgotten that it was
        return
    await resources.record_once(
        "approvals",
        f"{case.link.saga_id}:{case.link.promise}",
        action=_DECIDED,
        subject_id=case.link.saga_id,
        actor=stands.by,
        reason=stands.reason,
        details={"order_id": case.placed.order_id, "attempt": case.placed.attempt, "decision": stands.decision},
    )


def taken_decision(standing: SettledSignal | None) -> Decided:
    """The decision that was taken; ApprovalExpired or ApprovalClosed if none was and none can be. SagaUnreadable."""
    if standing is None or standing.at is None:
        raise ApprovalClosed
    if standing.kind == "expired":
        raise ApprovalExpired
    if standing.kind == "resolved":
        try:
            approval = Approval.model_validate(standing.value)
        except ValidationError:
            raise SagaUnreadable from None
        approved, reason = approval.approved, approval.reason
    else:
        approved, reason = False, standing.message
    decision: Decision = "approve" if approved else "reject"
    return Decided(decision, by=standing.by or "unknown", at=standing.at, reason=reason or None)


def in_words(decision: Decision) -> str:
    """The decision as a participle."""
    return "approved" if decision == "approve" else "rejected"
