"""The servers that a database's address names: whoever connects finds the one that serves, though others are silent."""

from collections import deque
from typing import Final

from services.chassis.postgres.connecting import Driver, connect, servers_of
from services.chassis.postgres.errors import is_login_refused, is_transient, takes_no_writes


class Servers:
    """Connects to one of the servers of an address: first to the one that served last, then to the others in turn.

    One that does not answer in its part of the time is passed by, and comes last from then on.
    """

    def __init__(self, url: str, application_name: str) -> None:
        """Take the address, and how the connections are called."""
        self._url: Final = url
        self._application_name = application_name
        self._servers = deque[str | None](servers_of(url) or (None,))

    async def connect(self) -> Driver:
        """Make a connection; raise what most likely keeps it from being made if no server serves."""
        failure: Exception | None = None
        for server in list(self._servers):
            try:
                return await connect(self._url, self._application_name, server=server, among=len(self._servers))
            except Exception as error:
                self._pass_by(server)
                if is_login_refused(error) or not is_transient(error):
                    raise
                failure = error if failure is None or takes_no_writes(failure) else failure
        assert failure is not None  # noqa: S101 - there is one server at least
        raise failure

    def begin_with_another(self) -> None:
        """Let whoever connects next ask another server first: the one that is being asked takes too long."""
        self._servers.rotate(-1)

    def _pass_by(self, server: str | None) -> None:
        if self._servers[0] == server:  # and nobody else has passed it by meanwhile
            self._servers.rotate(-1)
