"""The settings of the engine, with the reasons for their defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one replica's engine behaves; times in seconds."""

    lease_s: float = 5.0
    """How long a silent replica keeps its sagas: half of what a takeover may take, and long beside a garbage
    collection or a slow commit."""
    poll_s: float = 0.5
    """How often to look for what other replicas have left or ended; only a crash, or another replica, makes a saga
    wait for it."""
    idle_poll_s: float = 1.0
    """The same as long as nothing is found: with the heartbeat at most two statements a second."""
    ends_poll_s: float = 5.0
    """How often to look for ended sagas whose callers have not been told: only a crash, or a replica that did not know
    that its saga is waited for, lets one wait for it."""
    max_running: int = 256
    """Sagas leased at once: more than one process can move on, and few enough for one heartbeat."""
    max_residents: int = 10_000
    """Waiting sagas kept in memory, some kilobytes each; the others are replayed."""
    nap_s: float = 0.1
    """A saga that only time can move on, within this time, keeps its lease: a release and a claim would cost more."""
    listen_s: float = 0.01
    """How long a saga listens for a signal before it suspends."""
    claim_batch: int = 100
    """Sagas per claim: one statement reads all their logs, and other replicas should find some sagas too."""
    flush_batch: int = 500
    """Sagas per commit: beyond this a commit's fixed cost is spread thinly enough."""
    always_suspend: bool = False
    """Give a saga back after every step, which finds bugs of replay; for tests."""
    max_takeovers: int = 5
    """How often a saga may lose its replica without progress before it is parked as poison."""
    suspect_takeovers: int = 2
    """After this many losses a saga is a suspect: it runs with fewer and fewer other suspects, at last alone."""
    max_faults: int = 3
    """How often workflow code may fail with a bug before the saga is stuck: a new release may have mended it."""
    fault_pause_s: float = 1.0
    """How long after the first such failure it is tried again; twice as long after each further one."""
    payload_limit: int = 1_048_576
    """Bytes of one payload: what is larger belongs in a store of its own, by reference."""
    retention_days: float = 30.0
    """How long an ended saga is kept: longer than every key is remembered."""
    key_life_days: float = 6.0
    """How long a step's key is trusted: receivers keep keys for seven days."""
    transactions_max: int = 2
    """Transactions of authors at once, each on a connection: as many commits as a replica's own work has under way."""
    replica: str = ""
    """This replica's name. One that outlives the process (of a container, a pod of a stateful set) lets the next
    process of that name take its sagas up at once. Empty: a random one."""
