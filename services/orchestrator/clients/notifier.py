"""Telling the administrators that an order waits for them: by a log line, and by mail where SMTP_URL says so.

Neither holds a link that decides: who reads logs or mail must sign in, and finds the order on the list.
"""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol
from urllib.parse import unquote, urlsplit

from services.contracts.orchestrator import PlacedOrder

_TIMEOUT_S = 10.0
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


class EventLog(Protocol):
    """The one method of a structured logger that is needed here."""

    def info(self, event: str, **fields: object) -> object:
        """Log a named event."""


class Notifier(Protocol):
    """Somebody who reaches the administrators."""

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        """An order waits for a decision; `reminder` counts from 0, the first notice."""


@dataclass(frozen=True, slots=True)
class LogNotifier:
    """Notifies by a log line that names the list of approvals, never a link: who reads logs must not decide."""

    log: EventLog
    public_url: str

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        """Write the line."""
        self.log.info(
            "approval.waiting",
            order_id=placed.order_id,
            user_id=placed.user_id,
            saga_id=saga_id,
            reminder=reminder,
            decide_at=f"{self.public_url}/approvals",
        )


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail goes out: `smtp://` says STARTTLS (but to this machine), `smtps://` TLS from the first byte."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    @classmethod
    def read(cls, url: str) -> "MailServer":
        """Read `smtp[s]://[user:password@]host[:port]`."""
        parts = urlsplit(url)
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname or "",
            port=parts.port or (465 if tls else 587),
            tls=tls,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
        )

    def send(self, message: EmailMessage) -> None:
        """Hand a mail in; raises OSError or SMTPException."""
        context = ssl.create_default_context()
        if self.tls:
            with smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_S, context=context) as server:
                self._hand_in(server, message)
            return
        with smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_S) as server:
            if self.host not in _THIS_MACHINE:
                server.starttls(context=context)
            self._hand_in(server, message)

    def _hand_in(self, server: smtplib.SMTP, message: EmailMessage) -> None:
        if self.user is not None:
            server.login(self.user, self.password or "")
        server.send_message(message)

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class MailNotifier:
    """Notifies by mail, and by the log line all the same; a mail that is sent twice has one Message-ID."""

    server: MailServer
    sender: str
    receivers: Sequence[str]
    public_url: str
    log: Notifier

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        """Send the mail."""
        await self.log.approval_waiting(placed, saga_id=saga_id, reminder=reminder)
        await asyncio.to_thread(self.server.send, self._message(placed, saga_id, reminder))

    def _message(self, placed: PlacedOrder, saga_id: str, reminder: int) -> EmailMessage:
        message = EmailMessage()
        again = f" (reminder {reminder})" if reminder else ""
        message["Subject"] = f"Order {placed.order_id} waits for your approval{again}"
        message["From"] = self.sender
        message["To"] = ", ".join(self.receivers)
        message["Message-ID"] = f"<{saga_id}.{reminder}@{urlsplit(self.public_url).hostname}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(
            f"Order {placed.order_id} of {placed.user_id} is paid and waits for a decision.\n\n"
            f"See what waits, and decide, here:\n{self.public_url}/approvals\n"
        )
        return message
