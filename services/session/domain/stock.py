"""Stock: what an attempt holds, and when a shelf is too empty for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_STOCK = 1_000_000_000

HELD = "held"
SOLD = "sold"
RELEASED = "released"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Hold:
    """The reservation of one attempt.

    `released` and `refused` are tombstones: such an attempt can never reserve again. `refused_sku` names
    what was out of stock, so that a repeat of the refused request gets the same answer.
    """

    order_id: str
    attempt: int
    status: str
    refused_sku: str | None = None


def merged(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the pieces per sku, sorted by sku: the order in which stock is locked."""
    wanted: dict[str, int] = {}
    for sku, quantity in items:
        wanted[sku] = wanted.get(sku, 0) + quantity
    return dict(sorted(wanted.items()))


def shortage(wanted: Mapping[str, int], available: Mapping[str, int]) -> str | None:
    """Return the first sku of which there is not enough; None if everything is there."""
    return next((sku for sku, quantity in wanted.items() if available.get(sku, 0) < quantity), None)
