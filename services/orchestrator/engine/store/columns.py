"""Converting values to columns and back: small structures as JSON text, errors as two columns."""

from datetime import datetime
from typing import Any

import orjson

from services.chassis.postgres.connection import Row
from services.orchestrator.engine.model.records import STEP, Attention, Call, Carried, ErrorInfo, Kind, ReadBack, Wait


def error_of(row: Row) -> ErrorInfo | None:
    """Read the two columns of an error."""
    return None if row["error_code"] is None else ErrorInfo(row["error_code"], row["error_message"] or "")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else _at(text)


def _at(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return at


def _require_texts(*texts: object) -> None:
    """TypeError unless all of these are texts or None: another release or a person may have written the column."""
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{type(text).__name__} in the place of a text")


def write_calls(calls: tuple[Call, ...]) -> str | None:
    """Write the calls under way, and what a restart has carried over; none is null.

    The fifth field says whether the outcome is unknown. Older releases must be able to read the other cases too:
    - Carried over: a list, which counts as true. A release without restarts takes it for a call under way, stops the
      saga there, and writes it back as it is.
    - Read back: an object, which has the time of the next try too. A release without read-backs takes it for a call
      that was cut off, and not for one whose pause is over, which it would make again.
    - A transaction: its kind, because its outcome is always known.
    """
    if not calls:
        return None
    return orjson.dumps(
        [
            [
                call.position,
                call.name,
                call.attempt,
                call.started_at,
                _standing(call),
                call.retry_at if call.read_back is None else None,
                _pair(call.error),
            ]
            for call in calls
        ]
    ).decode()


def read_calls(text: str | None) -> tuple[Call, ...]:
    """Read the calls under way, and what a restart has carried over."""
    return () if text is None else tuple(map(_call, orjson.loads(text)))


def _call(fields: list[Any]) -> Call:
    position, name, attempt, started_at, standing, retry_at, error = fields
    if not (isinstance(position, str) and isinstance(name, str) and isinstance(attempt, int)):
        raise TypeError("a call that is none")
    call = Call(position, name, attempt, _at(started_at), retry_at=_moment(retry_at), error=_error(error))
    match standing:
        case list():
            return call._replace(unknown=True, carried=_carried(*standing))
        case dict():
            read_back = ReadBack(standing["tries"], _error(standing["failure"]))
            return call._replace(
                unknown=standing["unknown"], retry_at=_moment(standing["retry_at"]), read_back=read_back
            )
        case str():
            return call._replace(kind=Kind(standing))
        case _:
            return call._replace(unknown=standing)


def _standing(call: Call) -> Any:
    """Return the fifth field of a call; see `write_calls`."""
    if call.carried is not None:
        return list(call.carried)
    if call.read_back is not None:
        tries, failure = call.read_back
        return {"unknown": call.unknown, "tries": tries, "failure": _pair(failure), "retry_at": call.retry_at}
    return call.unknown if call.kind is STEP else str(call.kind)


def _pair(error: ErrorInfo | None) -> list[str] | None:
    return None if error is None else [error.code, error.message]


def _error(pair: list[str] | None) -> ErrorInfo | None:
    if pair is None:
        return None
    _require_texts(*pair)
    return ErrorInfo(*pair)


def _carried(kind: str, output: str | None, expects: str | None) -> Carried:
    _require_texts(output, expects)
    return Carried(Kind(kind), output, expects)


def write_waits(waits: tuple[Wait, ...]) -> str | None:
    """Write what a saga waits for; nothing is null."""
    if not waits:
        return None
    return orjson.dumps([[wait.kind, wait.name, wait.since, wait.id, wait.until] for wait in waits]).decode()


def read_waits(text: str | None) -> tuple[Wait, ...]:
    """Read what a saga waits for."""
    if text is None:
        return ()
    return tuple(_wait(*fields) for fields in orjson.loads(text))


def _wait(kind: str, name: str, since: str, signal_id: str | None, until: str | None) -> Wait:
    _require_texts(kind, name, signal_id)
    return Wait(kind, name, _at(since), signal_id, _moment(until))


def write_attention(attention: Attention | None) -> str | None:
    """Write why a saga is stuck."""
    return None if attention is None else orjson.dumps(attention).decode()


def read_attention(text: str | None) -> Attention | None:
    """Read why a saga is stuck."""
    if text is None:
        return None
    fields = orjson.loads(text)
    attention = Attention(**fields)
    _require_texts(*fields.values())
    return attention
