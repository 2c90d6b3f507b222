"""What code goes on with is what its log gives it on every replay, whatever a step has made it of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic.alias_generators import to_camel

from services.orchestrator.engine import Step, StepFailed, Transaction, WorkflowContext, workflow
from tests.postgres.engine.conftest import ClusterOf
from tests.support.engine import ONE, SUSPENDING, THREE, only
from tests.support.world import HOUR, Clients, act


class Price(BaseModel):
    """A value of its own."""

    amount: int


class Discounted(Price):
    """One that knows more than what is declared."""

    discount: int = 5


class Quote(BaseModel):
    """A value as another service spells it."""

    model_config = ConfigDict(alias_generator=to_camel)

    total_amount: int
    valid_until: datetime = Field(alias="expires")


class Doubled(BaseModel):
    """A value whose writing has more than may be read."""

    model_config = ConfigDict(extra="forbid")

    amount: int

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's own pages have it
    @property
    def double(self) -> int:
        """What nobody reads."""
        return 2 * self.amount


@dataclass
class Seen:
    """What the code of the sagas went on with, turn after turn."""

    values: list[Any] = field(default_factory=list)


SEEN = Seen()
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def quote(step: Step[Clients]) -> Quote:
    del step
    return Quote(totalAmount=7, expires=NOON)


async def price(step: Step[Clients]) -> Price:
    del step
    return Discounted(amount=7)


async def rate(step: Step[Clients]) -> float:
    del step
    return 1


async def anything(step: Step[Clients]) -> Any:
    del step
    return [(1, Decimal("1.10")), {2: NOON}]


async def anything_here(tx: Transaction) -> Any:
    del tx
    return (1, NOON)


def anything_there(clients: Clients) -> Any:
    del clients
    return {1: NOON}


async def side_effect(ctx: WorkflowContext) -> Any:
    return ctx.side_effect(anything_there)


READ: list[tuple[Callable[[WorkflowContext], Awaitable[Any]], Any]] = [
    (lambda ctx: ctx.run(quote), Quote(totalAmount=7, expires=NOON)),
    (lambda ctx: ctx.run(price), Price(amount=7)),
    (lambda ctx: ctx.run(rate), 1.0),
    (lambda ctx: ctx.run(anything), [[1, "1.10"], {"2": "2026-11-24T12:00:00Z"}]),
    (lambda ctx: ctx.transaction(anything_here), [1, "2026-11-24T12:00:00Z"]),
    (side_effect, {"1": "2026-11-24T12:00:00Z"}),
]


@workflow("reading", version=1)
async def reading(ctx: WorkflowContext, _: None) -> None:
    """Take a value of each kind, and sleep over it."""
    values = [await take(ctx) for take, _ in READ]
    SEEN.values.append(values)
    await ctx.sleep(HOUR)
    await ctx.run(act, f"paid {values[0].total_amount}")


@only(ONE, SUSPENDING, THREE)
@pytest.mark.scenario("S3", "S15", "G17")
async def test_code_sees_at_first_what_it_sees_on_replay(cluster_of: ClusterOf) -> None:
    """A subclass, a tuple, an alias: the code gets it as it is declared and written, before a restart as after it."""
    SEEN.values.clear()
    cluster = cluster_of(reading)
    saga_id = await cluster.start(reading)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert (view.status, cluster.world.happened()) == ("completed", ["paid 7"])
    expected = [value for _, value in READ]
    assert len(SEEN.values) >= 2
    for values in SEEN.values:
        assert values == expected
        assert [type(value) for value in values] == [type(value) for value in expected]


async def double(step: Step[Clients]) -> Doubled:
    await step.clients.world.ask(step.clients, step, "double", ())
    return Doubled(amount=2)


async def double_here(tx: Transaction) -> Doubled:
    del tx
    return Doubled(amount=2)


@workflow("doubling", version=1)
async def doubling(ctx: WorkflowContext, _: None) -> list[str]:
    """Two results that could never be read back, and what the author is told."""
    told = []
    doubling_twice: list[Callable[[], Awaitable[object]]] = [
        lambda: ctx.run(double),
        lambda: ctx.transaction(double_here),
    ]
    for begin in doubling_twice:
        try:
            await begin()
        except StepFailed as error:
            told.append(f"{error.code}: {error.message}")
    await ctx.sleep(HOUR)
    return told


@only(ONE, SUSPENDING)
@pytest.mark.scenario("S7")
async def test_what_cannot_be_read_back_fails_at_once(cluster_of: ClusterOf) -> None:
    """A result that the next replica could not read is an error from the first, by name, and not a divergence later."""
    cluster = cluster_of(doubling)
    saga_id = await cluster.start(doubling)
    await cluster.settle()
    await cluster.restart()
    view = await cluster.finish(saga_id)
    assert view.status == "completed", view.explanation
    assert [told.partition(":")[0] for told in view.output] == ["payload", "payload"]
    assert all("cannot be read back" in told and "double" in told for told in view.output)
    assert len(cluster.world.called("double")) == 1


@workflow("ordering", version=1, promises={"quote": Quote})
async def ordering(ctx: WorkflowContext, wanted: Quote) -> Quote:
    """Take a value as another service spells it, as the input and from outside."""
    agreed: Quote = await ctx.promise("quote").result()
    await ctx.run(act, f"{wanted.total_amount} or {agreed.total_amount}")
    return agreed


@only(ONE, SUSPENDING)
@pytest.mark.scenario("P11", "S6")
async def test_values_may_have_other_names_outside(cluster_of: ClusterOf) -> None:
    """An input and a promise whose fields have aliases come in by these, and are read as they were written."""
    cluster = cluster_of(ordering)
    saga_id = await cluster.start(ordering, {"totalAmount": 3, "expires": "2026-11-24T12:00:00Z"})
    await cluster.settle()
    value = {"totalAmount": 4, "expires": "2026-11-24T12:00:00Z"}
    await cluster.operations.resolve_promise(saga_id, "quote", value=value, by="ann")
    view = await cluster.finish(saga_id)
    assert view.status == "completed", view.explanation
    assert cluster.world.happened() == ["3 or 4"]


async def count(step: Step[Clients]) -> int:
    del step
    return 7


async def count_in_words(step: Step[Clients]) -> Quote:
    raise AssertionError(step)


@workflow("counting", version=1)
async def counting(ctx: WorkflowContext, _: None) -> int:
    """A number, slept over."""
    found = await ctx.run(count, name="count")
    await ctx.sleep(HOUR)
    return found


@workflow("counting", version=1)
async def counting_otherwise(ctx: WorkflowContext, _: None) -> int:
    """The same step under the same name, with a result of another type, whose code makes the best of it."""
    try:
        return (await ctx.run(count_in_words, name="count")).total_amount
    except Exception:  # noqa: BLE001 - an author may be as careless as this
        await ctx.run(act, "something else")
        return 0


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G17")
async def test_a_result_of_another_type_is_a_divergence(cluster_of: ClusterOf) -> None:
    """Code that declares another type than was recorded stops before any effect and says which; the former goes on."""
    cluster = cluster_of(counting)
    saga_id = await cluster.start(counting)
    await cluster.settle()
    await cluster.restart([counting_otherwise])
    await cluster.advance(3600)
    view = await cluster.view(saga_id)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.attention.position) == ("stuck", "divergence", "1")
    assert "this is no Quote" in view.attention.message
    assert cluster.world.happened() == []
    await cluster.restart([counting])
    await cluster.operations.retry(saga_id, by="ann", reason="the former code is back")
    assert (await cluster.finish(saga_id)).output == 7


@workflow("counted", version=1)
async def counted(ctx: WorkflowContext, _: None) -> int:
    """What is called, in the version that is there."""
    await ctx.sleep(HOUR)
    return 7


@workflow("counted", version=2)
async def counted_in_words(ctx: WorkflowContext, _: None) -> Quote:
    """The version that the caller means."""
    raise AssertionError(ctx)


@workflow("calling", version=1)
async def calling(ctx: WorkflowContext, _: None) -> int:
    """Call it, and make the best of what comes."""
    try:
        found: Quote = await ctx.call(counted_in_words, key="child", input=None)
    except Exception:  # noqa: BLE001 - an author may be as careless as this
        await ctx.run(act, "something else")
        return 0
    return found.total_amount


@only(ONE, SUSPENDING)
@pytest.mark.scenario("G17", "C1")
async def test_a_joined_saga_may_be_of_another_version(cluster_of: ClusterOf) -> None:
    """A result that is not what the caller's version declares stops the caller before any effect, and says why."""
    cluster = cluster_of(counted, counted_in_words, calling)
    cluster.definitions = [counted, calling]
    await cluster.restart()
    child = await cluster.start(counted, key="child")
    caller = await cluster.start(calling, key="caller")
    await cluster.settle()
    cluster.definitions = [counted, counted_in_words, calling]
    await cluster.restart()
    assert (await cluster.finish(child)).output == 7
    view = await cluster.finish(caller)
    assert view.attention is not None
    assert (view.status, view.attention.reason, view.attention.position) == ("stuck", "divergence", "1")
    assert "the log holds call 'counted/child'" in view.attention.message
    assert cluster.world.happened() == []
