"""The sweep over the whole product: a crash of each service at its door, in its transactions and in its outbox."""

import pytest

from tests.support.sweep_errands import ERRANDS, errand
from tests.support.sweep_points import Strike, singles
from tests.support.sweep_report import Report, Violation
from tests.support.sweep_town import Town


@pytest.mark.parametrize("name", ERRANDS)
@pytest.mark.timeout(900)
async def test_a_crash_of_any_service_at_its_door(crashing: Town, name: str, singles_report: Report) -> None:
    """Whichever service dies with a request or a message in hand, or loses a commit, the order ends alike."""
    counted, _, found = await errand(crashing, name)
    assert not found
    begins = 0 if name == "delivered" else crashing.events.decided_at
    tally = singles_report.tally(f"{name}, over HTTP")
    for number, kind in singles(counted):
        if number < begins:
            continue  # struck on the way to the delivery
        point = counted[number].point
        nth = sum(heard.point == point for heard in counted[:number])
        _, hit, found = await errand(crashing, name, [Strike.of(nth, kind, point)])
        if not hit:
            found.append(Violation("G2", f"{point} was not passed for the time number {nth}"))
        tally.count([(heard.point, how) for heard, how in hit], found)
    assert not tally.violations, tally.told()
