"""The parts of a soak: which faults each has, how many orders a second, and for how long it runs by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

from dev.soak.chaos import Faults, Gaps

NETWORK: Faults = {
    "lose a COMMIT": Gaps(0.5, 2),
    "lose a COMMIT's answer": Gaps(0.5, 2),
    "lose an answer of the database": Gaps(1, 4),
    "lose a request": Gaps(0.5, 2),
    "lose an answer": Gaps(0.5, 2),
    "cut connections": Gaps(2, 6),
    "half-open connections": Gaps(4, 12),
    "slow line": Gaps(6, 14),
}
EVERYTHING: Faults = {
    "kill": Gaps(6, 14),
    "freeze": Gaps(8, 18),
    "terminate backend": Gaps(0.5, 0.5),
    "postgres restart": Gaps(5, 40),
    **NETWORK,
}
OVERLOAD = "overload"
"""The part that has no faults but too many customers; its time is that of each rate."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of soak."""

    name: str
    what: str
    faults: Faults
    per_s: float = 3.0
    seconds: float = 90.0
    idle: bool = False
    outside: bool = False
    """Whether processor and carrier misbehave as well."""


PARTS: Mapping[str, Part] = {
    part.name: part
    for part in (
        Part("chaos", "everything at once", EVERYTHING, seconds=120, idle=True, outside=True),
        Part("postgres-kills", "Postgres stopped hard, every few seconds", {"postgres restart": Gaps(4, 8)}),
        Part("postgres-outage", "Postgres down for half a minute", {"postgres down 30 s": Gaps(45, 50)}),
        Part("backend-kills", "two backends ended every second", {"terminate backend": Gaps(0.5, 0.5)}),
        Part(
            "connections",
            "300 idle connections, and now and then none left",
            {"exhaust connections": Gaps(8, 15)},
            idle=True,
        ),
        Part("sigkill", "one replica killed every few seconds", {"kill": Gaps(4, 8)}),
        Part(
            "takeover",
            "orchestrators killed and frozen",
            {"kill orchestrator": Gaps(8, 14), "freeze orchestrator": Gaps(8, 14)},
        ),
        Part(
            "freezes",
            "replicas frozen for longer than the lease",
            {"freeze orchestrator": Gaps(1.5, 3), "freeze": Gaps(8, 14)},
        ),
        Part(OVERLOAD, "customers at 1.5 and 10 times the sustainable rate", {}, seconds=20),
        Part("network", "lost COMMITs and answers, half-open and slow connections", NETWORK, outside=True),
    )
}
