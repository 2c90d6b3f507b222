"""What every customer means to do: drawn from the seed, so that two runs of one seed place the same orders."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

SKUS = ("soak-atlas", "soak-bottle", "soak-candle", "soak-drum")
SCARCE = "soak-scarce"
"""There is not enough of it for everybody."""
STOCK = 1_000_000
SCARCE_STOCK = 15
PRICE_MINOR = 1_999

Decision = Literal["approve", "reject", "ignore"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One order and what its customer, the administrator and the processor do with it; seconds since its checkout."""

    number: int
    order_id: str
    sku: str
    quantity: int
    card: str
    decision: Decision = "approve"
    cancel_after_s: float | None = None
    settle_after_s: float | None = None
    """When somebody settles a payment that waits to be settled by hand."""
    again: bool = False
    """Whether a declined payment is tried again with another card."""

    @property
    def user(self) -> str:
        return f"customer-{self.number}"


KINDS: tuple[tuple[int, str, dict[str, object]], ...] = (
    (30, "PAID", {"card": "tok_ok"}),
    (5, "TWICE", {"card": "tok_twice"}),
    (5, "EARLY", {"card": "tok_early"}),
    (8, "REJECTED", {"card": "tok_ok", "decision": "reject"}),
    (3, "IGNORED", {"card": "tok_ok", "decision": "ignore"}),
    (6, "DECLINED", {"card": "tok_decline"}),
    (4, "AGAIN", {"card": "tok_decline", "again": True}),
    (4, "SILENT", {"card": "tok_silent"}),
    (6, "LATE", {"card": "tok_late"}),
    (7, "MANUAL", {"card": "tok_manual", "settle_after_s": -1.0}),
    (5, "FAIL_SHIP", {"card": "tok_ok"}),
    (3, "FLAKY_SHIP", {"card": "tok_ok"}),
    (3, "SLOW_SHIP", {"card": "tok_ok"}),
    (4, "SCARCE", {"card": "tok_ok", "sku": SCARCE}),
    (4, "LANDS_LATE", {"card": "tok_ok", "cancel_after_s": -1.0}),
    (8, "CANCELLED", {"card": "tok_ok", "cancel_after_s": -1.0}),
    (3, "CANCELLED_LATE", {"card": "tok_late", "cancel_after_s": -1.0}),
)
"""How often each kind of order comes, what its id begins with, and what is special about it; -1: some moment."""
LATEST_S = 6.0
LANDS_S = 5.0
"""How late a forward call of LANDS_LATE arrives: after the undo that its cancel leads to."""


def plans(seed: int) -> Iterator[Plan]:
    """Draw orders for ever."""
    dice = random.Random(f"{seed} plans")  # noqa: S311 - repeatable dice, no secret
    weights = [weight for weight, _, _ in KINDS]
    number = 0
    while True:
        number += 1
        _, kind, more = dice.choices(KINDS, weights)[0]
        values: dict[str, object] = {"sku": dice.choice(SKUS), "quantity": dice.randint(1, 3), **more}
        for moment in ("cancel_after_s", "settle_after_s"):
            if moment in values:
                values[moment] = round(dice.uniform(0.0, LATEST_S), 2)
        if kind == "LANDS_LATE":
            values["cancel_after_s"] = round(dice.uniform(0.2, LANDS_S - 2), 2)
        yield Plan(number, f"{kind}-{seed}-{number}", **values)  # type: ignore[arg-type]
