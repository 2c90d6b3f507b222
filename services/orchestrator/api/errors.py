"""Why the orchestrator refuses a request; the chassis maps each class to its status.

RequestError
├── NotFound
│   ├── WorkflowUnknown
│   ├── SagaUnknown
│   ├── SignalUnknown
│   └── ApprovalUnknown
├── Conflict
│   ├── SagaExists
│   ├── SagaFinal
│   ├── SagaCancelled
│   ├── SagaPastNoReturn
│   ├── SagaUnwinding
│   ├── StateConflict
│   ├── SagaUnreadable
│   ├── SignalConflict
│   ├── SignalMismatch
│   ├── SignalLate
│   ├── ApprovalDecided
│   ├── ApprovalClosed
│   └── InFlight
│       └── UserLive
├── Gone
│   └── ApprovalExpired
├── Invalid
│   ├── InvalidPayload
│   └── SearchTooWide
└── Unavailable
    └── VersionElsewhere
"""

from typing import ClassVar

from services.chassis.errors import Conflict, Gone, InFlight, Invalid, NotFound, Unavailable
from services.contracts.orchestrator import SAGA_CANCELLED, SAGA_CONFLICT


class WorkflowUnknown(NotFound):
    """No workflow of this name is registered."""

    code: ClassVar[str] = "workflow-unknown"


class SagaUnknown(NotFound):
    """No saga has this id."""

    code: ClassVar[str] = "saga-unknown"


class SignalUnknown(NotFound):
    """No such awakeable, or the workflow declares no promise of this name."""

    code: ClassVar[str] = "signal-unknown"


class SagaExists(Conflict):
    """This workflow and key were started with another input."""

    code: ClassVar[str] = SAGA_CONFLICT
    final: ClassVar[bool] = True


class SagaFinal(Conflict):
    """The saga has ended."""

    code: ClassVar[str] = "saga-final"


class SagaCancelled(Conflict):
    """The saga has been cancelled already."""

    code: ClassVar[str] = SAGA_CANCELLED


class SagaPastNoReturn(Conflict):
    """The saga is past its point of no return and will complete."""

    code: ClassVar[str] = "saga-no-return"


class SagaUnwinding(Conflict):
    """The saga has failed and is being unwound already."""

    code: ClassVar[str] = "saga-unwinding"


class StateConflict(Conflict):
    """The saga's present state does not allow this operation."""

    code: ClassVar[str] = "state-conflict"


class SagaUnreadable(Conflict):
    """This release cannot read the saga: another has written it, or somebody by hand; nothing was changed."""

    code: ClassVar[str] = "saga-unreadable"


class SignalConflict(Conflict):
    """Another value stands already; the first one wins."""

    code: ClassVar[str] = "signal-conflict"


class SignalMismatch(Conflict):
    """Order, amount or currency are not what was asked for; recorded, alarmed, not believed."""

    code: ClassVar[str] = "signal-mismatch"


class SignalLate(Conflict):
    """The wait is over: it has expired, or its saga has ended."""

    code: ClassVar[str] = "signal-late"


class InvalidPayload(Invalid):
    """The value does not have the declared shape."""

    code: ClassVar[str] = "invalid-value"


class SearchTooWide(Invalid):
    """What is looked for is rare, and too many sagas would have to be read to find it; narrow it by created_after."""

    code: ClassVar[str] = "search-too-wide"


class VersionElsewhere(Unavailable):
    """This replica does not have the saga's version of its workflow; ask again, for another one that has it."""

    code: ClassVar[str] = "version-elsewhere"


class ApprovalDecided(Conflict):
    """The opposite has been decided already."""

    code: ClassVar[str] = "approval-decided"


class ApprovalClosed(Conflict):
    """The order has ended; there is nothing left to decide."""

    code: ClassVar[str] = "approval-closed"


class ApprovalExpired(Gone):
    """The approval has expired; the order is being undone."""

    code: ClassVar[str] = "approval-expired"


class ApprovalUnknown(NotFound):
    """There is no such approval."""

    code: ClassVar[str] = "approval-unknown"


class UserLive(InFlight):
    """Sagas of this customer have not ended; erase again once they have."""

    code: ClassVar[str] = "user-live"
