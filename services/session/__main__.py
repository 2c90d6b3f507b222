"""`python -m services.session`: run the session service."""

from services.chassis.app import serve
from services.session.settings import SessionSettings

if __name__ == "__main__":
    serve("session", SessionSettings.load())
