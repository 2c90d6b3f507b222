"""A lease: the right of one replica to run a saga, until it expires."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.chassis.clock import Clock
from services.orchestrator.engine.model.flush import Grant
from services.orchestrator.engine.model.records import Saga


@dataclass(slots=True)
class Lease:
    """The right to run a saga at one epoch.

    `until`: when it expires, an instant of the monotonic clock in seconds. It is counted from before the claim or the
    heartbeat was sent; the database counts from when it received it. So the holder always stops first.
    `grant`: set while the lease is not written yet; the next flush of the turn takes the lease with it.
    `takeovers`: how many replicas the saga has lost in a row, as last read.
    """

    saga_id: UUID
    epoch: int
    until: float
    grant: Grant | None = None
    takeovers: int = 0

    def valid(self, monotonic: float) -> bool:
        """Say whether the lease still holds."""
        return monotonic < self.until


def now_of(saga: Saga, clock: Clock) -> datetime:
    """Return the time by our clock, but never earlier than the database's time of the saga's last claim."""
    now = clock.now()
    return max(now, saga.claimed_at)
