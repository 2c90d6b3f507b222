"""A basket: its lines at today's prices, and what may be put into it.

The limits bound every sum by construction: 1,000 lines of 999 pieces at 10^9 minor units stay below
the largest amount that the contracts allow (10^15).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.session.domain.errors import BasketFull, LineLimit, MixedCurrencies

MAX_QUANTITY = 999
MAX_LINES = 1_000
MAX_PRICE_MINOR = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue; `available` counts what is on hand and not held by an open order."""

    sku: str
    name: str
    price_minor: int
    currency: str
    available: int


@dataclass(frozen=True, slots=True)
class Line:
    """So many pieces of one sku, each at `unit_minor` of its currency's smallest unit."""

    sku: str
    name: str
    quantity: int
    unit_minor: int
    currency: str

    @property
    def total_minor(self) -> int:
        """The price of the whole line."""
        return self.quantity * self.unit_minor


@dataclass(frozen=True, slots=True)
class Basket:
    """A user's basket; `version` grows with every change."""

    user_id: str
    version: int
    lines: tuple[Line, ...] = ()

    @property
    def total_minor(self) -> int:
        """The price of all lines."""
        return sum(line.total_minor for line in self.lines)

    @property
    def currency(self) -> str | None:
        """The currency of all lines; None for an empty basket."""
        return self.lines[0].currency if self.lines else None

    def quantity(self, sku: str) -> int:
        """How many pieces of a sku are in the basket."""
        return next((line.quantity for line in self.lines if line.sku == sku), 0)

    def with_quantity(self, product: Product, quantity: int) -> "Basket":
        """Return the basket with so many pieces of a product; refuses what would break its limits."""
        if quantity > MAX_QUANTITY:
            raise LineLimit
        others = tuple(line for line in self.lines if line.sku != product.sku)
        if len(others) >= MAX_LINES:
            raise BasketFull
        if others and others[0].currency != product.currency:
            raise MixedCurrencies
        line = Line(product.sku, product.name, quantity, product.price_minor, product.currency)
        return self._changed((*others, line))

    def without(self, sku: str) -> "Basket":
        """Return the basket without a sku; the same basket if it was not in it."""
        if not self.quantity(sku):
            return self
        return self._changed(line for line in self.lines if line.sku != sku)

    def minus(self, taken: Mapping[str, int]) -> "Basket":
        """Return the basket without so many pieces of each sku; what was added meanwhile stays."""
        kept = tuple(
            Line(line.sku, line.name, left, line.unit_minor, line.currency)
            for line in self.lines
            if (left := line.quantity - taken.get(line.sku, 0)) > 0
        )
        return self if kept == self.lines else self._changed(kept)

    def _changed(self, lines: Iterable[Line]) -> "Basket":
        ordered = tuple(sorted(lines, key=lambda line: line.sku))
        if ordered == self.lines:
            return self
        return Basket(self.user_id, self.version + 1, ordered)
