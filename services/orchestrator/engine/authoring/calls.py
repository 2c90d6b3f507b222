"""The primitive that calls another saga and waits for its result."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from services.orchestrator.engine.authoring.definition import WorkflowDefinition, require_definition
from services.orchestrator.engine.authoring.durations import checked_timeout
from services.orchestrator.engine.authoring.names import checked_indexed, checked_name
from services.orchestrator.engine.authoring.recorder import Recorder
from services.orchestrator.engine.authoring.step import Step


class Calls:
    """The part of a workflow's context that calls other sagas."""

    _recorder: Recorder

    async def call(
        self,
        definition: WorkflowDefinition,
        *,
        key: str,
        input: Any,  # noqa: A002 - the word that the HTTP contract and the saga's row use
        subject: str | None = None,
        timeout: timedelta | None = None,
        compensate: Callable[[Step[Any], Any, Any], Awaitable[None]] | None = None,
    ) -> Any:
        """Call another saga and wait for its result; one of this workflow and key that is there already is joined.

        ChildFailed if it fails or is cancelled, SignalTimeout after `timeout`, which closes the wait and no more. When
        this saga is undone, one that it has started is cancelled and waited for; what has completed by then is
        undone by `compensate`, which gets the output (None if it has been erased) and the input.
        """
        require_definition("what is called", definition)
        checked_name("the key of a saga", key)
        checked_indexed("the subject of a saga", subject or "")
        return await self._recorder.call(definition, key, input, subject, checked_timeout(timeout), compensate)
