"""What holds for every process of ours: how its bytecode is kept, and whether it lives."""

import os
from pathlib import Path

KEEPS_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
"""For the environment of a process: as in the image, who is started again need not compile everything anew."""


def alive(pid: int) -> bool:
    """Say whether there is a process of this number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def runs(pid: int, module: str) -> bool:
    """Say whether this is a living process that runs this module, and no other that has got its number."""
    if not alive(pid):
        return False
    processes = Path("/proc")
    if not processes.exists():
        return True
    try:
        return module.encode() in (processes / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return False
