"""The catalogue: every planted bug, by what it breaks."""

from collections.abc import Sequence

from dev.mutants.mutant import Mutant
from dev.mutants.planted.authors import AUTHORS
from dev.mutants.planted.beliefs import BELIEFS
from dev.mutants.planted.branches import BRANCHES
from dev.mutants.planted.callers import CALLERS
from dev.mutants.planted.calls import CALLS
from dev.mutants.planted.edges import EDGES
from dev.mutants.planted.goods import GOODS
from dev.mutants.planted.holding import HOLDING
from dev.mutants.planted.leases import LEASES
from dev.mutants.planted.messages import MESSAGES
from dev.mutants.planted.read_backs import READ_BACKS
from dev.mutants.planted.restarts import RESTARTS
from dev.mutants.planted.signals import SIGNALS
from dev.mutants.planted.state import STATE
from dev.mutants.planted.steps import STEPS
from dev.mutants.planted.transactions import TRANSACTIONS

ALL: Sequence[Mutant] = (
    *MESSAGES,
    *LEASES,
    *HOLDING,
    *STEPS,
    *BRANCHES,
    *RESTARTS,
    *READ_BACKS,
    *TRANSACTIONS,
    *CALLS,
    *STATE,
    *SIGNALS,
    *AUTHORS,
    *BELIEFS,
    *GOODS,
    *EDGES,
    *CALLERS,
)
