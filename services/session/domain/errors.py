"""Why session refuses a request; the chassis maps each class to its status.

RequestError
├── Conflict
│   ├── CartEmpty
│   ├── CheckoutInProgress
│   ├── OrderConflict
│   ├── OrderIdTaken
│   ├── OrderShipped
│   ├── OrderEnded
│   ├── CancelRefused
│   ├── OutOfStock
│   ├── ReservationReleased
│   ├── ReservationMismatch
│   ├── StockSold
│   ├── NotReserved
│   ├── StockHeld
│   ├── OrdersOpen
│   └── CurrencyFixed
├── Invalid
│   ├── UnknownSku
│   ├── LineLimit
│   ├── BasketFull
│   └── MixedCurrencies
└── Unavailable
    └── AddressUnreadable
"""

from typing import ClassVar

from services.chassis.errors import Conflict, Invalid, Unavailable


class CartEmpty(Conflict):
    """The basket is empty: add an item before checking out."""

    code: ClassVar[str] = "cart-empty"


class CheckoutInProgress(Conflict):
    """A checkout of this basket is still open; wait until it is paid or has ended."""

    code: ClassVar[str] = "checkout-in-progress"


class OrderConflict(Conflict):
    """This order exists with another address or payment token."""

    code: ClassVar[str] = "order-conflict"


class OrderIdTaken(Conflict):
    """This order id is taken; choose another one, or leave it out."""

    code: ClassVar[str] = "order-id-taken"
    final: ClassVar[bool] = True


class OrderShipped(Conflict):
    """The order has been shipped and can no longer be cancelled."""

    code: ClassVar[str] = "order-shipped"


class OrderEnded(Conflict):
    """The order has ended; there is nothing left to cancel."""

    code: ClassVar[str] = "order-ended"


class CancelRefused(Conflict):
    """The cancellation of this order was refused too often to be asked for again."""

    code: ClassVar[str] = "cancel-refused"


class OutOfStock(Conflict):
    """There is not enough stock of a sku of this order."""

    code: ClassVar[str] = "out-of-stock"


class ReservationReleased(Conflict):
    """This attempt is over: what it held was given back, and it can never reserve again."""

    code: ClassVar[str] = "reservation-released"


class ReservationMismatch(Conflict):
    """The items are not those of this attempt."""

    code: ClassVar[str] = "reservation-mismatch"


class StockSold(Conflict):
    """The reserved stock has been sold; it cannot be released or reserved again."""

    code: ClassVar[str] = "stock-sold"


class NotReserved(Conflict):
    """This attempt holds no stock, so its checkout cannot be marked as executed."""

    code: ClassVar[str] = "not-reserved"


class StockHeld(Conflict):
    """Open orders hold more pieces than this stock would have."""

    code: ClassVar[str] = "stock-held"


class OrdersOpen(Conflict):
    """Orders of this customer are still under way; cancel them, or wait for their end."""

    code: ClassVar[str] = "orders-open"


class CurrencyFixed(Conflict):
    """The currency of a product cannot change, since baskets count on it."""

    code: ClassVar[str] = "currency-fixed"


class UnknownSku(Invalid):
    """The catalogue has no such sku."""

    code: ClassVar[str] = "unknown-sku"


class LineLimit(Invalid):
    """A line of the basket holds at most 999 pieces."""

    code: ClassVar[str] = "line-limit"


class BasketFull(Invalid):
    """A basket holds at most 1,000 different products."""

    code: ClassVar[str] = "basket-full"


class MixedCurrencies(Invalid):
    """All products of a basket must have the same currency."""

    code: ClassVar[str] = "mixed-currencies"


class AddressUnreadable(Unavailable):
    """The address of this order cannot be read now, so that nobody can tell whether this repeats it."""

    code: ClassVar[str] = "address-unreadable"
