"""The tables of workflows: declared in a place of their own, and held against the histories like the engine's."""

from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import CheckConstraint, Column, Connection, Table, Text, text
from sqlalchemy.schema import CreateTable

from migrations.runner import MigrationError, declared, upgrade
from services.orchestrator.workflows.tables import metadata
from tests.support import alchemy

NAME = "of_a_test"


@pytest.fixture
def table() -> Iterator[Table]:
    """A table that a workflow declares."""
    declares = Table(
        NAME, metadata, Column("key", Text, CheckConstraint("key <> ''", name="of_a_test_named"), primary_key=True)
    )
    yield declares
    metadata.remove(declares)


async def test_a_table_of_a_workflow_is_missed_until_a_migration_makes_it(table: Table, empty_database: str) -> None:
    """What is declared and not made is a difference, by its name; what is both is none."""
    await upgrade("orchestrator", empty_database)
    ((change, missed),) = await alchemy.differences(empty_database, "orchestrator")
    assert (change, missed.name) == ("add_table", NAME)
    await alchemy.run(empty_database, lambda connection: connection.execute(CreateTable(table)))
    assert await alchemy.differences(empty_database, "orchestrator") == []


async def test_a_check_of_a_workflow_is_missed_until_a_migration_makes_it(table: Table, empty_database: str) -> None:
    """A check that is declared and not made, which Alembic leaves out, is a difference; so is one too many."""
    await upgrade("orchestrator", empty_database)
    await alchemy.run(empty_database, lambda connection: connection.execute(CreateTable(table)))
    checked = "CHECK ((key <> ''::text))"
    for statement, difference in (
        (f"ALTER TABLE {NAME} DROP CONSTRAINT of_a_test_named", ("missing_check", NAME, "of_a_test_named", checked)),
        (f"ALTER TABLE {NAME} ADD CONSTRAINT of_a_test_named CHECK (key <> '')", None),
        (f"ALTER TABLE {NAME} ADD CONSTRAINT other CHECK (key <> '')", ("undeclared_check", NAME, "other", checked)),
    ):
        await alchemy.run(empty_database, partial(Connection.execute, statement=text(statement)))
        found = await alchemy.differences(empty_database, "orchestrator")
        assert found == ([] if difference is None else [difference])


def test_a_table_of_a_workflow_stands_beside_those_of_the_engine(table: Table) -> None:
    """It belongs to the orchestrator alone, and its name may not be one that the engine has."""
    assert {table.name, "sagas"} <= set(declared("orchestrator").tables)
    assert table.name not in declared("session").tables
    taken = Table("sagas", metadata, Column("id", Text, primary_key=True))
    try:
        with pytest.raises(MigrationError, match=r"workflows\.tables:metadata declares 'sagas'"):
            declared("orchestrator")
    finally:
        metadata.remove(taken)
