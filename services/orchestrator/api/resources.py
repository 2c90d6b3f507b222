"""The dependencies of route handlers: the engine's operations, the database, secrets, links and so on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from prometheus_client import Counter

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.errors import Forbidden
from services.chassis.messaging import inbox
from services.chassis.metrics import Metrics
from services.chassis.postgres.database import Database
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.api.approval_links import ApprovalLinks
from services.orchestrator.api.sign_in import SignIn, same_origin
from services.orchestrator.engine import Operations, Registry


@dataclass(frozen=True, slots=True)
class Resources:
    """What `app.py` has wired, for the handlers."""

    operations: Operations
    registry: Registry
    database: Database
    clock: Clock
    metrics: Metrics
    webhooks: Counter
    webhook_secrets: tuple[str, ...]
    links: ApprovalLinks
    sign_in: SignIn
    public_url: str
    read_order: Callable[[Any], PlacedOrder]
    """An order out of a saga's input, its secrets opened."""

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Forbidden for a form that no page of ours has sent."""
        if not same_origin(headers.get("origin"), public_url=self.public_url, host=headers.get("host")):
            raise Forbidden("This form was not sent by our page.")

    async def record_once(
        self,
        source: str,
        message_id: str,
        *,
        action: str,
        subject_id: str,
        actor: str,
        details: Mapping[str, Any],
        reason: str | None = None,
        alarm: str | None = None,
    ) -> None:
        """Add an audit row once per message of a source, however often it is delivered.

        An `alarm` is sounded with it, as every alarm is: by a row of its own, a WARN line and a count. `subject_id` is
        then the saga's.
        """
        now = self.clock.sql_now()
        async with self.database.begin() as conn:
            if not await inbox.first_time(conn, source, message_id, now=now):
                return
            await audit.record(
                conn, action=action, subject_id=subject_id, actor=actor, reason=reason, details=details, now=now
            )
            if alarm is not None:
                await audit.alarm(conn, alarm, subject_id=subject_id, reason=action, details=details, now=now)
        if alarm is not None:
            self.metrics.alarm(alarm, saga_id=subject_id, reason=action, by=actor, **details)


async def resources_of(request: Request) -> Resources:
    """Return what this app was wired with."""
    resources: Resources = request.app.state.resources
    return resources


AppResources = Annotated[Resources, Depends(resources_of)]
