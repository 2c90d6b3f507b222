"""Where a stack lives, and what it says when it cannot."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from dev import ports
from dev.databases import Databases
from dev.layout import HOST, Layout, LayoutError
from dev.stack import environment
from dev.stack_record import NotRunningError, Record, read, write


def test_a_stack_lives_on_the_ports_of_the_contract() -> None:
    """Without settings, every part is where API.md and the README say."""
    found = {part.name: part.port for part in Layout.read({}).parts}
    assert found == {"orchestrator": 8000, "session": 8001, "shipping": 8002, "payment": 8011, "carrier": 8012}


def test_a_second_stack_lives_beside_the_first() -> None:
    """A port base and a data directory move everything, addresses that the parts are told included."""
    layout = Layout.read({"STACK_PORT_BASE": "9100", "STACK_DATA": "/elsewhere"})
    assert layout.run == Path("/elsewhere/run")
    assert layout.addresses()["PAYMENT_WEBHOOK_URL"] == "http://127.0.0.1:9100/webhooks/payments"
    assert layout.addresses()["SESSION_URL"] == "http://127.0.0.1:9101"


def test_a_part_is_told_its_own_database_and_keeps_its_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears of no other's database; started again after a crash, it does not compile its source anew."""
    layout = Layout.read({})
    monkeypatch.setenv("SHIPPING_DATABASE_URL", "postgresql://shipping")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    urls = {part.name: f"postgresql://{part.name}" for part in layout.databases}
    found = environment(layout, layout.part("session"), Databases(urls))
    assert found["SESSION_DATABASE_URL"] == "postgresql://session"
    assert "SHIPPING_DATABASE_URL" not in found
    assert not found["PYTHONDONTWRITEBYTECODE"]


@pytest.mark.parametrize("base", ["http", "80", "70000", "-1"])
def test_a_senseless_port_base_is_named(base: str) -> None:
    """A setting that cannot work is refused by its name."""
    with pytest.raises(LayoutError, match="STACK_PORT_BASE"):
        Layout.read({"STACK_PORT_BASE": base})


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Before anything starts, the message names the port, whose it is, and how to go on."""
    layout = Layout.at(ports.free_base(28_000), tmp_path)
    ports.check(layout)
    with closing(socket.socket()) as listener:
        listener.bind((HOST, layout.part("session").port))
        listener.listen()
        with pytest.raises(ports.PortInUseError, match=rf"{layout.part('session').port} \(session\)") as refused:
            ports.check(layout)
        assert "STACK_PORT_BASE=" in str(refused.value)


def test_only_a_living_stack_is_found(tmp_path: Path) -> None:
    """The description that a killed stack left behind does not count."""
    layout = Layout.at(8000, tmp_path)
    layout.run.mkdir()
    with pytest.raises(NotRunningError, match="make run"):
        read(layout)
    write(layout, Record(pid=2**22 - 1, urls={}, databases={}, secrets={}))
    with pytest.raises(NotRunningError):
        read(layout)
    assert (layout.run / "stack.json").stat().st_mode & 0o077 == 0
