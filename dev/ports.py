"""Ports of loopback: is one free, and where is there room for a whole stack."""

import socket
from contextlib import closing

from dev.layout import HOST, Layout

STEP = 100


class PortInUseError(Exception):
    """Another program listens on a port of the stack."""


def in_use(port: int) -> bool:
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return True
    return False


def check(layout: Layout) -> None:
    """Refuse, naming each port in use, before anything was started."""
    taken = [f"{part.port} ({part.name})" for part in layout.parts if in_use(part.port)]
    if taken:
        ports = ", ".join(sorted(taken))
        raise PortInUseError(
            f"in use by another program: port {ports}\n"
            "    stop that program, or start this stack beside it:\n"
            f"    {beside(layout)}"
        )


def beside(layout: Layout) -> str:
    """Return the command that starts a second stack beside this one."""
    base = free_base(layout.part("orchestrator").port + 1_000)
    return f"STACK_PORT_BASE={base} STACK_DATA=.data-{base} make run"


def free_base(start: int = 18_000) -> int:
    """Find a base with every port of a stack free."""
    base = start
    while any(in_use(part.port) for part in Layout.read({"STACK_PORT_BASE": str(base)}).parts):
        base += STEP
    return base
