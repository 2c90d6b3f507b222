"""When garbage is collected: not while a process loads what it holds for ever, and never again through that.

A process holds some 150,000 objects for ever: modules, models, routes. The interpreter by itself looks through all of
them again and again, which takes a tenth of the start, stops every request for a tenth of a second now and then, and
takes up to a tenth of the CPU.
"""

import gc
from typing import Final

COLLECT_AFTER: Final = (5_000, 20, 10)
"""gc thresholds: allocations before a young collection, and young (middle) collections before the next older one."""


def put_off() -> None:
    """Collect nothing until `spare_what_stays`: before a process loads its modules."""
    gc.disable()


def spare_what_stays() -> None:
    """Look no more through what a process has loaded by now, and through new objects less often."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
