"""Ids of awakeables: random, and they name their saga, so that it is found without a search."""

from typing import Final
from uuid import UUID

from services.chassis import ids
from services.orchestrator.engine.model.errors import UnknownSignal

PREFIX: Final = "awk_"
_SAGA_HEX: Final = 32
_SECRET_BYTES: Final = 16


def new_awakeable_id(saga_id: UUID) -> str:
    """Return an id that nobody can guess."""
    return f"{PREFIX}{saga_id.hex}{ids.new_secret(_SECRET_BYTES)}"


def saga_of(awakeable_id: str) -> UUID:
    """Read which saga an awakeable belongs to out of its id; UnknownSignal if it is none."""
    body = awakeable_id.removeprefix(PREFIX)
    if body == awakeable_id or len(body) <= _SAGA_HEX or not awakeable_id.isascii() or not awakeable_id.isprintable():
        raise UnknownSignal
    try:
        return ids.read_uuid(body[:_SAGA_HEX])
    except ValueError:
        raise UnknownSignal from None
