"""`python -m services.session`: run the session service."""

from services.chassis import garbage

garbage.put_off()

from services.chassis.serving import run  # noqa: E402 - nothing that is loaded from here on is garbage
from services.session.settings import SessionSettings  # noqa: E402

if __name__ == "__main__":
    run("session", SessionSettings.load)
