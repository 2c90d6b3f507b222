"""`make migrate`: bring the databases of the environment, else the embedded ones, to their newest schema."""

import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError

from dev import record, tell
from dev.databases import provided
from dev.layout import Layout
from dev.postgres import PostgresError
from dev.stack import AlreadyRunningError, only_one
from migrations.runner import MigrationError, upgrade


async def migrate(urls: dict[str, str]) -> None:
    for service, url in urls.items():
        changed = await upgrade(service, url)
        tell.done(f"{service:<12} {'migrated' if changed else 'is at the newest schema'}")


async def migrate_at_rest(layout: Layout) -> None:
    async with provided(layout) as databases:
        await migrate(databases.urls)


def main() -> int:
    layout = Layout.read()
    try:
        try:
            asyncio.run(migrate(record.read(layout).databases))
        except record.NotRunningError:
            with only_one(layout):
                asyncio.run(migrate_at_rest(layout))
    except (AlreadyRunningError, PostgresError, MigrationError, SQLAlchemyError, OSError) as error:
        tell.fail(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
