"""The dependencies of route handlers: the database, the clock, and the dispatch to the carrier."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.shipping.dispatch import Dispatch


@dataclass(frozen=True, slots=True)
class Resources:
    """What `app.py` has wired, for the handlers."""

    database: Database
    clock: Clock
    dispatch: Dispatch


async def resources_of(request: Request) -> Resources:
    """Return what this app was wired with."""
    resources: Resources = request.app.state.resources
    return resources


AppResources = Annotated[Resources, Depends(resources_of)]
