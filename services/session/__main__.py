"""`python -m services.session`: run the session service."""

from services.chassis import loading

loading.begin_serving()

from services.chassis.serving import run  # noqa: E402 - loading has just begun
from services.session.settings import SessionSettings  # noqa: E402 - likewise

if __name__ == "__main__":
    run("session", SessionSettings.load)
