"""Loading the modules of a process faster: without those that it never uses.

Call it before anything else is imported. Loading is nearly all of a start, and so of the time that a service is away
after a crash. Half of it is spent in libraries, and a fifth of that on things that none of our processes use.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from services.chassis import garbage

NEVER_USED: Final = (
    "httpx._main",  # a command line; it and its packages are there only among the development packages
    "rich",  # the same: structlog would draw tracebacks with it
    "pydantic.v1",  # FastAPI looks for its models only to refuse them
)


def begin() -> None:
    """Skip unused modules from here on, and pause the garbage collector until the service has started."""
    end_at_ctrl_c()
    garbage.pause()
    for name in NEVER_USED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # Python's way to say that a module is not there
    # Looking for plugins reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def end_at_ctrl_c() -> None:
    """Let Ctrl-C end the process by the signal itself, and not by a traceback of the module that is being loaded.

    Whoever serves or runs a loop takes the signal over. A process that ignores it, as a shell has its background jobs
    do, goes on doing so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def begin_serving() -> None:
    """Begin in a process that answers by FastAPI, and loads it."""
    begin()
    put_off_openapi()


def put_off_openapi() -> None:
    """Load FastAPI, its forty models of an OpenAPI document to be built if somebody asks, as production never does."""
    models = import_module("pydantic").BaseModel
    usual = models.model_config
    models.model_config = {**usual, "defer_build": True}
    try:
        import_module("fastapi.openapi.models")
    finally:
        models.model_config = usual


@contextmanager
def without_certificates() -> Iterator[None]:
    """Let OpenSSL read no certificates: for libraries that make a TLS context as they are loaded."""
    usual = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        if usual is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = usual
