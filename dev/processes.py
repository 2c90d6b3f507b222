"""What holds for every process of ours: how its bytecode is kept, and whether it lives."""

import os

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
