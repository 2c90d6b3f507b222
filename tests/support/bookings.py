"""A table of an author beside the engine's, the transactions that write it, and what is done to them meanwhile.

Every run of a transaction's code writes another value, which is its result: so a row shows which run was committed.
"""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.chassis import ids
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import Step, StepFailed, Transaction, WorkflowContext, workflow
from tests.support.world import ONCE, Clients

Disturbance = Callable[[Transaction], Awaitable[object]]

CREATE = Statement.of(
    "create table if not exists bookings (saga_id text not null, key text not null, name text not null,"
    " value text not null, constraint bookings_named check (name <> ''))"
)
DROP = Statement.of("drop table bookings")
INSERT = Statement.of("insert into bookings (saga_id, key, name, value) values (:saga_id, :key, :name, :value)")
READ = Statement.of("select name, value from bookings where saga_id = :saga_id order by name")


@dataclass
class Script:
    """What happens to transactions by their names, run after run, once they have written; and which runs there were."""

    runs: list[tuple[str, int]] = field(default_factory=list)
    _disturbances: dict[str, deque[Disturbance]] = field(default_factory=lambda: defaultdict(deque))

    def add(self, name: str, *disturbances: Disturbance) -> None:
        """Disturb the next runs of a transaction."""
        self._disturbances[name].extend(disturbances)

    async def play(self, tx: Transaction, name: str) -> None:
        """Note a run that has written, and disturb it."""
        self.runs.append((name, tx.attempt))
        if script := self._disturbances[name]:
            await script.popleft()(tx)

    def times(self, name: str) -> int:
        """How often the code of a transaction was run up to its disturbance."""
        return sum(ran == name for ran, _ in self.runs)

    def clear(self) -> None:
        """Forget everything."""
        self.runs.clear()
        self._disturbances.clear()


SCRIPT = Script()
"""The script of the test that runs; a transaction's function gets nothing by which it would find another."""


async def book(tx: Transaction, name: str) -> str:
    """Write a row, and return what is in it."""
    value = f"{name} {ids.new_uuid()}"
    await tx.connection.fetch(INSERT, {"saga_id": tx.saga_id, "key": tx.key, "name": name, "value": value})
    await SCRIPT.play(tx, name)
    return value


async def unbook(step: Step[Clients], result: str | None, name: str) -> None:
    """Undo `book`, as far as the world outside is concerned."""
    await step.clients.world.ask(step.clients, step, f"undo {name}", (result,))


@dataclass(frozen=True, slots=True)
class Bookings:
    """The table as it stands."""

    database: Database

    async def of(self, saga_id: str) -> dict[str, list[str]]:
        """The values that a saga's transactions have written, by their names."""
        found: dict[str, list[str]] = defaultdict(list)
        async with self.database.autocommit() as conn:
            for name, value in await conn.fetch(READ, {"saga_id": saga_id}):
                found[name].append(value)
        return dict(found)


def fails(error: Callable[[], Exception]) -> Disturbance:
    """A run that fails once it has written."""

    async def fail(_: Transaction) -> None:
        raise error()

    return fail


@workflow("alone", version=1, undos=[unbook])
async def alone(ctx: WorkflowContext, name: str) -> str:
    """One transaction that may be attempted once, whose failure is the result."""
    try:
        return await ctx.transaction(book, name, compensate=unbook, retry=ONCE)
    except StepFailed as failure:
        return f"{failure.code} {failure}"
