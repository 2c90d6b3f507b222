"""Telling the administrators that an order waits for them; a mail or chat notifier takes this place later."""

from dataclasses import dataclass
from typing import Protocol

from services.contracts.orchestrator import PlacedOrder


class EventLog(Protocol):
    """The one method of a structured logger that is needed here."""

    def info(self, event: str, **fields: object) -> object:
        """Log a named event."""


class Notifier(Protocol):
    """Somebody who reaches the administrators."""

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        """An order waits for a decision; `reminder` counts from 0, the first notice."""


@dataclass(frozen=True, slots=True)
class LogNotifier:
    """Notifies by a log line that names the list of approvals, never a link: who reads logs must not decide."""

    log: EventLog
    public_url: str

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        """Write the line."""
        self.log.info(
            "approval.waiting",
            order_id=placed.order_id,
            user_id=placed.user_id,
            saga_id=saga_id,
            reminder=reminder,
            decide_at=f"{self.public_url}/approvals",
        )
