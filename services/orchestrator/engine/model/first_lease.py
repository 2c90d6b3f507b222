"""The value of a saga that is leased by its start."""

from datetime import datetime

from services.orchestrator.engine.model.records import NewSaga, Saga
from services.orchestrator.engine.model.states import Phase, RunState


def leased_from_start(new: NewSaga, created_at: datetime) -> Saga:
    """Return a saga that was started leased, as a claim would read it."""
    return Saga(
        id=new.id,
        workflow=new.workflow,
        version=new.version,
        key=new.key,
        subject=new.subject,
        input=new.input,
        phase=Phase.FORWARD,
        run_state=RunState.LEASED,
        outcome=None,
        epoch=1,
        flush_no=0,
        signal_no=0,
        undo_no=0,
        takeovers=0,
        faults=0,
        no_return=False,
        created_at=created_at,
        claimed_at=created_at,
        traceparent=new.traceparent,
    )
