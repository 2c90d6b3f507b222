"""Bugs of goods: stock that is sold twice, held by nobody or for ever, and parcels that nobody has ordered any more."""

from dev.mutants.mutant import Edit, Mutant

STORE = "services/session/store/reservations.py"
RESERVATIONS = "tests/postgres/session/test_reservations.py"
ORDERS = "tests/postgres/orchestrator/test_fulfillment_paths.py"
RACES = "tests/postgres/shipping/test_races.py"

GOODS = (
    Mutant(
        "released-though-sold",
        "G9",
        "A release that comes late gives back to the stock what has been shipped.",
        (Edit(STORE, "    if hold.status == SOLD:\n        raise StockSold\n", ""),),
        (f"{RESERVATIONS}::test_what_was_sold_cannot_be_released",),
    ),
    Mutant(
        "release-without-tombstone",
        "G9",
        "A release that overtakes its reservation leaves nothing that would forbid it: the stock is held for ever.",
        (
            Edit(
                STORE,
                "    if await _insert(conn, order_id, attempt, RELEASED, now=now):\n        return\n    hold",
                "    hold",
            ),
        ),
        (f"{RESERVATIONS}::test_a_release_before_the_reservation_forbids_it",),
    ),
    Mutant(
        "sold-again",
        "G9",
        "Each event that an order was shipped takes its pieces from the stock once more.",
        (
            Edit(
                STORE,
                "    if hold.status == HELD:\n        await _settle(conn, hold, SOLD, now=now)\n    return True",
                "    await _settle(conn, Hold(order_id, attempt, HELD), SOLD, now=now)\n    return True",
            ),
        ),
        ("tests/postgres/session/test_events.py::test_what_is_told_as_shipped_again_is_sold_once",),
    ),
    Mutant(
        "executed-without-stock",
        "G9",
        "An order counts as paid for although its attempt does not hold its pieces any more.",
        (
            Edit(
                "services/session/store/checkouts.py",
                " or hold is None or hold.status != HELD:",
                ":",
            ),
        ),
        ("tests/postgres/session/test_executed.py::test_the_mark_needs_a_held_reservation",),
    ),
    Mutant(
        "unknown-parcel-is-left",
        "G8",
        "An order that ends while nobody knows whether it has a parcel has none taken back.",
        (
            Edit(
                "services/orchestrator/workflows/steps.py",
                "    del shipment\n    await step",
                "    if shipment is None:\n        return\n    await step",
            ),
        ),
        (
            f"{ORDERS}::test_a_dead_carrier_ends_in_a_cancel_by_reference_and_a_refund",
            "tests/system/test_cancel.py::test_cancelled_while_the_carrier_does_not_answer",
        ),
    ),
    Mutant(
        "cancel-answered-from-memory",
        "G9",
        "A second cancel has the key of the first: a carrier that knows it again leaves the parcel made in between.",
        (
            Edit(
                "services/shipping/clients/carrier.py",
                'key=f"cancel:{reference}:{epoch}"',
                'key=f"cancel:{reference}"',
            ),
        ),
        (f"{RACES}::test_a_cancel_overtakes_a_create",),
    ),
    Mutant(
        "unanswered-parcel-is-left",
        "G9",
        "A create that was not answered, and was cancelled meanwhile, leaves the parcel that it may have made.",
        (
            Edit(
                "services/shipping/dispatch.py",
                "uncertain=True, now=now)\n            owed = await _owe_anew(conn, shipment, now=now)",
                "uncertain=True, now=now)\n            owed = None",
            ),
        ),
        (f"{RACES}::test_an_unanswered_create_after_a_cancel_is_cleared_away",),
    ),
    Mutant(
        "confirmed-by-an-earlier-cancel",
        "G9",
        "The carrier's confirmation of an earlier cancel settles the one that is owed since.",
        (
            Edit(
                "services/shipping/store/queries.sql",
                "where order_id = :order_id and epoch = :epoch and undo_owed",
                "where order_id = :order_id and undo_owed",
            ),
        ),
        (f"{RACES}::test_a_confirmation_from_before_does_not_settle_what_is_owed_anew",),
    ),
)
