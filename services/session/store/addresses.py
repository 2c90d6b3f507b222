"""Addresses as they stand in the table: sealed; and what is left of one whose customer has been erased."""

import json
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import select, tuple_, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.connection import Connection
from services.chassis.sealing import Sealer
from services.session.domain.order import Address
from services.session.store.tables import attempts

ERASED: Final = Address(name="erased", street="erased", city="erased", postal_code="erased", country="ZZ")
"""`ZZ` is a country that ISO 3166 will never give away."""


def sealed(address: Address, sealer: Sealer) -> str:
    """Return an address as it is stored."""
    return sealer.seal(json.dumps(asdict(address)))


def opened(stored: Any, sealer: Sealer) -> Address:
    """Return an address as it was; null is all that an erasure leaves."""
    return ERASED if stored is None else Address(**json.loads(sealer.open(stored)))


async def reseal(
    conn: Connection, sealer: Sealer, *, after: tuple[str, int], limit: int
) -> tuple[tuple[str, int] | None, int]:
    """Seal the addresses of up to `limit` attempts behind one with the newest key, so that older keys can go.

    Returns where to go on (None at the end), and how many addresses were sealed anew. An address that is erased
    meanwhile stays erased.
    """
    place = tuple_(attempts.c.order_id, attempts.c.attempt)
    wanted = select(attempts.c.order_id, attempts.c.attempt, attempts.c.address)
    rows = (await conn.execute(wanted.where(place > tuple_(*after)).order_by(place).limit(limit))).all()
    changed = 0
    for row in rows:
        if row.address is None or sealer.is_newest(row.address):
            continue
        anew = sealer.seal(sealer.open(row.address))
        this = (attempts.c.order_id == row.order_id) & (attempts.c.attempt == row.attempt)
        result = await conn.execute(
            update(attempts).where(this, attempts.c.address == type_coerce(row.address, JSONB)).values(address=anew)
        )
        changed += result.rowcount
    return ((rows[-1].order_id, rows[-1].attempt) if len(rows) == limit else None), changed
