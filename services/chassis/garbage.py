"""Garbage collection: disabled while a process loads its modules, and afterwards without the objects loaded by then.

A process keeps some 150,000 objects until it ends: modules, models, routes. By default the collector visits all of them
again and again. That takes a tenth of the start and up to a tenth of the CPU, and stops every request for a tenth of a
second now and then.
"""

import gc
from typing import Final

COLLECT_AFTER: Final = (5_000, 20, 10)
"""gc thresholds: allocations before a young collection, and young (middle) collections before the next older one."""


def pause() -> None:
    """Disable the collector until `freeze`; call it before the modules are loaded."""
    gc.disable()


def freeze() -> None:
    """Exempt all present objects from collection, and enable the collector with higher thresholds."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()
