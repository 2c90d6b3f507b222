"""Shipments in Postgres: functions take the connection first, return frozen values, and never commit."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.sql import Queries
from services.shipping.domain.shipment import Parcel, StoredShipment
from services.shipping.store.tables import shipments

QUERIES: Final = Queries.load(Path(__file__).with_name("queries.sql"))


async def open_row(
    conn: AsyncConnection, order_id: str, *, shipment_id: str, attempt: int, fingerprint: str, now: datetime | None
) -> None:
    """Make the row of an order unless it is there."""
    values = {"order_id": order_id, "shipment_id": shipment_id, "attempt": attempt, "fingerprint": fingerprint}
    await conn.execute(QUERIES["open_row"], {**values, "now": now})


async def lock(conn: AsyncConnection, order_id: str, *, now: datetime | None) -> StoredShipment:
    """Lock the row of an order, which is there, and return it."""
    row = (await conn.execute(QUERIES["lock_row"], {"order_id": order_id, "now": now})).mappings().one()
    return _stored(row)


async def find(conn: AsyncConnection, order_id: str) -> StoredShipment | None:
    """Return the shipment of an order, without a lock and without a look at its lease."""
    row = (await conn.execute(select(shipments).where(shipments.c.order_id == order_id))).mappings().one_or_none()
    return None if row is None else _stored({**row, "lease": "free"})


async def take_lease(conn: AsyncConnection, order_id: str, *, lease_s: float, now: datetime | None) -> tuple[int, bool]:
    """Take the lease of a locked row that is being created; returns its epoch, and whether it is uncertain."""
    row = (await conn.execute(QUERIES["take_lease"], {"order_id": order_id, "lease_s": lease_s, "now": now})).one()
    return row.epoch, row.uncertain


async def give_back_lease(
    conn: AsyncConnection, order_id: str, *, epoch: int, uncertain: bool, now: datetime | None
) -> None:
    """Give the lease back without a shipment; `uncertain` if a parcel may have been made."""
    values = {"order_id": order_id, "epoch": epoch, "uncertain": uncertain, "now": now}
    await conn.execute(QUERIES["give_back_lease"], values)


async def register(conn: AsyncConnection, order_id: str, *, epoch: int, parcel: Parcel, now: datetime | None) -> bool:
    """Write the parcel down; False if the row has moved on since `epoch`."""
    values = {"order_id": order_id, "epoch": epoch, "delivered": parcel.delivered, **_columns(parcel), "now": now}
    return (await conn.execute(QUERIES["register"], values)).rowcount == 1


async def refuse(
    conn: AsyncConnection, order_id: str, *, epoch: int, refusal: str, undo_owed: bool, now: datetime | None
) -> int | None:
    """Write the carrier's refusal down; returns the epoch of its undo, None if the row has moved on since `epoch`."""
    values = {"order_id": order_id, "epoch": epoch, "refusal": refusal, "undo_owed": undo_owed, "now": now}
    found: int | None = (await conn.execute(QUERIES["refuse"], values)).scalar_one_or_none()
    return found


async def bury(conn: AsyncConnection, order_id: str, *, now: datetime | None) -> int | None:
    """Leave the tombstone, with the carrier's cancel owed; returns its epoch, None if the parcel was delivered."""
    found: int | None = (await conn.execute(QUERIES["bury"], {"order_id": order_id, "now": now})).scalar_one_or_none()
    return found


async def owe_undo(conn: AsyncConnection, order_id: str, *, now: datetime | None) -> int:
    """Note on a refused or cancelled row that the carrier has to cancel (again); returns the epoch of that."""
    epoch: int = (await conn.execute(QUERIES["owe_undo"], {"order_id": order_id, "now": now})).scalar_one()
    return epoch


async def confirm_undo(conn: AsyncConnection, order_id: str, *, epoch: int, now: datetime | None) -> None:
    """Note that the carrier has cancelled, unless somebody owes it anew since `epoch`."""
    await conn.execute(QUERIES["confirm_undo"], {"order_id": order_id, "epoch": epoch, "now": now})


async def mark_delivered(
    conn: AsyncConnection, order_id: str, *, parcel: Parcel, shipment_id: str, now: datetime | None
) -> None:
    """Note that the parcel was delivered; `shipment_id` is for a row that has none."""
    values = {"order_id": order_id, "shipment_id": shipment_id, **_columns(parcel), "now": now}
    await conn.execute(QUERIES["mark_delivered"], values)


async def sweep_owed(conn: AsyncConnection, *, age_s: float, limit: int, now: datetime | None) -> list[tuple[str, int]]:
    """Take over cancels that are owed for `age_s` seconds at least; returns order ids and epochs, `limit` at most."""
    rows = await conn.execute(QUERIES["sweep_owed"], {"age_s": age_s, "limit": limit, "now": now})
    return [(row.order_id, row.epoch) for row in rows]


def _columns(parcel: Parcel) -> dict[str, str]:
    return {
        "carrier": parcel.carrier,
        "parcel_id": parcel.parcel_id,
        "tracking_number": parcel.tracking_number,
    }


def _stored(row: RowMapping | dict[Any, Any]) -> StoredShipment:
    parcel = None
    if row["tracking_number"] is not None:
        parcel = Parcel(row["parcel_id"], row["carrier"], row["tracking_number"], row["status"] == "delivered")
    return StoredShipment(
        order_id=row["order_id"],
        status=row["status"],
        shipment_id=row["shipment_id"],
        fingerprint=row["fingerprint"],
        parcel=parcel,
        refusal=row["refusal"],
        uncertain=row["uncertain"],
        undo_owed=row["undo_owed"],
        epoch=row["epoch"],
        lease=row["lease"],
    )
