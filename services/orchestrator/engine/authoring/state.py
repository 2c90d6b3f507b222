"""The state of a saga: small values by name, which its code sets and the outside can read."""

from typing import Any, Final, TypeVar, overload

from services.orchestrator.engine.authoring.names import checked_text
from services.orchestrator.engine.authoring.recorder import StateRecorder

T = TypeVar("T")
D = TypeVar("D")

NAME_MAX: Final = 200
"""How many characters a name has at most."""


class State:
    """Small values that last as long as the saga, by names of 1 to 200 characters; ValueError for another name.

    A write takes a position and one record, and forces no flush. What is read is what the code has written before, so
    it takes none. A branch of a fork sees what was written before the fork and what it has written itself; behind the
    fork it is as if the branches had run one after another, without those that have lost a `select`.
    """

    __slots__ = ("_recorder",)

    def __init__(self, recorder: StateRecorder) -> None:
        """Made by the engine, for one saga."""
        self._recorder = recorder

    @overload
    def get(self, name: str, shape: type[T]) -> T | None: ...

    @overload
    def get(self, name: str, shape: type[T], default: D) -> T | D: ...

    @overload
    def get(self, name: str, shape: Any, default: Any = None) -> Any: ...

    def get(self, name: str, shape: Any, default: Any = None) -> Any:
        """Return a copy of the value, read as `shape`, and `default` if there is none."""
        return self._recorder.read(_checked(name), shape, default)

    def set(self, name: str, value: Any, shape: Any = None) -> None:
        """Set a value, written as `shape`, by default as its own type; a copy of what it is now."""
        self._recorder.write(_checked(name), value, type(value) if shape is None else shape)

    def clear(self, name: str) -> None:
        """Clear a value; nothing happens if there is none."""
        self._recorder.clear(_checked(name))

    def clear_all(self) -> None:
        """Clear all values that stand here."""
        self._recorder.clear(None)

    def names(self) -> tuple[str, ...]:
        """Return the names that have a value, sorted."""
        return self._recorder.names()


def _checked(name: str) -> str:
    if not 1 <= len(checked_text("a name in the state", name)) <= NAME_MAX:
        raise ValueError(f"a name in the state has 1 to {NAME_MAX} characters, not {name[:NAME_MAX]!r}")
    return name
