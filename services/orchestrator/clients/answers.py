"""Reading answers of other services: the shape is validated before the answer is used."""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from services.chassis.errors import RemoteUnknown
from services.chassis.outbound.http import Answer

T = TypeVar("T")


class _OfAnOrder(Protocol):
    @property
    def order_id(self) -> str: ...


Ordered = TypeVar("Ordered", bound=_OfAnOrder)


@lru_cache(maxsize=64)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def read(shape: type[T], answer: Answer, *, service: str) -> T:
    """Return the body as `shape`; RemoteUnknown if it has another shape, as it proves nothing then."""
    try:
        adapter: TypeAdapter[T] = _adapter(cast("Hashable", shape))
        return adapter.validate_python(answer.data)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, fault["loc"])) or "body" for fault in error.errors()[:5])
        raise RemoteUnknown(
            f"{service} answered {answer.status} with an unreadable body: {places}",
            service=service,
            status=answer.status,
        ) from None


def read_of(order_id: str, shape: type[Ordered], answer: Answer, *, service: str) -> Ordered:
    """Return the body as `shape`; RemoteUnknown also if it is about another order."""
    value = read(shape, answer, service=service)
    if value.order_id != order_id:
        raise RemoteUnknown(
            f"{service} answered {answer.status} about another order", service=service, status=answer.status
        )
    return value
