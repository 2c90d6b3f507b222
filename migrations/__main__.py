"""`python -m migrations [service ...]`: bring the databases named in the environment to their newest schema."""

import asyncio
import sys

from sqlalchemy.exc import SQLAlchemyError

from migrations.runner import SERVICES, MigrationError, database_url, upgrade


async def migrate(services: list[str]) -> None:
    for service in services:
        changed = await upgrade(service, database_url(service))
        print(f"{service}: {'migrated to the newest schema' if changed else 'is at the newest schema'}", flush=True)


def main() -> int:
    services = sys.argv[1:] or list(SERVICES)
    unknown = [service for service in services if service not in SERVICES]
    if unknown:
        print(f"unknown service {', '.join(unknown)}: there are {', '.join(SERVICES)}", file=sys.stderr)
        return 2
    try:
        asyncio.run(migrate(services))
    except (MigrationError, SQLAlchemyError, OSError) as error:
        print(f"cannot migrate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
