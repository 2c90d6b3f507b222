"""Addresses in the database: sealed (encrypted), opened, and resealed with a newer key."""

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
    """Return the address in a column, given as JSON text: ERASED for null, UNREADABLE if its key is missing.

    A missing key must not keep anybody from reading the rest of the order.
    """
    text = json.loads(stored)
    if text is None:
        return ERASED
    try:
        return Address(**json.loads(sealer.open(text)))
    except Unsealable:
        return UNREADABLE


class Resealed(NamedTuple):
    """Where the next batch begins (None at the end), how many addresses were resealed, and the orders of lost keys."""

    after: tuple[str, int] | None
    changed: int
    lost: Sequence[str]


async def reseal(conn: Connection, sealer: Sealer, *, after: tuple[str, int], limit: int) -> Resealed:
    """Reseal the addresses of the next `limit` attempts after one with the newest key.

    An address that is erased at the same time stays erased. One that cannot be opened is left as it is.
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
