"""Refusals of input say where it is wrong and why; neither values nor names that were sent are said again."""

from typing import Any

import pytest

from tests.postgres.orchestrator.acts import start, unpaid, waiting
from tests.support.system import System, succeeded

CARD = "4111111111111111"


def told(answer: Any, code: str = "invalid") -> list[tuple[str, str]]:
    """Where and why, of a refusal that does not say the number again."""
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert CARD not in answer.text
    return [(fault["where"], fault["why"]) for fault in answer.json()["errors"]]


async def test_a_decision_with_an_unknown_field_names_it_not(system: System) -> None:
    """The route that reads its body by itself masks as all others do."""
    path = await waiting(system)
    body = {"decision": "approve", CARD: 1}
    answer = await system.call("POST", "orchestrator", path, json=body, headers=system.admin)
    assert [where for where, _ in told(answer)] == ["body.?"]
    assert await system.status("order-1") == "awaiting_approval"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({CARD: 1}, "body.data.?"),
        ({"payment_id": CARD * 30}, "body.data.payment_id"),
        ({"amount": {"amount_minor": CARD, "currency": "USD"}}, "body.data.amount.amount_minor"),
    ],
)
async def test_an_event_is_refused_by_its_own_places(system: System, change: dict[str, Any], where: str) -> None:
    """The type that tells events apart is no step on the way to a field."""
    answer = await system.deliver(succeeded(await unpaid(system), **change))
    assert [place for place, _ in told(answer)] == [where]


async def test_an_event_of_no_type_of_ours_is_told_at_its_type(system: System) -> None:
    """Missing or unknown, it is the type that is wrong."""
    for event, why in (({"type": CARD}, "Unknown type"), ({}, "Field required")):
        assert told(await system.deliver(event, raw=None if event else b"{}")) == [("body.type", why)]


async def test_an_input_of_another_shape_is_told_at_its_place(system: System) -> None:
    """What the engine's codec refuses has its faults too, and masks what it does not know."""
    for wrong in ({"payment_id": "p", CARD: 1}, {"payment_id": {CARD: 1}}, CARD):
        faults = told(await start(system, input=wrong), "invalid-value")
        assert [where for where, _ in faults] == ["body.input"], wrong


async def test_a_value_of_another_shape_is_told_at_its_place(system: System) -> None:
    """Promises and awakeables alike."""
    await unpaid(system)
    promise = f"/sagas/{(await system.saga('order-1'))['saga_id']}/promises/admin_approval/resolve"
    awakeable = f"/awakeables/{await system.awakeable_id('order-1')}/resolve"
    for path in (promise, awakeable):
        body = {"value": {"approved": True, CARD: 1}}
        answer = await system.call("POST", "orchestrator", path, json=body, headers=system.service())
        assert [where for where, _ in told(answer, "invalid-value")] == ["body.value"], path


async def test_a_cursor_of_no_listing_is_told_at_its_place(system: System) -> None:
    """A page is asked for by what a page has given out."""
    answer = await system.call("GET", "orchestrator", f"/sagas?cursor={CARD}", headers=system.admin)
    assert [where for where, _ in told(answer, "invalid-value")] == ["query.cursor"]
