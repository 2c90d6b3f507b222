"""Signatures: Standard Webhooks over raw bytes, and sealed tokens that carry their own proof.

Everything is compared as bytes and in constant time; nothing from outside reaches `int()` or `float()` unchecked.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from services.chassis.errors import NotFound, Unauthenticated

WEBHOOK_ID: Final = "webhook-id"
WEBHOOK_TIMESTAMP: Final = "webhook-timestamp"
WEBHOOK_SIGNATURE: Final = "webhook-signature"
TOLERANCE_S: Final = 300

_PREFIX: Final = "whsec_"
_ID: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_SIGNATURES: Final = 16
_KEY_ID_BYTES: Final = 4
_MAC_BYTES: Final = 20
_MAX_TOKEN_CHARS: Final = 1_024


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return the webhook's id; Unauthenticated unless one of the secrets has signed these bytes in the last 300 s."""
    named = {name.lower(): value for name, value in headers.items()}
    webhook_id, timestamp = named.get(WEBHOOK_ID, ""), named.get(WEBHOOK_TIMESTAMP, "")
    if not _ID.fullmatch(webhook_id) or not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthenticated("The webhook's id or timestamp is missing or malformed.")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_S:
        raise Unauthenticated("The webhook's timestamp is too far from now.")
    given = [
        signature.removeprefix("v1,").encode("utf-8", "surrogatepass")
        for signature in named.get(WEBHOOK_SIGNATURE, "").split(" ")[:_MAX_SIGNATURES]
        if signature.startswith("v1,")
    ]
    expected = [_signature(secret, webhook_id, timestamp, body) for secret in secrets]
    if not any([hmac.compare_digest(mine, theirs) for mine in expected for theirs in given]):  # noqa: C419  # no shortcut
        raise Unauthenticated("The webhook's signature does not hold.")
    return webhook_id


def sign(secret: str, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed webhook; `timestamp` in seconds since 1970."""
    return {
        WEBHOOK_ID: webhook_id,
        WEBHOOK_TIMESTAMP: str(timestamp),
        WEBHOOK_SIGNATURE: "v1," + _signature(secret, webhook_id, str(timestamp), body).decode(),
    }


def _signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256))


def seal(secrets: Sequence[str], payload: bytes) -> str:
    """Return a url-safe token of this payload, signed (not encrypted) by the first secret; always the same one."""
    key = _derived(secrets[0])
    raw = _key_id(key) + _mac(key, payload) + payload
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def open(secrets: Sequence[str], token: str) -> bytes:  # noqa: A001  # the counterpart of seal
    """Return the payload of a token that one of the secrets has sealed; NotFound for any other."""
    if len(token) > _MAX_TOKEN_CHARS or not re.fullmatch(r"[A-Za-z0-9_-]+", token):
        raise NotFound
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise NotFound from None
    key_id, mac = raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES : _KEY_ID_BYTES + _MAC_BYTES]
    payload = raw[_KEY_ID_BYTES + _MAC_BYTES :]
    for secret in secrets:
        key = _derived(secret)
        if hmac.compare_digest(_key_id(key), key_id) and hmac.compare_digest(_mac(key, payload), mac):
            if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
                break  # another spelling of the same bytes is another token
            return payload
    raise NotFound


def _derived(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"order-saga sealed token v1", hashlib.sha256)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"key id" + key).digest()[:_KEY_ID_BYTES]


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, payload, hashlib.sha256)[:_MAC_BYTES]
