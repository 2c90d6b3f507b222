"""Addresses as they stand in the table: sealed; and what is left of one whose customer has been erased."""

import json
from dataclasses import asdict
from typing import Final, NamedTuple

from services.chassis.errors import Unsealable
from services.chassis.postgres.connection import Connection
from services.chassis.security.sealing import Sealer
from services.session.domain.order import Address
from services.session.store.queries import queries

ERASED: Final = Address(name="erased", street="erased", city="erased", postal_code="erased", country="ZZ")
"""`ZZ` is a country that ISO 3166 will never give away."""


def sealed(address: Address, sealer: Sealer) -> str:
    """Return an address as it is stored."""
    return sealer.seal(json.dumps(asdict(address)))


def opened(stored: str, sealer: Sealer) -> Address:
    """Return an address as it was, from the JSON text in its column; null is all that an erasure leaves."""
    text = json.loads(stored)
    return ERASED if text is None else Address(**json.loads(sealer.open(text)))


class Resealed(NamedTuple):
    """Where to go on (None at the end), how many addresses were sealed anew, and how many could not be opened."""

    after: tuple[str, int] | None
    changed: int
    lost: int


async def reseal(conn: Connection, sealer: Sealer, *, after: tuple[str, int], limit: int) -> Resealed:
    """Seal the addresses of up to `limit` attempts behind one with the newest key, so that older keys can go.

    An address that is erased meanwhile stays erased. One that cannot be opened stays as it is, and stops no other.
    """
    order_id, attempt = after
    rows = await conn.fetch(queries()["addresses_behind"], {"order_id": order_id, "attempt": attempt, "limit": limit})
    changed = lost = 0
    for row in rows:
        text = json.loads(row["address"])
        if text is None or sealer.is_newest(text):
            continue
        try:
            clear = sealer.open(text)
        except Unsealable:
            lost += 1
            continue
        anew = {**dict(row), "anew": json.dumps(sealer.seal(clear))}
        changed += await conn.affect(queries()["reseal_address"], anew)
    return Resealed((rows[-1]["order_id"], rows[-1]["attempt"]) if len(rows) == limit else None, changed, lost)
