"""Orders and their money: paid once, tried again, given back whenever it comes without an order to own it."""

import pytest

from tests.support.system import PRICE, System, failed, succeeded
from tests.system.steps import ended, paid, refunded, shipped, taken


@pytest.mark.scenario("K0", "K12", "C1", "C15", "W1", "P1", "G9")
async def test_an_order_is_paid_approved_shipped_and_delivered(system: System) -> None:
    """A success goes through every status in turn, keeps the money, sells the piece and has one parcel."""
    await shipped(system, "order-123")
    assert await ended(system, "order-123") == "completed"
    assert await system.history("order-123") == [
        "pending_payment",
        "awaiting_approval",
        "approved",
        "shipped",
        "completed",
    ]
    order = await system.order("order-123")
    (parcel,) = await system.fleet()
    assert order["shipment"]["tracking_number"] == parcel["tracking_number"]
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["refunded_minor"]) == (PRICE["amount_minor"], 0)
    assert order["payment"]["payment_id"] == line["payment_id"]
    assert await system.available() == 9


@pytest.mark.scenario("ST3", "I1")
async def test_what_was_bought_leaves_the_basket_and_nothing_else_does(system: System) -> None:
    """Once paid, the order's lines are gone from the basket; what was added meanwhile is still there."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    more = {"sku": "book", "quantity": 3}
    headers = system.bearer()
    await system.call("POST", "session", "/users/alice/cart/items", json=more, headers=headers)
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    basket = (await system.call("GET", "session", "/users/alice/cart", headers=headers)).json()
    assert [(line["sku"], line["quantity"]) for line in basket["items"]] == [("book", 3)]


@pytest.mark.scenario("K1", "K12")
async def test_what_is_not_there_is_not_sold(system: System) -> None:
    """Out of stock ends the order before any payment; once restocked, the same order id completes as attempt 2."""
    await system.place("order-1", quantity=10)
    await system.shelve("book", 9)
    assert await ended(system, "order-1") == "out_of_stock"
    assert await system.payments("order-1") == []
    await system.shelve("book", 10)
    again = await system.check_out("order-1", key="second")
    assert again["attempt"] == 2
    await system.settle()
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert await system.available() == 0


@pytest.mark.scenario("W2", "W18", "K1")
async def test_a_declined_order_is_paid_at_the_second_attempt(system: System) -> None:
    """A decline gives the stock back and keeps the basket; the same order id with a new key pays once."""
    await system.place("order-1", payment_token="tok_decline")
    assert await ended(system, "order-1") == "payment_failed"
    assert await system.available() == 10
    again = await system.check_out("order-1", key="second", payment_token="tok_ok")
    assert again["attempt"] == 2
    await system.settle()
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert await taken(system, "order-1") == PRICE["amount_minor"]
    assert len(await system.fleet()) == 1


@pytest.mark.scenario("W9", "K12", "T1")
async def test_a_payment_that_never_comes_expires(system: System) -> None:
    """A processor that stays silent: after the timeout the payment is voided, the stock is back, nothing was taken."""
    await system.place("order-1", payment_token="tok_silent")
    await system.settle()
    await system.pass_time(899)
    assert await system.status("order-1") == "pending_payment"
    await system.pass_time(2)
    assert await ended(system, "order-1") == "payment_expired"
    (line,) = await system.ledger()
    assert (line["captured_minor"], line["voided"]) == (0, True)
    assert await system.available() == 10


@pytest.mark.scenario("W9", "K9", "W14")
async def test_late_money_is_given_back_once(system: System) -> None:
    """Captured, but told only after the timeout: the order stays expired and the money goes back, once."""
    await system.place("order-1", payment_token="tok_late")
    await system.settle()
    assert await taken(system, "order-1") == PRICE["amount_minor"]
    await system.pass_time(901)
    assert await ended(system, "order-1") == "payment_expired"
    await system.pass_time(60)
    assert await refunded(system, "order-1")
    (payment,) = await system.payments("order-1")
    again = await system.deliver(succeeded(payment), event_id="evt_again")
    assert again.status_code == 200
    await system.pass_time(60)
    assert await refunded(system, "order-1")
    assert await system.status("order-1") == "payment_expired"


@pytest.mark.scenario("W7")
async def test_a_webhook_delivered_twice_counts_once(system: System) -> None:
    """A processor that tells everything twice is believed once."""
    await paid(system, "order-1", payment_token="tok_twice")
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert await taken(system, "order-1") == PRICE["amount_minor"]
    assert (await system.history("order-1")).count("awaiting_approval") == 1


@pytest.mark.scenario("W3")
async def test_a_webhook_before_the_answer_is_kept(system: System) -> None:
    """A webhook that arrives before the request for the payment is answered is not lost."""
    await paid(system, "order-1", payment_token="tok_early")
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"


@pytest.mark.scenario("W8", "W14")
async def test_what_contradicts_or_comes_too_late_is_answered_200(system: System) -> None:
    """A failure after the success changes nothing; a success for a cancelled order is given back."""
    await paid(system, "order-1")
    (payment,) = await system.payments("order-1")
    assert (await system.deliver(failed(payment), event_id="evt_other")).status_code == 200
    assert await system.status("order-1") == "awaiting_approval"
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert (await system.deliver(succeeded(payment), event_id="evt_late")).status_code == 200
    await system.pass_time(60)
    assert not await refunded(system, "order-1"), "a repeat of the capture that paid the order is no late money"


@pytest.mark.scenario("W13", "W16", "G21")
async def test_a_webhook_that_does_not_fit_is_not_believed(system: System) -> None:
    """Another amount or currency, an unknown callback, a wrong signature: the order waits for the genuine one."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    (payment,) = await system.payments("order-1")
    for number, amount in enumerate([{"amount_minor": 1, "currency": "USD"}, PRICE | {"currency": "EUR"}]):
        wrong = await system.deliver(succeeded(payment, amount=amount), event_id=f"evt_{number}")
        assert wrong.status_code == 200
    unknown = await system.deliver(succeeded(payment, awakeable_id="awk_nobody"), event_id="evt_u")
    assert unknown.status_code == 404
    forged = await system.deliver(succeeded(payment), event_id="evt_f", webhook_signature="v1,AAAA")
    assert forged.status_code == 401
    await system.settle()
    assert await system.status("order-1") == "pending_payment"
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"


@pytest.mark.scenario("CC9", "I3", "C3")
async def test_a_checkout_sent_twice_is_one_order(system: System) -> None:
    """The same checkout again, with its key or another, before and after payment, is the same order and one payment."""
    first = await system.place("order-1")
    for key in ("key-order-1", "another", "key-order-1"):
        again = await system.check_out("order-1", key=key, payment_token="tok_ok")
        assert (again["order_id"], again["attempt"]) == (first["order_id"], 1)
        await system.settle()
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert len(await system.payments("order-1")) == 1


@pytest.mark.scenario("C15", "K2", "K16")
@pytest.mark.parametrize("kind", ["lost_answer", "lands_late"])
async def test_a_payment_whose_answer_is_lost_is_asked_for_once(system: System, kind: str) -> None:
    """The processor's answer is lost, or its effect late: the repeat finds the payment, and the customer pays once."""
    await system.fault("payment", kind=kind, method="POST", path="/payments", times=1, latency_s=1)
    await system.place("order-1")
    await system.settle()
    for _ in range(10):
        await system.pass_time(5)
    assert await system.status("order-1") == "awaiting_approval"
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    assert await taken(system, "order-1") == PRICE["amount_minor"]
