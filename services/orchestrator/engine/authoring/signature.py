"""The declared types of workflow functions, steps and undos, read once from their annotations."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, get_type_hints


@dataclass(frozen=True, slots=True)
class Signature:
    """The types behind a function's first parameter (context or step), and of its result."""

    params: tuple[Any, ...]
    result: Any

    def shape_of_args(self, count: int, *, skip: int = 0) -> Any:
        """Return the type of `count` arguments after the first `skip`, as one tuple type."""
        shapes = (self.params[skip:] + (Any,) * count)[:count]
        return tuple.__class_getitem__(shapes) if shapes else tuple[()]


@lru_cache(maxsize=4096)
def signature_of(fn: Callable[..., Any]) -> Signature:
    """Read a function's annotations; what is not annotated may be any JSON value."""
    hints = get_type_hints(fn)
    names = list(inspect.signature(fn).parameters)[1:]
    return Signature(tuple(hints.get(name, Any) for name in names), hints.get("return", Any))
