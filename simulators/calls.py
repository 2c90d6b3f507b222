"""The append-only record of every call a simulator received, in order of arrival."""

import hashlib
import sqlite3
from dataclasses import asdict, dataclass

from simulators.clock import Clock


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `subject` is the order it is about, `status` None if its caller got no answer."""

    seq: int
    at: str
    method: str
    path: str
    key: str | None
    subject: str | None
    body_sha256: str
    fault: str | None
    status: int | None


class Calls:
    """Every call in order of arrival; nothing is ever taken out."""

    def __init__(self, storage: sqlite3.Connection, clock: Clock) -> None:
        """Keep the calls in `storage`."""
        self._storage = storage
        self._clock = clock

    def received(
        self, *, method: str, path: str, key: str | None, subject: str | None, body: bytes, fault: str | None
    ) -> int:
        """Record a call before it takes effect; returns its number."""
        with self._storage:
            cursor = self._storage.execute(
                "INSERT INTO calls (at, method, path, key, subject, body_sha256, fault) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    self._clock.now().isoformat(),
                    method,
                    path,
                    key,
                    subject,
                    hashlib.sha256(body).hexdigest(),
                    fault,
                ),
            )
        return int(cursor.lastrowid or 0)

    def answered(self, seq: int, status: int) -> None:
        """Note the status that the caller of `seq` was given."""
        with self._storage:
            self._storage.execute("UPDATE calls SET status = ? WHERE seq = ?", (status, seq))

    def find(self, *, path: str | None = None, subject: str | None = None, method: str | None = None) -> list[Call]:
        """Return the calls in order; `path` is a prefix, `subject` and `method` are exact."""
        rows = self._storage.execute(
            "SELECT * FROM calls WHERE (:path IS NULL OR substr(path, 1, length(:path)) = :path)"
            " AND (:subject IS NULL OR subject = :subject) AND (:method IS NULL OR method = :method) ORDER BY seq",
            {"path": path, "subject": subject, "method": method},
        )
        return [Call(**dict(row)) for row in rows]

    def view(self, **wanted: str | None) -> list[dict[str, object]]:
        """Return the calls as JSON-ready values."""
        return [asdict(call) for call in self.find(**wanted)]
