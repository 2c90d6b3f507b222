"""Keeping a reason that was typed into a form after the sign-in had ended, in a cookie, until the form is shown again.

It is a cookie of the order's own page for ten minutes. Only a form of ours sets it, and nothing is decided by it: it is
there for the administrator to read, change and send.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final

from fastapi import Response

NAME: Final = "order_saga_reason"
LIFE_S: Final = 600
_LONGEST: Final = 500
"""As long as the form lets one type: in any script, that fits into a cookie."""


def keep(response: Response, path: str, reason: str, *, secure: bool) -> None:
    """Have the browser keep a reason for the page at `path`."""
    if 0 < len(reason) <= _LONGEST:
        value = urlsafe_b64encode(reason.encode()).decode()
        response.set_cookie(NAME, value, max_age=LIFE_S, path=path, httponly=True, samesite="lax", secure=secure)


def read(cookies: Mapping[str, str]) -> str:
    """Return what was typed; empty if nothing was, or somebody else has written that cookie."""
    try:
        return urlsafe_b64decode(cookies.get(NAME, "").encode("ascii")).decode()[:_LONGEST]
    except ValueError:
        return ""


def forget(response: Response, path: str, *, secure: bool) -> None:
    """Have the browser drop it: it is in the form again."""
    response.delete_cookie(NAME, path=path, httponly=True, samesite="lax", secure=secure)
