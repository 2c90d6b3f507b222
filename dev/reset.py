"""`make reset`: throw away what the development stack has kept; refused while one runs."""

import shutil
import sys

from dev import postgres, terminal, tool
from dev.child import end_leftovers
from dev.data_lock import AlreadyRunningError, only_one
from dev.layout import Layout


def main() -> int:
    layout = Layout.read()
    if not layout.data.exists():
        terminal.done(f"there is nothing in {layout.data}")
        return 0
    try:
        with only_one(layout):
            end_leftovers(layout)  # else they would go on without their data, and hold the ports
            postgres.stop(layout.data / "postgres")
            shutil.rmtree(layout.data)
    except AlreadyRunningError as error:
        terminal.fail(f"{str(error).splitlines()[0]}: stop it first")
        return 1
    terminal.done(f"removed {layout.data}")
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
