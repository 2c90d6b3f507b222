"""`make psql`: where it goes, and what bounds whoever types into it."""

import asyncio
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from dev import psql
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support.server import direct


@pytest.mark.parametrize(("own", "expected"), [(None, ["3s", "1min"]), ("-c lock_timeout=9s", ["9s", "1min"])])
def test_an_operator_who_sits_in_a_transaction_is_sent_away(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str | None,
    expected: list[str],
) -> None:
    """`make psql` bounds how long rows are held and waited for, unless somebody says otherwise."""
    if own is None:
        monkeypatch.delenv("PGOPTIONS", raising=False)
    else:
        monkeypatch.setenv("PGOPTIONS", own)
    asked = [
        "-At",
        "-o",
        str(tmp_path / "told"),
        "-c",
        "show lock_timeout",
        "-c",
        "show idle_in_transaction_session_timeout",
    ]
    assert psql.open_psql(database.url, asked) == 0
    assert (tmp_path / "told").read_text().split() == expected


async def test_psql_is_opened_on_any_address_of_a_service(database: Database, tmp_path: Path) -> None:
    """With a password that had to be quoted, behind a pooler, on another schema: psql goes there, and is bounded."""
    password = "a b:c@d/%e+f?"
    async with database.autocommit() as conn:
        await conn.fetch(Statement.of(f"create role operator login password '{password}'"))
    parts = urlsplit(direct(database.url))
    where = f"operator:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    url = parts._replace(netloc=where, query="pooler=transaction&options=-csearch_path%3Dsaga").geturl()
    asked = [word for name in ("search_path", "lock_timeout") for word in ("-c", f"show {name}")]
    try:
        opened = await asyncio.to_thread(psql.open_psql, url, ["-At", "-o", str(tmp_path / "told"), *asked])
    finally:
        async with database.autocommit() as conn:
            await conn.fetch(Statement.of("drop role operator"))
    assert opened == 0
    assert (tmp_path / "told").read_text().split() == ["saga", "3s"]
