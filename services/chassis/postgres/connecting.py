"""How a connection to Postgres is made: with bounded waits of every kind, and what is left out behind a pooler.

A pooler in transaction mode (PgBouncer) gives each transaction another connection of the server. So nothing that
belongs to a session may be counted on: no statement by its name, and no setting made on connecting. An address with
`?pooler=transaction` says so; the limits must then be set on the role, or by the pooler, which the start checks.

An address may name several servers: the one that takes writes is looked for, unless the address says otherwise.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

Driver = asyncpg.Connection
"""A connection as the driver has it."""

POOLER: Final = "pooler"
_TRANSACTION: Final = "transaction"
_ROLE_OF_SERVER: Final = "target_session_attrs"
_WRITES: Final = "read-write"

LIMITS: Final = {
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "4s",
}
"""What may wait for how long, on the server.

Who freezes in a transaction loses its locks before a lease of the engine ends, so that what it leaves can be taken up;
and who waits for them lets go of its own before that, so that nobody waits for both.
"""
_TRACKED: Final = {"timezone": "UTC"}  # a pooler hands these on with every transaction
_SESSION_SETTINGS: Final = {
    **_TRACKED,
    **LIMITS,
    "idle_session_timeout": "0",  # a limit for people's sessions; those that are kept are idle most of the time
    "jit": "off",
    # What is run often is prepared, finds its rows by an index, and is planned once: planning costs more than running.
    # While a table is empty no index would be taken, and that plan would be kept until the table is analysed.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "tcp_user_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_COMMAND_TIMEOUT_S: Final = 12.0  # longer than the server's own limits: only for a server that no longer answers
_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSING_S: Final = 2.0
_SERVER: Final = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d+)?")
_NAME: Final = re.compile(r"[\w.-]{1,63}")
_PREPARED_MAX: Final = 100  # the driver's own measure; we have fewer that are run often


def is_pooled(url: str) -> bool:
    """Whether an address says that a pooler in transaction mode answers there."""
    mode = dict(parse_qsl(urlsplit(url).query)).get(POOLER)
    if mode not in (None, _TRANSACTION):
        raise ValueError(f"{POOLER} is {mode!r} in the address of a database; it may only be {_TRANSACTION!r}")
    return mode is not None


def address_of(url: str) -> str:
    """Return the address as the driver takes it, without what only we understand."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != POOLER]
    if len(servers_of(url)) > 1 and _ROLE_OF_SERVER not in dict(query):
        query.append((_ROLE_OF_SERVER, _WRITES))
    return parts._replace(scheme="postgresql", query=urlencode(query)).geturl()


def servers_of(url: str) -> Sequence[str]:
    """Return the servers that an address names before its path, each with its port if it says one; none if unsure."""
    named = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return named if all(_SERVER.fullmatch(server) for server in named) else ()


def address_at(url: str, server: str) -> str:
    """Return the address as the driver takes it, of one of its servers."""
    parts = urlsplit(address_of(url))
    user, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{server}").geturl()


def place_of(url: str) -> Mapping[str, str | int | None]:
    """Return `host`, `port` and `database` of an address, None for what it does not say; never user or password."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    try:
        port: str | int | None = parts.port
    except ValueError:  # several servers, or a password that should have been quoted: nobody knows which
        port = None
    database = parts.path.removeprefix("/")
    servers = servers_of(url)
    return {
        "host": asked.get("host", parts.hostname if len(servers) < 2 else ",".join(servers)),
        "port": asked.get("port", port),
        "database": asked.get("dbname", database if _NAME.fullmatch(database) else None),
    }


async def connect(url: str, application_name: str, *, server: str | None = None, among: int = 1) -> Driver:
    """Make a connection; statements that it has run are kept prepared, unless a pooler hands it on.

    `server`: one of those that the address names, which has its part of the time that all of them `among` it have.
    """
    pooled = is_pooled(url)
    return await asyncpg.connect(
        address_of(url) if server is None else address_at(url, server),
        timeout=_CONNECT_TIMEOUT_S / among,
        command_timeout=_COMMAND_TIMEOUT_S,
        statement_cache_size=0 if pooled else _PREPARED_MAX,
        server_settings={"application_name": application_name, **(_TRACKED if pooled else _SESSION_SETTINGS)},
    )


async def close(driver: Driver) -> None:
    """Close a connection in good order, whatever state it is in; one that does not end soon is cut off."""
    try:
        await driver.close(timeout=_CLOSING_S)
    except BaseException as failure:
        driver.terminate()
        if not isinstance(failure, Exception):
            raise
