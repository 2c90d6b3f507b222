"""The order scenarios on the composed stack: real containers, real Postgres, real restarts."""

import pytest

from dev.demo.chapters import (
    Tale,
    carrier_refuses,
    is_rejected,
    money_comes_late,
    orchestrator_dies,
    pays_at_the_second_attempt,
    succeeds,
)
from tests.support.composed import Composed

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


@pytest.mark.scenario("K0")
async def test_an_order_succeeds(tale: Tale) -> None:
    """An order is paid by webhook, approved, shipped and completed; nothing is undone."""
    await succeeds(tale)


@pytest.mark.scenario("K1")
async def test_a_refused_parcel_is_refunded(tale: Tale) -> None:
    """When the carrier refuses, the money goes back and the stock is released."""
    await carrier_refuses(tale)


@pytest.mark.scenario("RC1", "G9")
async def test_a_killed_orchestrator_pays_once(tale: Tale) -> None:
    """The orchestrator's container is killed while a payment hangs; afterwards the order is paid once and completes."""
    await orchestrator_dies(tale)


@pytest.mark.scenario("W18")
async def test_a_declined_order_pays_at_its_second_attempt(tale: Tale) -> None:
    """After a declined card the same order is paid by another one, once."""
    await pays_at_the_second_attempt(tale)


@pytest.mark.scenario("P4")
async def test_a_rejected_order_is_refunded(tale: Tale) -> None:
    """A rejection gives the money back and releases the stock."""
    await is_rejected(tale)


@pytest.mark.scenario("W14")
async def test_late_money_is_refunded_once(tale: Tale) -> None:
    """Money that arrives after a cancel is refunded, once."""
    await money_comes_late(tale)


async def test_what_was_stored_survives_a_restart_of_everything(tale: Tale, composed: Composed) -> None:
    """`docker compose down` and `up` again: the catalogue is as it was."""
    await tale.world.put_product("kept", 7)
    composed.run("down", "--timeout", "20")
    composed.up()
    catalog = await tale.world.call("GET", "session", "/catalog")
    assert [product["available"] for product in catalog if product["sku"] == "kept"] == [7]
