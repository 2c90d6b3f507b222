"""Addresses as they stand in the table, sealed; how they are opened, and sealed anew."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from services.chassis.errors import Unsealable
from services.chassis.postgres.connection import Connection
from services.chassis.security.sealing import Sealer
from services.session.domain.order import ERASED, UNREADABLE, Address
from services.session.store.queries import queries


def sealed(address: Address, sealer: Sealer) -> str:
    """Return an address as it is stored."""
    return sealer.seal(json.dumps(asdict(address)))


def opened(stored: str, sealer: Sealer) -> Address:
    """Return an address as it was, from the JSON text in its column; null is all that an erasure leaves.

    Without its key it is UNREADABLE, so that whatever else is known of its order can be read all the same.
    """
    text = json.loads(stored)
    if text is None:
        return ERASED
    try:
        return Address(**json.loads(sealer.open(text)))
    except Unsealable:
        return UNREADABLE


class Resealed(NamedTuple):
    """Where to go on (None at the end), how many addresses were sealed anew, and whose could not be opened."""

    after: tuple[str, int] | None
    changed: int
    lost: Sequence[str]


async def reseal(conn: Connection, sealer: Sealer, *, after: tuple[str, int], limit: int) -> Resealed:
    """Seal the addresses of up to `limit` attempts behind one with the newest key, so that older keys can go.

    An address that is erased meanwhile stays erased. One that cannot be opened stays as it is, and stops no other.
    """
    order_id, attempt = after
    rows = await conn.fetch(queries()["addresses_behind"], {"order_id": order_id, "attempt": attempt, "limit": limit})
    changed, lost = 0, []
    for row in rows:
        text = json.loads(row["address"])
        if text is None or sealer.is_newest(text):
            continue
        try:
            clear = sealer.open(text)
        except Unsealable:
            lost.append(row["order_id"])
            continue
        anew = {**dict(row), "anew": json.dumps(sealer.seal(clear))}
        changed += await conn.affect(queries()["reseal_address"], anew)
    return Resealed((rows[-1]["order_id"], rows[-1]["attempt"]) if len(rows) == limit else None, changed, lost)
