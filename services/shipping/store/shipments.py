"""Shipments in Postgres: functions take the connection first, return frozen values, and never commit."""

from datetime import datetime

from services.chassis.postgres.connection import Connection, Row
from services.shipping.domain.shipment import Parcel, StoredShipment
from services.shipping.store.queries import queries


async def open_leased(
    conn: Connection,
    order_id: str,
    *,
    shipment_id: str,
    attempt: int,
    fingerprint: str,
    lease_s: float,
    now: datetime | None,
) -> int | None:
    """Make the row of an order and take its lease; returns its epoch, None if the row is there already."""
    values = {"order_id": order_id, "shipment_id": shipment_id, "attempt": attempt, "fingerprint": fingerprint}
    row = await conn.first(queries()["open_leased"], {**values, "lease_s": lease_s, "now": now})
    return None if row is None else row["epoch"]


async def lock(conn: Connection, order_id: str, *, now: datetime | None) -> StoredShipment:
    """Lock the row of an order, which is there, and return it."""
    (row,) = await conn.fetch(queries()["lock_row"], {"order_id": order_id, "now": now})
    return _stored(row)


async def find(conn: Connection, order_id: str, *, now: datetime | None) -> StoredShipment | None:
    """Return the shipment of an order, without a lock."""
    row = await conn.first(queries()["find_row"], {"order_id": order_id, "now": now})
    return None if row is None else _stored(row)


async def take_lease(conn: Connection, order_id: str, *, lease_s: float, now: datetime | None) -> tuple[int, bool]:
    """Take the lease of a locked row that is being created; returns its epoch, and whether it is uncertain."""
    (row,) = await conn.fetch(queries()["take_lease"], {"order_id": order_id, "lease_s": lease_s, "now": now})
    return row["epoch"], row["uncertain"]


async def give_back_lease(
    conn: Connection, order_id: str, *, epoch: int, uncertain: bool, now: datetime | None
) -> None:
    """Give the lease back without a shipment; `uncertain` if a parcel may have been made."""
    values = {"order_id": order_id, "epoch": epoch, "uncertain": uncertain, "now": now}
    await conn.fetch(queries()["give_back_lease"], values)


async def register(
    conn: Connection, order_id: str, *, epoch: int, parcel: Parcel, now: datetime | None
) -> StoredShipment | None:
    """Write the parcel down, and return the row as it is then; None if it has moved on since `epoch`."""
    values = {"order_id": order_id, "epoch": epoch, "delivered": parcel.delivered, **_columns(parcel), "now": now}
    row = await conn.first(queries()["register"], values)
    return None if row is None else _stored(row)


async def refuse(
    conn: Connection, order_id: str, *, epoch: int, refusal: str, undo_owed: bool, now: datetime | None
) -> int | None:
    """Write the carrier's refusal down; returns the epoch of its undo, None if the row has moved on since `epoch`."""
    values = {"order_id": order_id, "epoch": epoch, "refusal": refusal, "undo_owed": undo_owed, "now": now}
    row = await conn.first(queries()["refuse"], values)
    return None if row is None else row["epoch"]


async def leave_tombstone(conn: Connection, order_id: str, *, now: datetime | None) -> int | None:
    """Leave the tombstone, with the carrier's cancel owed; returns its epoch, None if the parcel was delivered."""
    row = await conn.first(queries()["leave_tombstone"], {"order_id": order_id, "now": now})
    return None if row is None else row["epoch"]


async def owe_undo(conn: Connection, order_id: str, *, now: datetime | None) -> int:
    """Note on a refused or cancelled row that the carrier has to cancel (again); returns the epoch of that."""
    (row,) = await conn.fetch(queries()["owe_undo"], {"order_id": order_id, "now": now})
    epoch: int = row["epoch"]
    return epoch


async def confirm_undo(conn: Connection, order_id: str, *, epoch: int, now: datetime | None) -> None:
    """Note that the carrier has cancelled, unless somebody owes it anew since `epoch`."""
    await conn.fetch(queries()["confirm_undo"], {"order_id": order_id, "epoch": epoch, "now": now})


async def mark_delivered(
    conn: Connection, order_id: str, *, parcel: Parcel, shipment_id: str, now: datetime | None
) -> None:
    """Note that the parcel was delivered; `shipment_id` is for a row that has none."""
    values = {"order_id": order_id, "shipment_id": shipment_id, **_columns(parcel), "now": now}
    await conn.fetch(queries()["mark_delivered"], values)


async def sweep_owed(conn: Connection, *, age_s: float, limit: int, now: datetime | None) -> list[tuple[str, int]]:
    """Take over cancels that are owed for `age_s` seconds at least; returns order ids and epochs, `limit` at most."""
    rows = await conn.fetch(queries()["sweep_owed"], {"age_s": age_s, "limit": limit, "now": now})
    return [(row["order_id"], row["epoch"]) for row in rows]


def _columns(parcel: Parcel) -> dict[str, str]:
    return {
        "carrier": parcel.carrier,
        "parcel_id": parcel.parcel_id,
        "tracking_number": parcel.tracking_number,
    }


def _stored(row: Row) -> StoredShipment:
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
