"""The first argument of a step function: the key, the attempt, the deadline, and the clients to call out with."""

from typing import Any, Generic, NamedTuple, TypeVar

ClientsT_co = TypeVar("ClientsT_co", covariant=True)


class Step(NamedTuple, Generic[ClientsT_co]):
    """One attempt of a step or an undo; a named tuple, as one is made for every attempt.

    `key` is the same for every attempt: ``<saga id>:<position>``, with ``:undo`` behind it for an undo. `deadline`
    is an instant of the clock's `monotonic()`, in seconds. `attempt` counts from 1. `log` is a structlog logger.
    """

    key: str
    attempt: int
    deadline: float
    clients: ClientsT_co
    saga_id: str
    acting_user: str | None
    log: Any
