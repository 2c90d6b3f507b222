"""The dependencies of route handlers: the database, the clock, the relay and so on; and how they raise an alarm."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.session.settings import SessionSettings


@dataclass(frozen=True, slots=True)
class Resources:
    """What `app.py` has wired, for the handlers."""

    database: Database
    clock: Clock
    relay: Relay
    metrics: Metrics
    settings: SessionSettings
    sealer: Sealer


async def resources_of(request: Request) -> Resources:
    """Return what this app was wired with."""
    resources: Resources = request.app.state.resources
    return resources


AppResources = Annotated[Resources, Depends(resources_of)]


async def alarm(conn: Connection, resources: Resources, kind: str, *, order_id: str, reason: str) -> None:
    """Raise an alarm: a WARN line, a metric, and a line in the audit log of this transaction."""
    await audit.alarm(conn, kind, subject_id=order_id, reason=reason, now=resources.clock.sql_now())
    resources.metrics.alarm(kind, order_id=order_id, reason=reason)
