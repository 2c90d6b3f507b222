"""What a read-back says when the effect of a step is there."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Found(Generic[T_co]):
    """The effect is there; `value` is the result that the step would have given."""

    value: T_co
