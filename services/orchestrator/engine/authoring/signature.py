"""The declared parameters and types of workflow functions, steps and undos, read once."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any, Final, get_type_hints

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signature:
    """The types behind a function's first parameter (context or step), and of its result.

    Behind that one it takes `least` to `most` arguments by position; -1 says that it cannot be called so at all.
    """

    params: tuple[Any, ...]
    result: Any
    least: int = 0
    most: float = inf

    def shape_of_args(self, count: int, *, skip: int = 0) -> Any:
        """Return the type of `count` arguments after the first `skip`, as one tuple type."""
        shapes = (self.params[skip:] + (Any,) * count)[:count]
        return tuple.__class_getitem__(shapes) if shapes else tuple[()]

    def require(self, count: int, what: str) -> None:
        """Make sure that `count` arguments fit; TypeError names `what` is called, and what it takes."""
        if not self.least <= count <= self.most:
            takes = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            takes = "none" if self.most < 0 else takes
            raise TypeError(f"{what} would be called with {count} arguments behind its first, and takes {takes}")


@lru_cache(maxsize=4096)
def signature_of(fn: Callable[..., Any]) -> Signature:
    """Read a function's annotations; what is not annotated may be any JSON value."""
    hints = get_type_hints(fn)
    parameters = list(inspect.signature(fn).parameters.values())
    shapes = tuple(hints.get(parameter.name, Any) for parameter in parameters[1:])
    return Signature(shapes, hints.get("return", Any), *_bounds(parameters))


def require_arguments(fn: Callable[..., Any], count: int, what: str) -> None:
    """As `Signature.require`, of a function whose annotations may name what is not defined yet."""
    parameters = list(inspect.signature(fn).parameters.values())
    Signature((), Any, *_bounds(parameters)).require(count, what)


def _bounds(parameters: Sequence[inspect.Parameter]) -> tuple[int, float]:
    """Return how many arguments behind the first a function takes at least and at most."""
    by_position = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    needed = [parameter for parameter in parameters if parameter.default is parameter.empty]
    takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed) or not (by_position or takes_any):
        return -1, -1
    least = sum(parameter.kind in _POSITIONAL for parameter in needed) - 1
    return max(0, least), inf if takes_any else len(by_position) - 1
