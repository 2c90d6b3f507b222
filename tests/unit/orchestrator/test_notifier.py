"""Notices to administrators: a mail names the order and the list, never a link that decides."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_string

import pytest

from services.chassis.errors import SettingsError
from services.chassis.logs import get_logger
from services.orchestrator.clients import LogNotifier, MailNotifier, MailServer
from services.orchestrator.settings import OrchestratorSettings
from tests.support.system import ADDRESS, placed_order

URL = "https://orders.example"
PLACED = placed_order(payment_token="tok_secret")


@asynccontextmanager
async def post_office(*, refuses: bool = False) -> AsyncIterator[tuple[int, list[str]]]:
    """A mail server of a few lines: its port, and the mails that it has taken."""
    mails: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            word = line[:4].upper().strip()
            if word == b"DATA":
                writer.write(b"354 go on\r\n")
                mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            says = (
                b"550 no\r\n" if refuses and word == b"RCPT" else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n"
            )
            writer.write(says)
            if word == b"QUIT":
                break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], mails


def notifier(port: int) -> MailNotifier:
    server = MailServer.read(f"smtp://127.0.0.1:{port}")
    return MailNotifier(server, "shop@orders.example", ["root@orders.example"], URL, LogNotifier(get_logger("t"), URL))


async def test_a_mail_names_the_order_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Order and list are in the mail; the token of a payment, the address and any link that decides are not."""
    async with post_office() as (port, mails):
        for reminder in (0, 1, 1):
            await notifier(port).approval_waiting(PLACED, saga_id="saga-1", reminder=reminder)
    first, second, again = map(message_from_string, mails)
    assert first["To"] == "root@orders.example"
    assert first["Subject"] == "Order order-1 waits for your approval"
    assert "reminder 1" in second["Subject"]
    assert first["Message-ID"] != second["Message-ID"] == again["Message-ID"]
    told = "".join(mails) + capsys.readouterr().out
    assert f"{URL}/approvals" in told
    for secret in (f"{URL}/approvals/", "tok_secret", ADDRESS["street"], ADDRESS["name"]):
        assert secret not in told


@pytest.mark.usefixtures("capsys")
async def test_a_mail_that_cannot_be_sent_is_an_error_of_the_step() -> None:
    """The step fails and is tried again; the order does not depend on it."""
    async with post_office(refuses=True) as (port, mails):
        with pytest.raises(OSError, match="no"):
            await notifier(port).approval_waiting(PLACED, saga_id="saga-1", reminder=0)
        assert mails == []
    with pytest.raises(OSError, match=r"[Rr]efused"):
        await notifier(port).approval_waiting(PLACED, saga_id="saga-1", reminder=0)


def test_the_address_of_a_mail_server_is_read() -> None:
    """TLS from the first byte for smtps, the usual ports, and a password that is shown nowhere."""
    server = MailServer.read("smtps://us%40er:p%3Aw@mail.example")
    assert (server.host, server.port, server.tls, server.user, server.password) == (
        "mail.example",
        465,
        True,
        "us@er",
        "p:w",
    )
    assert MailServer.read("smtp://mail.example").port == 587
    assert "p:w" not in repr(server)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"smtp_url": "http://mail.example", "mail_to": "a@b.example"}, "SMTP_URL"),
        ({"smtp_url": "smtp://mail.example"}, "MAIL_TO"),
        ({"smtp_url": "smtp://mail.example", "mail_to": "not a mailbox"}, "MAIL_TO"),
        ({"mail_from": "a@b\r\nBcc: everybody@b.example"}, "MAIL_FROM"),
    ],
)
def test_settings_that_cannot_send_are_refused(setting: dict[str, str], fault: str) -> None:
    """A mail server without receivers, or receivers that are none, keep the service from starting."""
    with pytest.raises(SettingsError, match=fault):
        OrchestratorSettings.load(database_url="postgresql://localhost/none", **setting)
