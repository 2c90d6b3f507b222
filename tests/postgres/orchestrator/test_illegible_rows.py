"""A row that somebody has edited by hand hides no other: not from the list of sagas, nor from those who approve."""

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.orchestrator.acts import waiting_for_approval
from tests.postgres.orchestrator.browser import Browser
from tests.support.system import System

EDITED = pytest.mark.parametrize("text", ["garbage", '{"order_id": "order-1"}'], ids=["no-json", "no-order"])


async def two_orders(system: System, database: Database, text: str) -> None:
    """Let two orders wait for their approval, the first of which cannot be read any more."""
    for order_id in ("order-1", "order-2"):
        await waiting_for_approval(system, order_id)
    async with database.begin() as conn:
        await conn.fetch(Statement.of("update sagas set input = :text where key = 'order-1'"), {"text": text})


@EDITED
@pytest.mark.scenario("SEC-d", "V8")
async def test_an_order_that_cannot_be_read_hides_no_other_from_an_administrator(
    system: System, orchestrator_database: Database, text: str
) -> None:
    """The others are there to be decided, in the list and on the page, and the service says that it is ready."""
    await two_orders(system, orchestrator_database, text)
    assert [pending["order_id"] for pending in await system.approvals()] == ["order-2"]
    browser = Browser(system)
    browser.accept = "text/html"
    await browser.sign_in()
    page = await browser.get("/approvals")
    assert (page.status_code, "order-2" in page.text) == (200, True)
    assert (await system.call("GET", "orchestrator", "/readyz")).status_code == 200


@EDITED
@pytest.mark.scenario("SEC-d", "V8", "C4")
async def test_a_saga_that_cannot_be_read_is_listed(system: System, orchestrator_database: Database, text: str) -> None:
    """A page of sagas has it, with what is known of it."""
    await two_orders(system, orchestrator_database, text)
    found = await system.call("GET", "orchestrator", "/sagas?workflow=order", headers=system.admin)
    assert found.status_code == 200
    shown = {saga["key"]: saga for saga in found.json()["items"]}
    assert shown.keys() == {"order-1", "order-2"}
    assert ("cannot read its input" in shown["order-1"]["explanation"]) == (text == "garbage")
