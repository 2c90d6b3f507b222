"""`make migrate`: bring the databases of the environment, else the embedded ones, to their newest schema."""

import asyncio
import sys

from dev import stack_record, terminal, tool
from dev.data_lock import only_one
from dev.databases import provided
from dev.layout import Layout
from migrations.runner import upgrade


async def migrate(urls: dict[str, str]) -> None:
    for service, url in urls.items():
        changed = await upgrade(service, url)
        terminal.done(f"{service:<12} {'migrated' if changed else 'is at the newest schema'}")


async def migrate_at_rest(layout: Layout) -> None:
    async with provided(layout) as databases:
        await migrate(databases.urls)


def main() -> int:
    layout = Layout.read()
    try:
        asyncio.run(migrate(stack_record.read(layout).databases))
    except stack_record.NotRunningError:
        with only_one(layout):
            asyncio.run(migrate_at_rest(layout))
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
