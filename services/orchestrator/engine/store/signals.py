"""Signals: opened by a saga's flush, settled once under the saga's row lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_into
from sqlalchemy.ext.asyncio import AsyncConnection

from services.orchestrator.engine.model.records import Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.states import Phase
from services.orchestrator.engine.store.columns import error_of, moment, queries
from services.orchestrator.engine.store.tables import sagas, signals


async def expire(conn: AsyncConnection, expired: Sequence[tuple[UUID, str]], *, now: datetime | None) -> None:
    """Close open signals whose deadline has passed; the flush has made sure that none was settled meanwhile."""
    if not expired:
        return
    at = moment(now)
    await conn.execute(
        update(signals)
        .where(
            or_(*(and_(signals.c.saga_id == saga_id, signals.c.name == name) for saga_id, name in expired)),
            signals.c.status == SignalStatus.OPEN,
        )
        .values(status=SignalStatus.EXPIRED, settled_at=at, settled_by="engine")
    )


async def settle_open(
    conn: AsyncConnection, proposed: Sequence[Signal], *, now: datetime | None
) -> dict[tuple[UUID, str], datetime]:
    """Settle those of many signals that are open and whose sagas go forward; give these and when it was."""
    if not proposed:
        return {}
    rows = await conn.execute(
        queries()["settle"],
        {
            "saga_ids": [signal.saga_id for signal in proposed],
            "names": [signal.name for signal in proposed],
            "statuses": [signal.status for signal in proposed],
            "values": [signal.value for signal in proposed],
            "error_codes": [signal.error and signal.error.code for signal in proposed],
            "error_messages": [signal.error and signal.error.message for signal in proposed],
            "identities": [signal.identity for signal in proposed],
            "bys": [signal.settled_by for signal in proposed],
            "now": now,
        },
    )
    return {(saga_id, name): at for saga_id, name, at in rows}


@dataclass(frozen=True, slots=True)
class Addressee:
    """A saga whose signal somebody wants to settle, as it stands without a lock: what it is never changes."""

    workflow: str
    version: int
    key: str
    phase: Phase


async def addressees(conn: AsyncConnection, saga_ids: Collection[UUID]) -> dict[UUID, Addressee]:
    """Read what many sagas are."""
    rows = await conn.execute(
        select(sagas.c.id, sagas.c.workflow, sagas.c.version, sagas.c.key, sagas.c.phase).where(
            sagas.c.id.in_(saga_ids)
        )
    )
    return {row.id: Addressee(row.workflow, row.version, row.key, Phase(row.phase)) for row in rows}


async def named(conn: AsyncConnection, names: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], Signal]:
    """Read many signals by their sagas and names."""
    condition = tuple_(signals.c.saga_id, signals.c.name).in_(list(names))
    return {(signal.saga_id, signal.name): signal for signal in await _where(conn, condition)}


async def settle(conn: AsyncConnection, signal: Signal) -> None:
    """Write a settlement, for a signal that is open or was never opened; under `lock_saga`."""
    values = {
        "status": signal.status,
        "value": signal.value,
        "error_code": signal.error and signal.error.code,
        "error_message": signal.error and signal.error.message,
        "identity": signal.identity,
        "settled_by": signal.settled_by,
        "settled_at": signal.settled_at,
    }
    statement = insert_into(signals).values(
        saga_id=signal.saga_id,
        name=signal.name,
        kind=signal.kind,
        shape=signal.shape,
        opened_at=signal.opened_at or signal.settled_at,
        **values,
    )
    await conn.execute(statement.on_conflict_do_update(index_elements=[signals.c.saga_id, signals.c.name], set_=values))


async def get(conn: AsyncConnection, saga_id: UUID, name: str) -> Signal | None:
    """Read one signal."""
    found = await _where(conn, and_(signals.c.saga_id == saga_id, signals.c.name == name))
    return found[0] if found else None


async def settled_of(conn: AsyncConnection, saga_ids: Collection[UUID]) -> list[Signal]:
    """Read the settled signals of many sagas."""
    if not saga_ids:
        return []
    return await _where(conn, and_(signals.c.saga_id.in_(saga_ids), signals.c.status != SignalStatus.OPEN))


async def count_of(conn: AsyncConnection, saga_id: UUID) -> int:
    """Read how many signals of a saga have been settled, as its row counts them."""
    count = await conn.scalar(select(sagas.c.signal_no).where(sagas.c.id == saga_id))
    return int(count or 0)


@dataclass(frozen=True, slots=True)
class WaitingSaga:
    """A saga that waits for a promise; `input` is JSON text."""

    saga_id: UUID
    key: str
    input: str
    subject: str | None
    since: datetime
    until: datetime | None


_WAITED_FOR = and_(
    signals.c.kind == SignalKind.PROMISE, signals.c.status == SignalStatus.OPEN, sagas.c.phase == Phase.FORWARD
)


async def open_promises(
    conn: AsyncConnection, name: str, *, after: tuple[datetime, UUID] | None, limit: int
) -> list[WaitingSaga]:
    """Read the sagas that wait for a promise, the longest waiting first."""
    statement = (
        select(
            signals.c.saga_id,
            sagas.c.key,
            sagas.c.input,
            sagas.c.subject,
            signals.c.opened_at.label("since"),
            signals.c.until,
        )
        .join(sagas, sagas.c.id == signals.c.saga_id)
        .where(_WAITED_FOR, signals.c.name == name)
        .order_by(signals.c.opened_at, signals.c.saga_id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(signals.c.opened_at, signals.c.saga_id) > tuple_(*after))
    return [WaitingSaga(**row) for row in (await conn.execute(statement)).mappings()]


async def count_open_promises(conn: AsyncConnection, name: str) -> int:
    """Count the sagas that wait for a promise."""
    statement = select(func.count()).select_from(signals.join(sagas, sagas.c.id == signals.c.saga_id))
    return int(await conn.scalar(statement.where(_WAITED_FOR, signals.c.name == name)) or 0)


async def _where(conn: AsyncConnection, condition: ColumnElement[bool]) -> list[Signal]:
    rows = await conn.execute(select(signals).where(condition))
    return [
        Signal(
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
        for row in rows.mappings()
    ]
