"""Sagas that workflow code starts, whether or not it waits for their ends."""

from typing import Any

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.records import NewSaga, Saga
from services.orchestrator.engine.model.saga_ids import saga_id_of


def started_by(
    parent: Saga,
    codec: Codec,
    definition: WorkflowDefinition,
    key: str,
    value: Any,
    subject: str | None,
    *,
    delay_s: float = 0.0,
    awaited: bool = False,
) -> NewSaga:
    """Return the saga that `parent` starts: on behalf of the same user, and in the same trace."""
    return NewSaga(
        id=saga_id_of(definition.name, key),
        workflow=definition.name,
        version=definition.version,
        key=key,
        input=codec.encode(value, definition.input_type),
        subject=subject or parent.subject,
        delay_s=delay_s,
        parent_id=parent.id,
        traceparent=parent.traceparent,
        awaited=awaited,
    )
