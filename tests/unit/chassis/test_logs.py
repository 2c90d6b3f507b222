"""Logs and traces: ids that follow a task, secrets that never appear, libraries that write the same way."""

import errno
import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis import logs, tracing

pytestmark = pytest.mark.usefixtures("logs_as_before")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_has_its_ids_and_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """Bound ids are on every line of the block; what is secret by name is redacted."""
    logs.configure(service="session", level="info", format="json")
    with logs.bound(order_id="o-1"):
        logs.get_logger("x").info("checkout.started", payment_token="tok_secret", total=3)
    logs.get_logger("x").info("after")
    logs.get_logger("x").debug("too.quiet")
    first, second = lines(capsys)
    assert first | {"event": "checkout.started", "order_id": "o-1", "service": "session", "level": "info"} == first
    assert first["payment_token"] == "[redacted]"
    assert "order_id" not in second


class Unwritable(io.StringIO):
    """An output that takes nothing: a full disk, or a pipe whose reader is gone."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("spelling", ["json", "text"])
@pytest.mark.scenario("RC13")
def test_whoever_logs_does_not_fail_over_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spelling: logs.LogFormat
) -> None:
    """A line that nobody takes is lost, and not the request, the step or the loop that says it; later ones are told."""
    logs.configure(service="session", level="info", format=spelling)
    closed = io.StringIO()
    closed.close()
    for output in (Unwritable(), closed):
        with monkeypatch.context() as away:
            away.setattr("sys.stdout", output)
            logs.get_logger("x").info("lost")
            logs.get_logger("x").error("lost.too", exc_info=ValueError("x"))
    logs.get_logger("x").info("told")
    said = capsys.readouterr().out
    assert "told" in said
    assert "lost" not in said


def test_libraries_write_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of the standard library's logging, with its traceback, is one JSON line too."""
    logs.configure(service="session", level="info", format="json")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("it %s", "broke", extra={"color_message": "\x1b[1mit %s"})
    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["service"]) == ("it broke", "error", "session")
    assert "KeyError" in str(line["exception"])
    assert "color_message" not in line


def test_a_fresh_context_hides_and_restores_the_former(capsys: pytest.CaptureFixture[str]) -> None:
    """What a request binds ends with it, and what its caller in the same task had bound is back."""
    with logs.bound(order_id="outer"):
        with logs.fresh(request_id="r"):
            logs.bind(user_id="alice")
            assert dict(logs.context()) == {"request_id": "r", "user_id": "alice"}
        assert dict(logs.context()) == {"order_id": "outer"}


GOOD = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (GOOD, GOOD),
        ("01" + GOOD[2:] + "-more", GOOD),
        (GOOD + "-more", None),
        ("ff" + GOOD[2:], None),
        (GOOD.upper(), None),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", None),
        ("00-" + "a" * 32 + "-" + "0" * 16 + "-01", None),
        (None, None),
        ("", None),
    ],
)
def test_traceparents_are_checked(header: str | None, expected: str | None) -> None:
    """Only what W3C allows is carried on."""
    assert tracing.parse(header) == expected


@given(st.text(max_size=60))
def test_any_header_leads_to_a_trace(header: str) -> None:
    """Whatever is sent, the task has a valid trace, and its calls have spans of their own."""
    token = tracing.enter(header)
    current = tracing.current_traceparent()
    assert tracing.parse(current) == current
    assert tracing.child(current) != current
    assert tracing.trace_id(tracing.child(current)) == tracing.trace_id(current)
    tracing.leave(token)


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_tells_no_value(capsys: pytest.CaptureFixture[str], form: logs.LogFormat) -> None:
    """Where an error is logged, the local variables around it are not."""
    logs.configure(service="session", format=form)
    payment_token = "tok_" + "secret"
    try:
        raise KeyError(len(payment_token))
    except KeyError:
        logs.get_logger("test").exception("it.failed")
    logged = capsys.readouterr().out
    assert "KeyError" in logged
    assert "tok_secret" not in logged


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_value_cannot_write_to_a_terminal(capsys: pytest.CaptureFixture[str], form: logs.LogFormat) -> None:
    """Whatever somebody is called, it neither colours nor removes a line, nor begins one of its own."""
    logs.configure(service="session", format=form)
    name = "alicé\x1b[2K\x1b[31m\r\n\x9b1A\u202e\u2028order.paid"
    logs.get_logger("test").info("order.placed", user_id=name)
    logging.getLogger("library").warning("met %s", name)
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 2
    assert all(line.isprintable() for line in told.splitlines())


def test_libraries_that_tell_too_much_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """At the loudest level, no library tells headers or statements."""
    logs.configure(service="session", level="debug")
    for name in ("httpcore.http11", "httpx", "python_multipart.multipart"):
        logging.getLogger(name).info("Authorization: Bearer abc")
    assert capsys.readouterr().out == ""
