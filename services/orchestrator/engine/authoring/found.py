"""The result of a read-back that has found the effect of its step."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Found(Generic[T_co]):
    """The effect is there; `value` is the result that the step would have given."""

    value: T_co
