"""Orders and the carrier: one parcel per shipped order, none for any other, whatever the carrier does."""

import pytest

from tests.support.system import System
from tests.system.steps import ended, paid, refunded


async def approved(system: System, order_id: str) -> str:
    """Take an order to the carrier and see how it ends."""
    await paid(system, order_id)
    assert (await system.decide(order_id)).status_code == 200
    return await ended(system, order_id)


@pytest.mark.scenario("K1", "K12", "R4")
async def test_a_refused_shipment_is_refunded(system: System) -> None:
    """The carrier refuses: asked once, no retry; money and stock go back."""
    assert await approved(system, "FAIL_SHIP-1") == "shipment_failed"
    assert await refunded(system, "FAIL_SHIP-1")
    assert await system.available() == 10
    assert await system.fleet() == []
    assert len(await system.calls("carrier", "/parcels", order_id="FAIL_SHIP-1")) >= 1


@pytest.mark.scenario("R1", "C15")
async def test_a_flaky_carrier_is_asked_again(system: System) -> None:
    """Two failures and a success are one parcel and a completed order."""
    assert await approved(system, "FLAKY_SHIP-1") == "completed"
    assert len(await system.fleet()) == 1


@pytest.mark.scenario("C15", "K2")
async def test_a_parcel_whose_answer_is_lost_is_not_made_twice(system: System) -> None:
    """The parcel is made and the answer times out: the repeat finds it, and there is one parcel."""
    assert await approved(system, "SLOW_SHIP-1") == "completed"
    assert [parcel["reference"] for parcel in await system.fleet()] == ["SLOW_SHIP-1"]


@pytest.mark.scenario("R2", "K2", "K12")
async def test_a_carrier_that_stays_away_costs_the_customer_nothing(system: System) -> None:
    """When the carrier answers nothing but 503 the order fails, is cancelled by reference and refunded."""
    assert await approved(system, "DEAD_SHIP-1") == "shipment_failed"
    assert await refunded(system, "DEAD_SHIP-1")
    assert [parcel for parcel in await system.fleet() if parcel["status"] != "cancelled"] == []


@pytest.mark.scenario("K17", "K2")
async def test_a_parcel_that_lands_after_its_cancel_is_refused(system: System) -> None:
    """Creates that take effect long after their answer timed out find the cancel's tombstone."""
    await system.fault(
        "carrier", kind="lands_late", method="POST", path="/parcels", subject="order-1", times=None, latency_s=900
    )
    assert await approved(system, "order-1") in {"shipment_failed", "completed"}
    await system.pass_time(1_000)
    live = [parcel["reference"] for parcel in await system.fleet() if parcel["status"] != "cancelled"]
    assert live == (["order-1"] if await system.status("order-1") == "completed" else [])


@pytest.mark.scenario("C16")
@pytest.mark.parametrize(
    "answer",
    [
        {"status": 200, "body": "<html>", "content_type": "text/html"},
        {"status": 302, "location": "http://elsewhere/"},
        {"status": 500},
        {"status": 429, "retry_after_s": 2},
    ],
    ids=["html", "redirect", "500", "429"],
)
async def test_odd_answers_of_the_carrier_are_survived(system: System, answer: dict[str, object]) -> None:
    """HTML, a redirect, a 500 or a 429 of the carrier are retried; the order completes with one parcel."""
    await system.fault("carrier", kind="status", method="POST", path="/parcels", times=2, **answer)
    assert await approved(system, "order-1") == "completed"
    assert len(await system.fleet()) == 1


async def let_nobody_in(system: System) -> None:
    """Have the carrier refuse the secret of whoever calls."""
    await system.fault("carrier", kind="status", path="/parcels", status=401, times=None)


@pytest.mark.scenario("K12", "C15")
async def test_an_order_waits_for_a_carrier_that_does_not_let_us_in(system: System) -> None:
    """While our secret is wrong the order is neither shipped nor refunded, and people are called; then it goes on."""
    await paid(system, "order-1")
    await let_nobody_in(system)
    assert (await system.decide("order-1")).status_code == 200
    for _ in range(240):
        await system.pass_time(30)
    assert await system.status("order-1") == "approved"
    assert not await refunded(system, "order-1")
    assert await system.calls("carrier", "/parcels/cancel") == []
    assert await alarms(system, "shipping", "carrier-misconfigured") > 100
    assert await alarms(system, "orchestrator", "step-misconfigured") > 100
    await system.mend("carrier")
    assert await ended(system, "order-1") == "completed"
    assert [parcel["status"] for parcel in await system.fleet()] == ["registered"]


@pytest.mark.scenario("K3", "K12")
async def test_a_cancel_waits_for_a_carrier_that_does_not_let_us_in(system: System) -> None:
    """A cancelled order's undos wait as long as our secret is wrong, nobody has to retry them, and money comes back."""
    await paid(system, "order-1")
    await let_nobody_in(system)
    assert (await system.decide("order-1")).status_code == 200
    await system.settle()
    assert (await system.cancel("order-1")).status_code == 202
    for _ in range(60):
        await system.pass_time(30)
    assert (await system.saga("order-1"))["status"] == "compensating"
    await system.mend("carrier")
    assert await ended(system, "order-1") == "cancelled"
    assert await refunded(system, "order-1")
    assert await system.fleet() == []


async def alarms(system: System, service: str, kind: str) -> float:
    """How often a service has sounded an alarm."""
    text: str = (await system.call("GET", service, "/metrics")).text
    (line,) = [line for line in text.splitlines() if line.startswith(f'order_saga_alarms_total{{kind="{kind}"}}')]
    return float(line.split()[-1])
