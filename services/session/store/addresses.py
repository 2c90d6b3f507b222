"""Addresses as they stand in the table: sealed; and what is left of one whose customer has been erased."""

import json
from dataclasses import asdict
from typing import Any, Final

from services.chassis.sealing import Sealer
from services.session.domain.order import Address

ERASED: Final = Address(name="erased", street="erased", city="erased", postal_code="erased", country="ZZ")
"""`ZZ` is a country that ISO 3166 will never give away."""


def sealed(address: Address, sealer: Sealer) -> str:
    """Return an address as it is stored."""
    return sealer.seal(json.dumps(asdict(address)))


def opened(stored: Any, sealer: Sealer) -> Address:
    """Return an address as it was; null is all that an erasure leaves."""
    return ERASED if stored is None else Address(**json.loads(sealer.open(stored)))
