"""Orders and the administrator's decision: taken once, by a person, in time."""

from functools import partial

import pytest

from tests.postgres.orchestrator.browser import Browser
from tests.support.figures import figure, trials
from tests.support.system import System
from tests.system.steps import ended, paid, refunded

OPENINGS = trials(100, 2_500)


@pytest.mark.scenario("K1", "P4", "K12")
async def test_a_rejected_order_is_refunded(system: System) -> None:
    """A rejection gives the money and the stock back; the opposite decision afterwards is a conflict."""
    await paid(system, "order-789")
    path = await system.approval_path("order-789")
    assert (await system.decide("order-789", "reject")).status_code == 200
    assert await ended(system, "order-789") == "rejected"
    assert await refunded(system, "order-789")
    assert await system.available() == 10
    assert await system.fleet() == []
    assert (await system.decide("order-789", "approve", path=path)).status_code == 409


@pytest.mark.scenario("P5", "P4")
async def test_a_decision_repeated_is_the_same_decision(system: System) -> None:
    """Approving twice answers alike; rejecting what is approved is refused and changes nothing."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    first = await system.decide("order-1", path=path)
    again = await system.decide("order-1", path=path)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert (await system.decide("order-1", "reject", path=path)).status_code == 409
    assert await ended(system, "order-1") == "completed"
    assert (await system.decide("order-1", path=path)).status_code in {200, 409}


@pytest.mark.scenario("P6", "T1", "K12")
async def test_an_approval_nobody_gives_expires(system: System) -> None:
    """Reminded of every day, undecided for three: the order expires, the money goes back, the link is gone."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    for _ in range(2):
        await system.pass_time(86_400)
        assert await system.status("order-1") == "awaiting_approval"
    await system.pass_time(86_401)
    assert await ended(system, "order-1") == "approval_expired"
    assert await refunded(system, "order-1")
    assert (await system.decide("order-1", path=path)).status_code in {409, 410}
    assert await system.status("order-1") == "approval_expired"


@pytest.mark.scenario("P8", "G22")
@pytest.mark.timeout(120 + OPENINGS)
async def test_opening_the_link_never_decides(system: System) -> None:
    """Scanners may open the link a hundred times, signed in or not: the order still waits."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    browser = Browser(system)
    await browser.sign_in()
    assert "csrf" in (await browser.get(path)).text
    ways = [partial(browser.get, path, method) for method in ("GET", "HEAD")]
    for headers in ({}, system.admin):
        ways += [partial(system.call, method, "orchestrator", path, headers=headers) for method in ("GET", "HEAD")]
    for _ in range(OPENINGS):
        for opened in ways:
            assert (await opened()).status_code < 500
    await system.settle()
    decided = await system.status("order-1") != "awaiting_approval"
    what = "openings of an approval link, by GET and HEAD, signed in and not: none decides"
    figure("G22", trials=OPENINGS * len(ways), violations=int(decided), what=what)
    assert not decided
    assert (await system.decide("order-1", path=path)).status_code == 200
    assert await ended(system, "order-1") == "completed"


@pytest.mark.scenario("P7", "G23")
async def test_only_an_administrator_decides(system: System) -> None:
    """A customer, a stranger and a forged link decide nothing."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    body = {"decision": "approve"}
    for headers in ({}, system.bearer("alice"), system.bearer("mallory")):
        answer = await system.call("POST", "orchestrator", path, json=body, headers=headers)
        assert answer.status_code in {401, 403}
    forged = path[:-4] + ("AAAA" if not path.endswith("AAAA") else "BBBB")
    assert (await system.decide("order-1", path=forged)).status_code == 404
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"


@pytest.mark.scenario("P1", "T3")
async def test_a_decision_after_the_reminder_counts(system: System) -> None:
    """The reminder leaves the same link open; a decision on the second day completes the order."""
    await paid(system, "order-1")
    path = await system.approval_path("order-1")
    await system.pass_time(86_401)
    assert await system.approval_path("order-1") == path
    assert (await system.decide("order-1", path=path)).status_code == 200
    assert await ended(system, "order-1") == "completed"
