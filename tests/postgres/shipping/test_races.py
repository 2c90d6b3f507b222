"""Races of create with create and with cancel, at every offset, with replicas that hang and carriers that forget."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.shipping.conftest import Replica, Shipping

Moment = Callable[[Replica, "Stop"], None]


class Stop:
    """Holds a call to the carrier (one that creates, unless `path` says otherwise) until the test lets it go."""

    def __init__(self, path: str = "/parcels") -> None:
        self.path = path
        self.reached = asyncio.Event()
        self._go = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> None:
        if request.url.path == self.path and request.method == "POST" and not self.reached.is_set():
            self.reached.set()
            await self._go.wait()

    def go(self) -> None:
        self._go.set()


def before_the_call(replica: Replica, stop: Stop) -> None:
    replica.line.before = stop


def before_the_answer(replica: Replica, stop: Stop) -> None:
    replica.line.after = stop


def forget_cancels(shipping: Shipping) -> None:
    """Make the carrier one that keeps no tombstones."""
    shipping.carrier.storage.execute("DELETE FROM tombstones")
    shipping.carrier.storage.commit()


async def held(replica: Replica, moment: Moment, order: str) -> tuple[Stop, "asyncio.Task[httpx.Response]"]:
    """Start a create and stop it at `moment`."""
    stop = Stop()
    moment(replica, stop)
    task = asyncio.create_task(replica.create(order))
    await stop.reached.wait()
    return stop, task


@pytest.mark.scenario("I3")
@pytest.mark.parametrize("moment", [before_the_call, before_the_answer])
async def test_a_concurrent_duplicate_is_told_to_come_back(shipping: Shipping, moment: Moment) -> None:
    """While one request creates, another one is 409 with Retry-After on any replica; then it finds the shipment."""
    first, second = await shipping.replica(), await shipping.replica()
    stop, creating = await held(first, moment, "order-1")
    for key in (None, "k2"):
        busy = await second.create("order-1", key=key)
        assert busy.status_code == 409
        assert int(busy.headers["Retry-After"]) >= 1
    stop.go()
    made = await creating
    assert made.status_code == 201
    assert (await second.create("order-1")).headers["Idempotent-Replayed"] == "true"
    assert (await second.create("order-1", key="k2")).json() == made.json()
    assert len(shipping.keys()) == 1


@pytest.mark.scenario("K17")
async def test_a_shipment_that_is_being_made_is_not_told_of_as_none(shipping: Shipping) -> None:
    """Who looks for it meanwhile has to come back; once nobody is at work on it any more, there is none."""
    first, second = await shipping.replica(), await shipping.replica()
    assert (await second.get("order-1")).status_code == 404
    stop, creating = await held(first, before_the_call, "order-1")
    busy = await second.get("order-1")
    assert (busy.status_code, busy.json()["code"]) == (409, "in-flight")
    assert int(busy.headers["Retry-After"]) >= 1
    shipping.fault("status", times=None)
    shipping.fault("status", method="GET", times=None)
    stop.go()
    assert (await creating).status_code == 503
    none = await second.get("order-1")
    assert (none.status_code, none.json()["code"]) == (404, "shipment-unknown")


@pytest.mark.scenario("C1", "C15")
@pytest.mark.parametrize("moment", [before_the_call, before_the_answer])
async def test_a_replica_that_hangs_is_overtaken(shipping: Shipping, moment: Moment) -> None:
    """After its lease another replica creates; the first one, thawed, finds that shipment: one parcel, one key."""
    frozen, other = await shipping.replica(), await shipping.replica()
    stop, creating = await held(frozen, moment, "order-1")
    shipping.clock.advance(60)
    made = await other.create("order-1", key="k2")
    assert made.status_code == 201
    stop.go()
    late = await creating
    assert (late.status_code, late.json()) == (200, made.json())
    assert len(shipping.carrier.find()) == 1
    assert set(shipping.keys()) == {"shipment:order-1"}


@pytest.mark.scenario("K2", "K17")
@pytest.mark.parametrize("tombstones", [True, False])
@pytest.mark.parametrize("moment", [before_the_call, before_the_answer])
async def test_a_cancel_overtakes_a_create(shipping: Shipping, moment: Moment, *, tombstones: bool) -> None:
    """A create in flight while a cancel is answered leaves no parcel, also at a carrier that keeps no tombstones."""
    creator, canceller = await shipping.replica(), await shipping.replica()
    stop, creating = await held(creator, moment, "order-1")
    assert (await canceller.cancel("order-1")).status_code == 200
    if not tombstones:
        forget_cancels(shipping)
    stop.go()
    refused = await creating
    assert (refused.status_code, refused.json()["code"]) == (409, "shipment-cancelled")
    assert shipping.live("order-1") == 0
    if not tombstones:  # a carrier that knows a cancel again by its key must not answer the second one from memory
        first, second = shipping.keys("/parcels/cancel")
        assert first != second


@pytest.mark.scenario("K17")
async def test_an_unanswered_create_after_a_cancel_is_cleared_away(
    shipping: Shipping, shipping_database: Database
) -> None:
    """The create's answers are lost at a carrier without tombstones, after the cancel: its end cancels again."""
    creator, canceller = await shipping.replica(), await shipping.replica()
    stop, creating = await held(creator, before_the_call, "order-1")
    assert (await canceller.cancel("order-1")).status_code == 200
    forget_cancels(shipping)
    shipping.fault("lost_answer", times=4)
    shipping.fault("status", method="GET")
    stop.go()
    assert (await creating).json()["code"] == "shipment-cancelled"
    assert len(shipping.carrier.find("order-1")) == 1
    assert shipping.live("order-1") == 0
    async with shipping_database.begin() as conn:
        assert await conn.scalar(Statement.of("select undo_owed from shipments")) is False


@pytest.mark.scenario("K17")
async def test_an_end_that_dies_leaves_its_cancel_to_the_sweep(shipping: Shipping) -> None:
    """The create ends after a cancel and cannot reach the carrier: the cancel it owes is made up for later."""
    creator, canceller = await shipping.replica(), await shipping.replica()
    stop, creating = await held(creator, before_the_call, "order-1")
    assert (await canceller.cancel("order-1")).status_code == 200
    forget_cancels(shipping)
    shipping.fault("status", path="/parcels/cancel", times=4)
    stop.go()
    assert (await creating).status_code == 503
    assert shipping.live("order-1") == 1
    shipping.clock.advance(31)
    await canceller.app.state.dispatch.sweep()
    assert shipping.live("order-1") == 0


@pytest.mark.scenario("RC9")
async def test_a_replica_that_stops_leaves_the_rest_to_others(shipping: Shipping, replica: Replica) -> None:
    """Told to stop, a sweep ends with the cancel that it is at; what else is owed another replica has confirmed."""
    shipping.fault("status", path="/parcels/cancel", times=12)
    for number in range(3):
        await replica.cancel(f"order-{number}")
    shipping.clock.advance(31)
    life, stop = AsyncExitStack(), Stop("/parcels/cancel")
    await shipping.replica(before=stop, life=life)
    await stop.reached.wait()
    ending = asyncio.create_task(life.aclose())
    await asyncio.sleep(0)
    stop.go()
    await ending
    assert len(shipping.keys("/parcels/cancel")) == 12 + 1
    shipping.clock.advance(31)
    await replica.app.state.dispatch.sweep()
    assert len(shipping.keys("/parcels/cancel")) == 12 + 3


@pytest.mark.scenario("K17")
async def test_a_confirmation_from_before_does_not_settle_what_is_owed_anew(
    shipping: Shipping, shipping_database: Database
) -> None:
    """A cancel that the carrier confirmed before the create landed does not count for what the create left behind."""
    creator, canceller = await shipping.replica(), await shipping.replica()
    creation, creating = await held(creator, before_the_call, "order-1")
    confirmation = Stop("/parcels/cancel")
    canceller.line.after = confirmation
    cancelling = asyncio.create_task(canceller.cancel("order-1"))
    await confirmation.reached.wait()
    forget_cancels(shipping)
    shipping.fault("status", path="/parcels/cancel", times=4)
    creation.go()
    assert (await creating).status_code == 503
    confirmation.go()
    assert (await cancelling).status_code == 200
    async with shipping_database.begin() as conn:
        assert await conn.scalar(Statement.of("select undo_owed from shipments")) is True
    shipping.clock.advance(31)
    await canceller.app.state.dispatch.sweep()
    assert shipping.live("order-1") == 0


@pytest.mark.scenario("K2", "K16")
async def test_a_replica_that_died_may_have_made_a_parcel(shipping: Shipping) -> None:
    """A replica dies between the carrier's effect and its record; the next one is refused, and cancels first."""
    dying, other = await shipping.replica(), await shipping.replica()
    _, creating = await held(dying, before_the_answer, "order-1")
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    assert (await other.create("order-1")).status_code == 409
    shipping.clock.advance(60)
    shipping.fault("status", method="GET")
    shipping.fault("status", status=422, body='{"code": "no-such-street"}')
    assert (await other.create("order-1")).json()["code"] == "carrier-rejected"
    assert shipping.live("order-1") == 0


@pytest.mark.scenario("C15")
async def test_a_parcel_of_a_replica_that_died_is_taken_up(shipping: Shipping) -> None:
    """A replica dies between the carrier's effect and its record: the next one finds the parcel by its reference."""
    dying, other = await shipping.replica(), await shipping.replica()
    _, creating = await held(dying, before_the_answer, "order-1")
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    shipping.clock.advance(60)
    assert (await other.create("order-1")).status_code == 201
    assert len(shipping.keys()) == len(shipping.carrier.find("order-1")) == 1


@pytest.mark.scenario("C1")
async def test_many_creates_make_one_parcel(shipping: Shipping) -> None:
    """Ten requests at once on two replicas: one makes the shipment, the others find it or are told to come back."""
    replicas = [await shipping.replica(), await shipping.replica()]
    for number in range(10):
        order = f"order-{number}"
        calls = [replicas[i % 2].create(order, key=f"{order} {i}") for i in range(10)]
        answers = await asyncio.gather(*calls)
        assert sorted({answer.status_code for answer in answers} - {200, 409}) == [201]
        assert [answer.status_code for answer in answers].count(201) == 1
        assert len(shipping.carrier.find(order)) == 1


@pytest.mark.scenario("K2", "K17", "C15")
@pytest.mark.parametrize("seed", range(8))
async def test_create_and_cancel_at_random_offsets(shipping: Shipping, seed: int) -> None:
    """Whatever the carrier's faults and the interleaving: what a cancel confirmed has no parcel, the rest has one."""
    dice = random.Random(seed)
    replicas = [await shipping.replica(), await shipping.replica()]

    async def pause(_request: httpx.Request) -> None:
        for _ in range(dice.randrange(30)):
            await asyncio.sleep(0)

    for replica in replicas:
        replica.line.before = replica.line.after = pause
    for kind in ("lost_answer", "status", "lands_late"):
        shipping.fault(kind, path="/parcels", method=None, times=None, probability=0.15)
    for number in range(8):
        await _race(shipping, replicas, dice, f"order-{seed}-{number}")
    await shipping.carrier.settle_all()
    for parcel in shipping.carrier.find():
        cancelled = (await replicas[0].get(parcel.reference)).status_code == 404 or (
            await replicas[0].get(parcel.reference)
        ).json()["status"] == "cancelled"
        assert shipping.live(parcel.reference) == (0 if cancelled else 1)


async def _race(shipping: Shipping, replicas: list[Replica], dice: random.Random, order: str) -> None:
    """Create twice and perhaps cancel, each tried again until it is answered for good."""

    async def until_settled(call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        for _ in range(dice.randrange(60)):
            await asyncio.sleep(0)
        for _ in range(60):
            answer = await call()
            if answer.status_code < 500 and "Retry-After" not in answer.headers:
                return answer
            shipping.clock.advance(1)
        pytest.fail(f"{order} is never settled")

    wanted = [
        until_settled(lambda: replicas[0].create(order)),
        until_settled(lambda: replicas[1].create(order, key=f"2 {order}")),
    ]
    cancels = dice.random() < 0.7
    if cancels:
        wanted.append(until_settled(lambda: replicas[1].cancel(order)))
    answers = await asyncio.gather(*wanted)
    assert shipping.live(order) <= 1
    if cancels:
        assert answers[2].status_code == 200
        assert shipping.live(order) == 0
    else:
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert shipping.live(order) == 1
