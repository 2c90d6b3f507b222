"""State over HTTP: shown by name for one saga, without what is secret, in clear nowhere."""

from collections.abc import AsyncIterator
from typing import Annotated

import asyncpg
import pytest
from pydantic import BaseModel

from services.contracts.base import Secret
from services.contracts.session import Address
from services.orchestrator import app
from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.workflows import REGISTRY
from tests.postgres.orchestrator.acts import start
from tests.support import server
from tests.support.clock import ManualClock
from tests.support.system import ADDRESS, System, running


class Parcel(BaseModel):
    """What is kept of a parcel; where it goes to is a secret."""

    number: int
    to: Annotated[Address, Secret()]


PARCEL = Parcel(number=7, to=Address.model_validate(ADDRESS))
SECRETS = [ADDRESS["street"], ADDRESS["city"], ADDRESS["postal_code"]]


@workflow("delivery-notes", version=1, promises={"go": bool})
async def delivery_notes(ctx: WorkflowContext, _: str) -> list[str]:
    """Keep a secret in every way, and what is none."""
    ctx.state.set("parcel", PARCEL)
    ctx.state.set("address", "wherever it is")
    ctx.state.set("both", [PARCEL, PARCEL], list[Parcel])
    ctx.state.set("nested", {"first": PARCEL, "floor": 3})
    ctx.state.set("untyped", [PARCEL])
    await ctx.promise("go").result()
    assert ctx.state.get("parcel", Parcel) == PARCEL
    assert ctx.state.get("both", list[Parcel]) == [PARCEL, PARCEL]
    assert ctx.state.get("nested", dict[str, Parcel | int]) == {"first": PARCEL, "floor": 3}
    assert ctx.state.get("untyped", list[Parcel]) == [PARCEL]
    ctx.state.clear_all()
    ctx.state.set("$sealed", "no seal")
    return list(ctx.state.names())


@pytest.fixture
async def noting(
    product_urls: dict[str, str], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[System]:
    """The product with one more workflow."""
    monkeypatch.setattr(app, "REGISTRY", (*REGISTRY, delivery_notes))
    async with running(product_urls, clock) as system:
        yield system


async def rows(system: System) -> str:
    """Every row of the sagas' logs, as text."""
    connection = await asyncpg.connect(server.direct(system.apps["orchestrator"].state.database.url))
    try:
        return "\n".join(line for (line,) in await connection.fetch("select row_to_json(s)::text from steps s"))
    finally:
        await connection.close()


@pytest.mark.scenario("ST4", "SEC-b")
async def test_state_is_shown_without_what_is_secret(noting: System) -> None:
    """One saga shows its state by name, secrets hidden; in its log and in the rows they are hidden or sealed too."""
    saga_id = (await start(noting, workflow="delivery-notes", key="k", input="x")).json()["saga_id"]
    await noting.settle()
    path = f"/sagas/{saga_id}"
    saga = (await noting.call("GET", "orchestrator", path, headers=noting.admin)).json()
    assert saga["status"] == "waiting", saga["explanation"]
    assert list(saga["state"]) == ["parcel", "address", "both", "nested", "untyped"]
    assert saga["state"]["address"] == "[redacted]"
    assert saga["state"]["parcel"] == {"number": 7, "to": "[redacted]"}
    assert saga["state"]["nested"]["floor"] == 3
    steps = (await noting.call("GET", "orchestrator", f"{path}/steps", headers=noting.admin)).json()
    assert {"set parcel", "set both", "set nested"} <= {step["name"] for step in steps if step["kind"] == "state"}
    for told, hidden in ((str(saga), "[redacted]"), (str(steps), "[redacted]"), (await rows(noting), "sealed.1.")):
        assert not [secret for secret in SECRETS if secret in told]
        assert hidden in told
    assert "wherever it is" not in str(saga) + str(steps)
    (item,) = (await noting.call("GET", "orchestrator", "/sagas?key=k", headers=noting.admin)).json()["items"]
    assert item["saga_id"] == saga_id
    assert "state" not in item
    resolve = f"{path}/promises/go/resolve"
    await noting.call("POST", "orchestrator", resolve, json={"value": True}, headers=noting.admin)
    await noting.settle()
    saga = (await noting.call("GET", "orchestrator", path, headers=noting.admin)).json()
    assert (saga["status"], saga["output"], saga["state"]) == ("completed", ["$sealed"], {"$sealed": "[redacted]"})
