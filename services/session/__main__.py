"""`python -m services.session`: run the session service."""

from services.chassis.serving import run
from services.session.settings import SessionSettings

if __name__ == "__main__":
    run("session", SessionSettings.load)
