"""`make psql`: open psql on a service's database, of the running stack or of the data at rest."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from dev import stack_record, terminal, tool
from dev.data_lock import only_one
from dev.databases import provided
from dev.layout import Layout
from dev.postgres import binary
from services.chassis.postgres.connecting import address_of

SERVICES = ("orchestrator", "session", "shipping")
BOUNDS = "-c lock_timeout=3s -c idle_in_transaction_session_timeout=60s"
"""Somebody who sits in a transaction on rows holds the services up, and waiting for rows that one holds up others."""


def open_psql(url: str, words: list[str]) -> int:
    """Run psql until the person leaves it; the password is not shown to `ps`.

    An address of ours is not quite one of psql's: it knows no `pooler`, and its `options` would replace the bounds.
    """
    parts = urlsplit(address_of(url))
    asked = parse_qsl(parts.query)
    query = urlencode([pair for pair in asked if pair[0] != "options"], quote_via=quote)
    user, _, place = parts.netloc.rpartition("@")
    name, colon, password = user.partition(":")
    shown = parts._replace(netloc=f"{name}@{place}" if name else place, query=query).geturl()
    # What a person has set comes last.
    bounds = [BOUNDS, *(value for key, value in asked if key == "options"), os.environ.get("PGOPTIONS", "")]
    env = os.environ | {"PGOPTIONS": " ".join(bounds).rstrip()} | ({"PGPASSWORD": unquote(password)} if colon else {})
    return subprocess.run([str(binary("psql")), shown, *words], env=env, check=False).returncode


@contextmanager
def left_to_psql() -> Iterator[None]:
    """Leave Ctrl-C to psql, which gives a statement up and stays; not by SIG_IGN, which its children would inherit."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def at_rest(layout: Layout, service: str, words: list[str]) -> int:
    async with provided(layout) as databases:
        return await asyncio.to_thread(open_psql, databases.urls[service], words)


def chosen(words: list[str]) -> tuple[str | None, list[str]]:
    """Return whose database is meant and psql's own words: the orchestrator's if none is named, None for no service."""
    if not words or words[0].startswith("-"):
        return "orchestrator", words
    return (words[0], words[1:]) if words[0] in SERVICES else (None, words)


def main() -> int:
    service, words = chosen(sys.argv[1:])
    if service is None:
        terminal.fail(
            f"there is no database of {words[0]!r}: ARGS= takes {', '.join(SERVICES)}, then psql's own options"
        )
        return 2
    layout = Layout.read()
    try:
        url = stack_record.read(layout).databases[service]
    except stack_record.NotRunningError:
        if not (layout.data / "postgres").exists():
            terminal.fail(f"there is no database in {layout.data} yet: start with `make run`")
            return 1
        with only_one(layout), left_to_psql():
            return asyncio.run(at_rest(layout, service, words))
    with left_to_psql():
        return open_psql(url, words)


if __name__ == "__main__":
    sys.exit(tool.run(main))
