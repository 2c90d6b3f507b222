"""Ids of sagas, which derive from workflow and key, and of awakeables, which contain the id of their saga."""

from typing import Final
from uuid import UUID

from services.chassis import ids
from services.orchestrator.engine.model.errors import UnknownSaga, UnknownSignal

PREFIX: Final = "awk_"
_SAGA_HEX: Final = 32


def saga_id_of(workflow: str, key: str) -> UUID:
    """Return the id of the saga of a workflow and key, which anybody can compute: who starts it again finds it."""
    return ids.derived_uuid("saga", workflow, key)


def read_saga_id(saga_id: str) -> UUID:
    """Read a saga's id; UnknownSaga if it cannot be one."""
    try:
        return ids.read_uuid(saga_id)
    except ValueError:
        raise UnknownSaga from None


def awakeable_id(saga_id: UUID, secret: str) -> str:
    """Return the id of a saga's awakeable, which nobody can guess who does not know the secret in it."""
    return f"{PREFIX}{saga_id.hex}{secret}"


def saga_of(awakeable_id: str) -> UUID:
    """Read which saga an awakeable belongs to out of its id; UnknownSignal if it is none."""
    body = awakeable_id.removeprefix(PREFIX)
    if body == awakeable_id or len(body) <= _SAGA_HEX or not awakeable_id.isascii() or not awakeable_id.isprintable():
        raise UnknownSignal
    try:
        return ids.read_uuid(body[:_SAGA_HEX])
    except ValueError:
        raise UnknownSignal from None
