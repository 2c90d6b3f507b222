"""Signals: opened by a saga's flush, settled once under the saga's row lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.postgres.connection import Connection, Row
from services.orchestrator.engine.model.records import Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.states import Phase
from services.orchestrator.engine.store.columns import error_of
from services.orchestrator.engine.store.queries import queries, reads


async def expire(conn: Connection, expired: Sequence[tuple[UUID, str]], *, now: datetime | None) -> None:
    """Close open signals whose deadline has passed; the flush has checked that none was settled in the meantime."""
    if not expired:
        return
    await conn.fetch(
        queries()["expire_signals"],
        {"saga_ids": [saga_id for saga_id, _ in expired], "names": [name for _, name in expired], "now": now},
    )


class Settled(NamedTuple):
    """When a signal was settled, and the epoch and the signal count of its saga's row since then.

    `is_due`: the saga waits, and is due for a claim now. Otherwise it is leased, or an operator has stopped it.
    """

    at: datetime
    epoch: int
    signal_no: int
    is_due: bool


async def settle_open(
    conn: Connection, proposed: Sequence[Signal], *, now: datetime | None
) -> dict[tuple[UUID, str], Settled]:
    """Settle signals if they are open and their sagas go forward; return those that were settled."""
    if not proposed:
        return {}
    rows = await conn.fetch(queries()["settle"], _proposals(proposed, now))
    return {
        (row["saga_id"], row["name"]): Settled(row["at"], row["epoch"], row["signal_no"], row["waits"]) for row in rows
    }


async def settle_held(conn: Connection, proposed: Signal, *, now: datetime | None) -> datetime:
    """Settle a signal, open or without a row, of a saga that goes forward; under `lock_saga`. Return the time."""
    (row,) = await conn.fetch(queries()["settle"], _proposals([proposed], now))
    at: datetime = row["at"]
    return at


def _proposals(proposed: Sequence[Signal], now: datetime | None) -> dict[str, Any]:
    return {
        "settlements": [
            (
                signal.saga_id,
                signal.name,
                signal.kind,
                signal.status,
                signal.value,
                signal.error and signal.error.code,
                signal.error and signal.error.message,
                signal.identity,
                signal.settled_by,
            )
            for signal in proposed
        ],
        "now": now,
    }


class Addressee(NamedTuple):
    """The saga of a signal, read without a lock: workflow, version and key never change."""

    workflow: str
    version: int
    key: str
    phase: Phase


Place = tuple[UUID, str]
"""Which signal: its saga and its name."""


async def look_up(conn: Connection, places: Collection[Place]) -> dict[Place, tuple[Addressee | None, Signal | None]]:
    """Read many signals, and their sagas."""
    if not places:
        return {}
    rows = await conn.fetch(
        reads()["look_up"],
        {"saga_ids": [saga_id for saga_id, _ in places], "names": [name for _, name in places]},
    )
    return {
        (row["of_saga"], row["of_name"]): (
            None
            if row["workflow"] is None
            else Addressee(row["workflow"], row["version"], row["key"], Phase(row["phase"])),
            None if row["name"] is None else _signal(row),
        )
        for row in rows
    }


async def news_of(conn: Connection, saga_ids: Collection[UUID]) -> dict[UUID, tuple[int, list[Signal]]]:
    """Read the settled signals of each saga, and how many there are by the count of its row."""
    if not saga_ids:
        return {}
    news: dict[UUID, tuple[int, list[Signal]]] = {}
    for row in await conn.fetch(reads()["news_of"], {"saga_ids": list(saga_ids)}):
        _, found = news.setdefault(row["id"], (row["signal_no"], []))
        if row["name"] is not None:
            found.append(_signal(row))
    return news


async def get(conn: Connection, saga_id: UUID, name: str) -> Signal | None:
    """Read one signal."""
    row = await conn.first(reads()["signal"], {"saga_id": saga_id, "name": name})
    return None if row is None else _signal(row)


@dataclass(frozen=True, slots=True)
class WaitingSaga:
    """A saga that waits for a promise; `input` is JSON text, None if it does not fit on the page."""

    saga_id: UUID
    key: str
    input: str | None
    subject: str | None
    since: datetime
    until: datetime | None


async def open_promises(
    conn: Connection, name: str, *, after: tuple[datetime, UUID] | None, limit: int, bytes_max: int
) -> list[WaitingSaga]:
    """Read the sagas that wait for a promise, the longest waiting first, with `bytes_max` of inputs, one at least."""
    since, saga_id = (None, None) if after is None else after
    statement = reads().narrowed("open_promises", None if after is None else "behind")
    bounds = {"limit": limit, "bytes_max": bytes_max}
    rows = await conn.fetch(statement, {"name": name, "since": since, "saga_id": saga_id, **bounds})
    return [WaitingSaga(**dict(row)) for row in rows]


async def count_open_promises(conn: Connection, name: str) -> int:
    """Count the sagas that wait for a promise."""
    return int(await conn.scalar(reads()["count_open_promises"], {"name": name}))


def _signal(row: Row) -> Signal:
    return Signal(
        saga_id=row["saga_id"],
        name=row["name"],
        kind=SignalKind(row["kind"]),
        status=SignalStatus(row["status"]),
        shape=row["shape"],
        expects=row["expects"],
        value=row["value"],
        error=error_of(row),
        identity=row["identity"],
        opened_at=row["opened_at"],
        until=row["until"],
        settled_by=row["settled_by"],
        settled_at=row["settled_at"],
    )
