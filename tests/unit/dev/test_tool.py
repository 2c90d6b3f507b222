"""What a tool of `make` cannot do is said in words: on stderr, with what to do next, and never as a traceback."""

import io
import os
import runpy
import signal
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from dev import psql, stack_record, terminal, tool
from dev.data_lock import AlreadyRunningError, only_one
from dev.layout import ROOT, Layout, LayoutError
from dev.stack_record import Record, write

TOOLS = ("stack", "demo/__main__", "token", "webhook", "psql", "reset", "migrate")
FULL = "could not extend file: No space left on device"


def failing(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("STACK_DATA", str(tmp_path / "data"))
    found = Layout.read()
    (found.data / "postgres").mkdir(parents=True)
    found.run.mkdir()
    return found


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_says_what_it_cannot_do(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that no tool can work with is named by each of them alike; nothing goes to stdout."""
    monkeypatch.setenv("STACK_PORT_BASE", "abc")
    monkeypatch.setattr("sys.argv", [name, *(["--order-id", "order-1"] if name == "webhook" else [])])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "dev" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "STACK_PORT_BASE is 'abc'" in said.err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LayoutError("a setting"), "a setting"),
        (PermissionError(13, "Permission denied", "/x/run"), "/x/run: Permission denied\n    work as the user"),
        (OSError(30, "Read-only file system", "/x"), "/x: Read-only file system\n    keep the data where"),
        (NotADirectoryError(20, "Not a directory", "/x/run"), "/x/run: Not a directory\n    STACK_DATA names a folder"),
        (OSError(28, "No space left on device", "/x"), "the disk is full: make room"),
        (DBAPIError("CREATE TABLE", {}, Exception(FULL)), f"{FULL}\n    the disk is full: make room"),
        (asyncpg.DiskFullError(FULL), "the disk is full: make room"),
        (ConnectionRefusedError(111, "Connect call failed"), "Connect call failed"),
    ],
)
def test_a_failure_says_what_to_do_next(error: Exception, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose folder, which disk, what setting: with the way on, and without the SQL that met it."""
    assert tool.run(failing(error)) == tool.FAILED
    said = capsys.readouterr()
    assert (told in said.err, said.out, "CREATE TABLE" in said.err) == (True, "", False)


def test_ctrl_c_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends a tool quietly, by the number that shells know it by; a bug is still seen as one."""
    assert tool.run(failing(KeyboardInterrupt())) == tool.INTERRUPTED
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError):
        tool.run(failing(RuntimeError("a bug")))


def test_a_terminal_without_the_signs_is_told_all_the_same() -> None:
    """Where stdout is not Unicode, the words come with question marks instead of a traceback."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    terminal.fail("the disk is full", to=narrow)
    assert narrow.buffer.getvalue() == b"  ? the disk is full\n"


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"pid": 1}', None])
def test_what_a_switched_off_machine_left_is_no_stack(layout: Layout, kept: str | None) -> None:
    """Half a description, or one whose number another program has by now, does not count."""
    write(layout, Record(pid=os.getpid(), urls={}, databases={}, secrets={}))
    if kept is not None:
        stack_record.path(layout).write_text(kept)
    with pytest.raises(stack_record.NotRunningError, match="make run"):
        stack_record.read(layout)


def test_psql_does_not_stop_the_server_of_another(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a stack starts, or another psql is open on the data at rest, it is told to wait."""
    monkeypatch.setattr("sys.argv", ["psql"])
    with only_one(layout), pytest.raises(AlreadyRunningError, match="wait until that is done"):
        psql.main()


def test_ctrl_c_in_psql_is_left_to_psql(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gives up a statement, not the session; afterwards Ctrl-C is what it was."""
    program = tmp_path / "psql"
    program.write_text("#!/bin/sh\nkill -INT $PPID\nsleep 0.1\nexit 7\n")
    program.chmod(0o755)
    known = Record(os.getpid(), {}, {"orchestrator": "postgresql://a:b@127.0.0.1/x"}, {})
    monkeypatch.setattr(psql, "binary", lambda _: program)
    monkeypatch.setattr(stack_record, "read", lambda _: known)
    monkeypatch.setattr("sys.argv", ["psql"])
    before = signal.getsignal(signal.SIGINT)
    assert psql.main() == 7
    assert signal.getsignal(signal.SIGINT) is before
    del layout
