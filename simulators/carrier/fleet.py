"""The carrier's parcels, and how it treats a reference.

| reference starts with | behaviour |
|---|---|
| `FAIL_SHIP` | every create is refused |
| `FLAKY_SHIP` | the first two creates are answered 503 |
| `SLOW_SHIP` | creates the parcel, and its answer gets lost |
| `DEAD_SHIP` | every create is answered 503 |

Idempotent by key only: two keys with one reference are two parcels, so that the fleet shows a caller's mistake.
"""

from dataclasses import asdict, dataclass
from typing import Literal

from simulators.clock import new_id
from simulators.problems import Problem
from simulators.simulator import Simulator
from simulators.storage import one_commit

SCHEMA = """
CREATE TABLE IF NOT EXISTS parcels (
    parcel_id TEXT PRIMARY KEY, reference TEXT NOT NULL, tracking_number TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('registered', 'cancelled', 'delivered'))
);
CREATE INDEX IF NOT EXISTS parcels_by_reference ON parcels (reference);
CREATE TABLE IF NOT EXISTS tombstones (reference TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS refusals (reference TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""

_FLAKY_REFUSALS = 2


@dataclass(frozen=True, slots=True)
class Parcel:
    """One parcel of the fleet."""

    parcel_id: str
    reference: str
    tracking_number: str
    status: Literal["registered", "cancelled", "delivered"]

    def view(self) -> dict[str, str]:
        """Return the parcel as the carrier tells of it."""
        return {**asdict(self), "carrier": "simulated-express"}


class Carrier(Simulator):
    """A carrier, simulated by its protocol."""

    name = "carrier"
    schema = SCHEMA

    def create(self, reference: str) -> Parcel:
        """Make a parcel, unless the reference is cancelled or misbehaves."""
        if reference.startswith("DEAD_SHIP") or (reference.startswith("FLAKY_SHIP") and self._still_flaky(reference)):
            raise Problem(503, "overloaded", "The carrier is overloaded.", final=False)
        if self._cancelled(reference):
            raise Problem(409, "reference-cancelled", "This reference was cancelled.")
        if reference.startswith("FAIL_SHIP"):
            raise Problem(422, "parcel-refused", "The carrier does not take this parcel.")
        digits = int(new_id("n").removeprefix("n_"), 16) % 10**12
        parcel = Parcel(new_id("par"), reference, f"SX{digits:012d}", "registered")
        with one_commit(self.storage):
            self.storage.execute(
                "INSERT INTO parcels (parcel_id, reference, tracking_number, status)"
                " VALUES (:parcel_id, :reference, :tracking_number, :status)",
                asdict(parcel),
            )
        return parcel

    def find(self, reference: str | None = None) -> list[Parcel]:
        """Return the parcels in the order they were made."""
        rows = self.storage.execute(
            "SELECT * FROM parcels WHERE :reference IS NULL OR reference = :reference ORDER BY rowid",
            {"reference": reference},
        )
        return [Parcel(**dict(row)) for row in rows]

    def cancel(self, reference: str) -> int:
        """Cancel the parcels of a reference and refuse later ones; returns how many this call cancelled."""
        if any(parcel.status == "delivered" for parcel in self.find(reference)):
            raise Problem(409, "already-delivered", "A parcel of this reference was delivered.")
        with one_commit(self.storage):
            self.storage.execute("INSERT INTO tombstones (reference) VALUES (?) ON CONFLICT DO NOTHING", (reference,))
            return self.storage.execute(
                "UPDATE parcels SET status = 'cancelled' WHERE reference = ? AND status = 'registered'", (reference,)
            ).rowcount

    def deliver(self, reference: str) -> int:
        """Deliver the parcels of a reference; returns how many."""
        with one_commit(self.storage):
            return self.storage.execute(
                "UPDATE parcels SET status = 'delivered' WHERE reference = ? AND status = 'registered'", (reference,)
            ).rowcount

    def _cancelled(self, reference: str) -> bool:
        row = self.storage.execute("SELECT 1 FROM tombstones WHERE reference = ?", (reference,)).fetchone()
        return row is not None

    def _still_flaky(self, reference: str) -> bool:
        with one_commit(self.storage):
            row = self.storage.execute(
                "INSERT INTO refusals (reference, count) VALUES (?, 1)"
                " ON CONFLICT (reference) DO UPDATE SET count = count + 1 RETURNING count",
                (reference,),
            ).fetchone()
        return int(row["count"]) <= _FLAKY_REFUSALS
