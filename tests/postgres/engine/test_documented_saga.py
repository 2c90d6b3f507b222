"""The saga that docs/writing-a-saga.md shows an author, and its test: taken from the page and run."""

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from services.chassis.postgres.database import Database
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, Registry, SagaView, StartRequest, TerminalError
from tests.support.clock import ManualClock
from tests.support.pages import block_after, read

PAGE = "docs/writing-a-saga.md"
MARK = "<!-- runs: tests/postgres/engine/test_documented_saga.py -->"
TEST = "<!-- runs: tests/postgres/engine/test_documented_saga.py too -->"
PLACE = "services.orchestrator.workflows.evening"
TWO_HOURS_S = 7_201


class Office:
    """Books and cancels whatever it is asked to, once per key, except for what it does not have."""

    def __init__(self, booking: Any, *, without: str = "") -> None:
        self._booking = booking
        self._without = without
        self.booked: dict[str, str] = {}
        self.cancelled: list[str] = []

    async def book(self, what: str, evening: Any, *, key: str, deadline: float) -> Any:
        """Book."""
        if what == self._without:
            raise TerminalError("none-left", f"there is no {what} left")
        self.booked[key] = what
        return self._booking(reference=f"{what} for {evening.guest}")

    async def cancel(self, what: str, evening: Any, *, key: str, deadline: float) -> None:
        """Give back."""
        self.cancelled.append(what)


@pytest.fixture
def page() -> Iterator[ModuleType]:
    """The block of the page, as the module that an author would write."""
    module = ModuleType(PLACE)
    sys.modules[module.__name__] = module
    exec(compile(block_after(read(PAGE), MARK), PAGE, "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


async def _run(
    page: ModuleType, office: Office, database: Database, clock: ManualClock, answer: bool | None
) -> SagaView:
    """Start the saga, answer for the guest (None: not at all), and see it to its end."""
    engine = Engine(
        registry=Registry([page.evening_out]), codec=PydanticCodec(), clients=office, database=database, clock=clock
    )
    try:
        evening = {"guest": "Ada", "seats": 2}
        saga = await engine.operations.start(StartRequest("evening-out", "ada-friday", evening))
        await engine.run_until_idle()
        if answer is None:
            clock.advance(TWO_HOURS_S)
        else:
            await engine.operations.resolve_promise(saga.saga_id, "confirmation", {"confirmed": answer}, by="ada")
        await engine.run_until_idle()
        return await engine.operations.get(saga.saga_id)
    finally:
        await engine.stop(grace_s=0)


async def test_what_is_confirmed_is_kept(page: ModuleType, orchestrator_database: Database, clock: ManualClock) -> None:
    """Table and taxi are booked once each, under keys of their own branches, and nothing is given back."""
    office = Office(page.Booking)
    view = await _run(page, office, orchestrator_database, clock, answer=True)
    assert (view.status, view.output) == ("completed", ["table for Ada", "taxi for Ada"])
    assert {key.partition(":")[2]: what for key, what in office.booked.items()} == {"1.0.1": "table", "1.1.1": "taxi"}
    assert office.cancelled == []


@pytest.mark.parametrize(("answer", "code"), [(False, "declined"), (None, "not-confirmed")])
async def test_what_is_not_confirmed_is_given_back(
    page: ModuleType, orchestrator_database: Database, clock: ManualClock, answer: bool | None, code: str
) -> None:
    """Declined, or two hours without an answer: both bookings are cancelled, the last one first."""
    office = Office(page.Booking)
    view = await _run(page, office, orchestrator_database, clock, answer=answer)
    assert view.status == "failed"
    assert view.error is not None
    assert view.error.code == code
    assert office.cancelled == ["taxi", "table"]


async def test_a_refusal_gives_the_other_booking_back(
    page: ModuleType, orchestrator_database: Database, clock: ManualClock
) -> None:
    """Without a taxi the table is given back; for the taxi, which was definitely refused, there is nothing to undo."""
    office = Office(page.Booking, without="taxi")
    engine = Engine(
        registry=Registry([page.evening_out]),
        codec=PydanticCodec(),
        clients=office,
        database=orchestrator_database,
        clock=clock,
    )
    try:
        saga = await engine.operations.start(StartRequest("evening-out", "k", {"guest": "Ada", "seats": 2}))
        await engine.run_until_idle()
        view = await engine.operations.get(saga.saga_id)
    finally:
        await engine.stop(grace_s=0)
    assert (view.status, view.error and view.error.code) == ("failed", "none-left")
    assert office.cancelled == ["table"]


@pytest.mark.usefixtures("page")
async def test_the_test_of_the_page_passes(orchestrator_database: Database, clock: ManualClock) -> None:
    """What the page shows as a test of the saga is one: it runs against the saga of the page."""
    tests: dict[str, Any] = {"__name__": "documented_test"}
    exec(compile(block_after(read(PAGE), TEST), PAGE, "exec"), tests)
    await tests["test_silence_gives_everything_back"](orchestrator_database, clock)
