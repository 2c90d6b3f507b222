"""A lease: the right to run a saga, which ends by itself."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.chassis.clock import Clock
from services.orchestrator.engine.model.flush import Grant
from services.orchestrator.engine.model.records import Saga


@dataclass(slots=True)
class Lease:
    """The right to run a saga at one epoch.

    `until` is an instant of the monotonic clock, in seconds, counted from before the claim or the heartbeat was
    sent; the database counts from when it received it, so the holder always stops first.
    `grant` is what the turn's next flush takes it with; None once it is taken. Until then no row knows of it.
    `takeovers` are the saga's losses, as far as they were heard of last.
    """

    saga_id: UUID
    epoch: int
    until: float
    grant: Grant | None = None
    takeovers: int = 0

    def valid(self, monotonic: float) -> bool:
        """Say whether the lease still holds."""
        return monotonic < self.until


def present(saga: Saga, clock: Clock) -> datetime:
    """Return the present moment, at least the one at which the database handed out the saga's lease."""
    now = clock.now()
    return max(now, saga.claimed_at)
