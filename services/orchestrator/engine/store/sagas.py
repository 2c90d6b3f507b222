"""The rows of sagas: starting, claiming, locking, and changing their state from outside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.logs import get_logger
from services.chassis.postgres.connection import Connection, Row
from services.orchestrator.engine.model.records import Attention, Call, ErrorInfo, NewSaga, Saga
from services.orchestrator.engine.model.states import Outcome, Phase, RunState, status_word
from services.orchestrator.engine.store.columns import error_of, read_attention, read_calls, write_calls
from services.orchestrator.engine.store.queries import queries, reads
from services.orchestrator.engine.store.unreadable import read_or


@dataclass(frozen=True, slots=True)
class FirstLeases:
    """The sagas that are leased by their start: their ids, the replica, and the time of the lease."""

    saga_ids: Collection[UUID] = ()
    owner: str | None = None
    lease_s: float = 0.0


NO_LEASES = FirstLeases()


async def start(
    conn: Connection, new: Sequence[NewSaga], leases: FirstLeases = NO_LEASES, *, now: datetime | None
) -> dict[UUID, datetime]:
    """Start sagas, some of them leased; return the creation times of those that did not exist, by id."""
    if not new:
        return {}
    rows = await conn.fetch(queries()["insert_sagas"], start_parameters(new, leases, now))
    return {row["id"]: row["created_at"] for row in rows}


def start_parameters(new: Sequence[NewSaga], leases: FirstLeases, now: datetime | None) -> dict[str, Any]:
    """Return the parameters of a statement that starts sagas."""
    unique = list({saga.id: saga for saga in reversed(new)}.values())  # of two starts in one batch the first counts
    return {
        "now": now,
        "sagas": [
            (
                saga.id,
                saga.workflow,
                saga.version,
                saga.key,
                saga.subject,
                saga.parent_id,
                saga.traceparent,
                saga.delay_s,
                saga.input,
                saga.id in leases.saga_ids,
            )
            for saga in unique
        ],
        "owner": leases.owner,
        "lease_s": leases.lease_s,
    }


async def claim(
    conn: Connection,
    *,
    versions: Sequence[str],
    owner: str,
    lease_s: float,
    suspect: int,
    limit: int,
    now: datetime | None,
) -> list[Saga]:
    """Lease up to `limit` sagas that are due, in `versions` (as ``name@version``), for `lease_s` seconds.

    A saga whose row is unreadable is not returned; its lease expires, and another release may be able to read it.
    """
    rows = await conn.fetch(
        queries()["claim"],
        {
            "versions": list(versions),
            "owner": owner,
            "lease_s": lease_s,
            "suspect": suspect,
            "limit": limit,
            "now": now,
        },
    )
    return [saga for row in rows if (saga := _readable(row)) is not None]


async def isolate(conn: Connection, saga_id: UUID, epoch: int) -> bool:
    """Record that a suspect runs in the quarantine; False if its lease is lost."""
    return await conn.first(queries()["isolate"], {"id": saga_id, "epoch": epoch}) is not None


class Beat(NamedTuple):
    """The result of extending leases.

    `standing`: the losses of the sagas that still have their epoch. `extended`: those whose leases were extended.
    `is_partial`: some rows were locked. `at`: the database's time, None if no saga has its epoch.
    """

    standing: Mapping[UUID, int]
    extended: frozenset[UUID]
    is_partial: bool
    at: datetime | None


async def heartbeat(conn: Connection, leases: Mapping[UUID, int], *, lease_s: float, now: datetime | None) -> Beat:
    """Extend leases, given as epochs by saga; locked rows are skipped."""
    rows = await conn.fetch(
        queries()["heartbeat"],
        {"ids": list(leases), "epochs": list(leases.values()), "lease_s": lease_s, "now": now},
    )
    return Beat(
        standing={row["id"]: row["takeovers"] for row in rows},
        extended=frozenset(row["id"] for row in rows if row["extended"]),
        is_partial=any(row["locked"] for row in rows),
        at=rows[0]["at"] if rows else None,
    )


async def release(conn: Connection, leases: Mapping[UUID, int], owner: str, *, now: datetime | None) -> int:
    """Release leases of a replica, given as epochs by saga; return how many it still held."""
    return await conn.affect(
        queries()["release"], {"ids": list(leases), "epochs": list(leases.values()), "owner": owner, "now": now}
    )


class Loss(NamedTuple):
    """A lease that expired while its holder lived: its epoch, and the losses of its saga before it."""

    epoch: int
    takeovers: int


async def excuse(conn: Connection, losses: Mapping[UUID, Loss]) -> int:
    """Take back the losses that claims have counted for sagas whose holder was only cut off; return how many."""
    return await conn.affect(
        queries()["excuse"],
        {
            "ids": list(losses),
            "epochs": [loss.epoch for loss in losses.values()],
            "takeovers": [loss.takeovers for loss in losses.values()],
        },
    )


async def lock(conn: Connection, saga_id: UUID, *, now: datetime | None) -> Saga | None:
    """Lock one saga until the transaction ends; `claimed_at` is the current time.

    Columns that are unreadable are empty, and listed in `unreadable`.
    """
    row = await conn.first(queries()["lock_saga"], {"id": saga_id, "now": now})
    if row is None:
        return None
    unreadable: list[str] = []
    none: tuple[Call, ...] = ()
    calls = read_or(row["calls"], read_calls, none, "calls", unreadable)
    attention = read_or(row["attention"], read_attention, None, "attention", unreadable)
    return _saga(row, calls, attention)._replace(unreadable=tuple(unreadable))


@dataclass(frozen=True, slots=True)
class Operation:
    """The new state of a saga after an operation from outside; the epoch changes too."""

    phase: Phase
    run_state: RunState
    outcome: Outcome | None
    due_at: datetime | None
    calls: tuple[Call, ...]
    error: ErrorInfo | None


async def operate(conn: Connection, saga_id: UUID, operation: Operation, *, at: datetime) -> None:
    """Change a saga's state from outside; under `lock`."""
    error = operation.error
    await conn.fetch(
        queries()["operate"],
        {
            "id": saga_id,
            "phase": operation.phase,
            "run_state": operation.run_state,
            "outcome": operation.outcome,
            "due_at": operation.due_at,
            "calls": write_calls(operation.calls),
            "error_code": error and error.code,
            "error_message": error and error.message,
            "at": at,
        },
    )


class Earlier(NamedTuple):
    """A saga that exists already: its input as JSON text, and its status word."""

    input: str
    status: str


async def started_with(conn: Connection, saga_ids: Collection[UUID]) -> dict[UUID, Earlier]:
    """Read the inputs and the status words of sagas."""
    if not saga_ids:
        return {}
    rows = await conn.fetch(reads()["started_with"], {"saga_ids": list(saga_ids)})
    return {row["id"]: Earlier(row["input"], _status(row)) for row in rows}


async def end_leases(conn: Connection, owner: str, *, lease_s: float, now: datetime | None) -> None:
    """End the leases, of up to `lease_s` seconds, of an owner that has died; their next claims count them as losses."""
    await conn.fetch(queries()["end_leases"], {"owner": owner, "lease_s": lease_s, "now": now})


async def delete_finished(conn: Connection, *, before: datetime, limit: int) -> int:
    """Remove up to `limit` whole sagas that ended before a moment; return how many."""
    return len(await conn.fetch(queries()["delete_finished"], {"before": before, "limit": limit}))


def _status(row: Row) -> str:
    outcome = None if row["outcome"] is None else Outcome(row["outcome"])
    return status_word(Phase(row["phase"]), RunState(row["run_state"]), outcome, row["epoch"])


def _readable(row: Row) -> Saga | None:
    try:
        return _saga(row, read_calls(row["calls"]), read_attention(row["attention"]))
    except (TypeError, ValueError) as error:  # it must not stop those that were claimed with it
        get_logger("engine.store").error("saga.unreadable", saga_id=str(row["id"]), error=repr(error)[:500])
        return None


def _saga(row: Row, calls: tuple[Call, ...], attention: Attention | None) -> Saga:
    return Saga(
        id=row["id"],
        workflow=row["workflow"],
        version=row["version"],
        key=row["key"],
        subject=row["subject"],
        input=row["input"],
        phase=Phase(row["phase"]),
        run_state=RunState(row["run_state"]),
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        epoch=row["epoch"],
        flush_no=row["flush_no"],
        signal_no=row["signal_no"],
        undo_no=row["undo_no"],
        takeovers=row["takeovers"],
        faults=row["faults"],
        no_return=row["no_return"],
        created_at=row["created_at"],
        claimed_at=row["claimed_at"],
        calls=calls,
        error=error_of(row),
        attention=attention,
        progress=row["progress"],
        traceparent=row["traceparent"],
        awaited=row["awaited"],
    )
