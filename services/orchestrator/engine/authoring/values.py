"""The values that a workflow takes from outside of its code: recorded once, and the same on every replay."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from services.orchestrator.engine.authoring.names import checked_name, name_of
from services.orchestrator.engine.authoring.recorder import Recorder

T = TypeVar("T")


class Values:
    """The part of the context that draws and reads values."""

    _recorder: Recorder

    def now(self) -> datetime:
        """Return the present moment of the database's clock, recorded."""
        value: datetime = self._recorder.value("now", None)
        return value

    def uuid(self) -> UUID:
        """Return a random UUID, recorded."""
        value: UUID = self._recorder.value("uuid", None)
        return value

    def random(self) -> float:
        """Return a random number in [0, 1), recorded."""
        value: float = self._recorder.value("random", None)
        return value

    def side_effect(self, fn: Callable[[Any], T]) -> T:
        """Record what a cheap, local, non-deterministic read gives; `fn` gets the clients."""
        value: T = self._recorder.value(checked_name("the name of a side effect", name_of(fn)), fn)
        return value
