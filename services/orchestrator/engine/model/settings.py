"""The engine's knobs, with the reasons for their defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one replica's engine behaves; times in seconds.

    `lease_s`: how long a silent replica keeps its sagas. `poll_s`: how often to look for what others have left or
    ended; `idle_poll_s`: as long as nothing is found.
    `max_running`: sagas leased at once. `max_residents`: waiting sagas kept in memory; the others are replayed.
    `nap_s`: a saga that time alone moves on, and so soon, keeps its lease and is not claimed again.
    `listen_s`: a saga that is about to wait for a signal listens so long for one that comes at once.
    `claim_batch`: sagas per claim. `always_suspend`: give a saga back after every step (finds replay bugs).
    `max_takeovers`: how often a saga may lose its replica without progress before it is parked as poison.
    `suspect_takeovers`: from how many on it runs with no other suspect beside it, so that the guilty one shows.
    `max_faults`: how often workflow code may fail with a bug before the saga is stuck.
    `payload_limit`: bytes of one payload. `retention_days`: how long an ended saga is kept.
    `key_life_days`: how long a step's key is trusted; receivers keep keys for seven days.
    `replica`: this replica's name. One that outlives the process (of a container, a pod of a stateful set) lets the
    next process of that name take its sagas up at once. Empty: a random one.
    """

    lease_s: float = 5.0
    poll_s: float = 0.5
    idle_poll_s: float = 1.0
    max_running: int = 256
    max_residents: int = 10_000
    nap_s: float = 0.1
    listen_s: float = 0.01
    claim_batch: int = 100
    flush_batch: int = 500
    always_suspend: bool = False
    max_takeovers: int = 5
    suspect_takeovers: int = 2
    max_faults: int = 3
    fault_pause_s: float = 1.0
    payload_limit: int = 1_048_576
    retention_days: float = 30.0
    key_life_days: float = 6.0
    replica: str = ""
