"""Whether a process lives."""

import os


def alive(pid: int) -> bool:
    """Say whether there is a process of this number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
