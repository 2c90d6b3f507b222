"""Sign-in of administrators: by password, then by a signed cookie with a CSRF token bound to it.

A second cookie stays for longer, and lets nobody in: in a browser that has it, wrong passwords are counted apart from
all others. So nobody who guesses, from the same address or for the same name, locks out an administrator who has signed
in there before (a "device cookie", as OWASP calls it).
"""

import asyncio
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, urlsplit

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from services.chassis import ids
from services.chassis.clock import Clock
from services.chassis.errors import NotFound, TooManyRequests
from services.chassis.inbound.limits import Budgets
from services.chassis.security.signed_tokens import read_token, sign_token

_SESSION = b"sign-in\x00"
_CSRF = b"csrf\x00"
_BROWSER = b"browser\x00"
_LIFE = timedelta(hours=8)
_BROWSER_LIFE = timedelta(days=180)
_AT_ONCE = 2
_IN_LINE = 8
_UNPRINTABLE_BELOW = 0x21
_DELETE = 0x7F


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An administrator whose cookie is genuine and fresh."""

    user: str
    nonce: str


class SignIn:
    """Checks passwords and cookies; its only state are the checks under way and the budget of wrong ones."""

    def __init__(self, *, admins: Mapping[str, str], secrets: Sequence[str], clock: Clock, secure: bool) -> None:
        """Take `admins` as argon2 hashes by user; `secure` cookies go over TLS only."""
        self._admins = admins
        self._secrets = secrets
        self._clock = clock
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._in_line = 0
        self._wrong_by_address = Budgets(per_s=1 / 6, burst=10, clock=clock)
        # Wider: whoever guesses from many addresses must not lock the administrator out.
        self._wrong_by_user = Budgets(per_s=1, burst=100, clock=clock)
        self._wrong_by_browser = Budgets(per_s=1 / 6, burst=10, clock=clock)
        self.secure = secure
        self.cookie_name = "__Host-order_saga_admin" if secure else "order_saga_admin"
        self.life_s = int(_LIFE.total_seconds())
        self.browser_cookie_name = "__Host-order_saga_browser" if secure else "order_saga_browser"
        self.browser_life_s = int(_BROWSER_LIFE.total_seconds())

    async def knows(self, user: str, password: str, *, address: str = "", browser: str | None = None) -> bool:
        """Whether this is an administrator's password; takes as long for a user who does not exist.

        TooManyRequests for an address, or a user, with too many wrong ones; for the cookie of a `browser` in which this
        user has signed in before, if there were too many in there.
        """
        known = self._known_browser(browser, user)
        budgets = [(self._wrong_by_address, address), (self._wrong_by_user, user)]
        if known is not None:
            budgets = [(self._wrong_by_browser, known)]
        wait_s = max(budget.wait_s(name) for budget, name in budgets)
        if wait_s > 0:
            raise TooManyRequests("Too many wrong passwords; try again later.", retry_after_s=wait_s)
        if await self._checked(user, password, in_line_max=_IN_LINE if known is None else 2 * _IN_LINE):
            return True
        for budget, name in budgets:
            budget.spend(name)
        return False

    async def _checked(self, user: str, password: str, *, in_line_max: int) -> bool:
        if self._in_line >= in_line_max:
            # A check is slow on purpose: a crowd of guesses must not take the whole process.
            raise TooManyRequests("Too many sign-ins at once; try again in a moment.", retry_after_s=1)
        self._in_line += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(self._matches, user, password)
        finally:
            self._in_line -= 1

    def _matches(self, user: str, password: str) -> bool:
        for_nobody = next(iter(self._admins.values()), "")
        try:
            self._hasher.verify(self._admins.get(user, for_nobody), password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return user in self._admins

    def cookie(self, user: str) -> str:
        """The cookie's value for a fresh sign-in."""
        until = (self._clock.now() + _LIFE).timestamp()
        payload = json.dumps({"user": user, "until": until, "nonce": ids.new_secret(16)}).encode()
        return sign_token(self._secrets, _SESSION + payload)

    def read(self, cookie: str | None) -> SignedIn | None:
        """Who the cookie says has signed in; None unless it is genuine, fresh and still an administrator's."""
        payload = self._payload_of(cookie, _SESSION)
        if payload is None:
            return None
        said = json.loads(payload)
        fresh = self._clock.now() < datetime.fromtimestamp(said["until"], UTC)
        return SignedIn(said["user"], said["nonce"]) if fresh and said["user"] in self._admins else None

    def browser_cookie(self, user: str) -> str:
        """The value of the cookie by which a browser is known, in which this user has just signed in."""
        until = (self._clock.now() + _BROWSER_LIFE).timestamp()
        payload = json.dumps({"user": user, "until": until, "browser": ids.new_secret(16)}).encode()
        return sign_token(self._secrets, _BROWSER + payload)

    def _known_browser(self, cookie: str | None, user: str) -> str | None:
        payload = self._payload_of(cookie, _BROWSER)
        if payload is None:
            return None
        said = json.loads(payload)
        fresh = self._clock.now() < datetime.fromtimestamp(said["until"], UTC)
        return str(said["browser"]) if fresh and said["user"] == user else None

    def csrf(self, signed_in: SignedIn) -> str:
        """The token that a form of this sign-in carries."""
        return sign_token(self._secrets, _CSRF + signed_in.nonce.encode())

    def csrf_holds(self, signed_in: SignedIn, token: str) -> bool:
        """Whether a form's token belongs to this sign-in."""
        nonce = self._payload_of(token, _CSRF)
        return nonce is not None and hmac.compare_digest(nonce, signed_in.nonce.encode())

    def _payload_of(self, token: str | None, purpose: bytes) -> bytes | None:
        if not token:
            return None
        try:
            payload = read_token(self._secrets, token)
        except NotFound:
            return None
        return payload.removeprefix(purpose) if payload.startswith(purpose) else None


def local_path(target: str) -> str | None:
    """The target if it stays on this site, else None: no scheme, no host, nothing that a browser reads as one."""
    if any(ord(char) < _UNPRINTABLE_BELOW or ord(char) == _DELETE for char in target) or "\\" in target:
        return None
    parts = _split(target)
    if parts is None or parts.scheme or parts.netloc or not target.startswith("/") or target.startswith("//"):
        return None
    return target


def same_origin(origin: str | None, *, public_url: str, host: str | None) -> bool:
    """Whether a form was sent by a page of ours: from the public address, or from the host that it was sent to."""
    if not origin or origin == "null":
        return False
    sent_from = _split(origin)
    if sent_from is None or sent_from.scheme not in {"http", "https"} or not sent_from.netloc:
        return False
    public = urlsplit(public_url)
    if (sent_from.scheme, sent_from.netloc) == (public.scheme, public.netloc):
        return True
    return host is not None and sent_from.netloc == host and (sent_from.scheme == public.scheme)


def _split(address: str) -> SplitResult | None:
    """The parts of an address that anybody may have written; None if its host is none, such as `[`."""
    try:
        return urlsplit(address)
    except ValueError:
        return None
