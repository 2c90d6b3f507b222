"""`make reset`: throw away what the development stack has kept; refused while one runs."""

import shutil
import sys

from dev import tell
from dev.layout import Layout
from dev.stack import AlreadyRunningError, only_one


def main() -> int:
    layout = Layout.read()
    if not layout.data.exists():
        tell.done(f"there is nothing in {layout.data}")
        return 0
    try:
        with only_one(layout):
            shutil.rmtree(layout.data)
    except AlreadyRunningError as error:
        tell.fail(f"{str(error).splitlines()[0]}: stop it first")
        return 1
    tell.done(f"removed {layout.data}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
