"""Approval links: a signed token with saga, promise and round; it is not stored, but derived whenever it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.chassis.errors import NotFound
from services.chassis.security.signed_tokens import read_token, sign_token

_PURPOSE = b"approval\x00"
_ROUND_BYTES = 2
_UUID_BYTES = 16


@dataclass(frozen=True, slots=True)
class ApprovalLink:
    """The content of a token: which decision it is about. It gives no authority; the sign-in does."""

    saga_id: str
    promise: str
    round: int = 1


@dataclass(frozen=True, slots=True)
class ApprovalLinks:
    """Makes and reads links; the first secret signs, all verify."""

    secrets: Sequence[str]
    public_url: str

    def token(self, link: ApprovalLink) -> str:
        """The same link always gives the same token."""
        payload = _PURPOSE + UUID(link.saga_id).bytes + link.round.to_bytes(_ROUND_BYTES, "big") + link.promise.encode()
        return sign_token(self.secrets, payload)

    def url(self, link: ApprovalLink) -> str:
        """Where an administrator opens it."""
        return f"{self.public_url}/approvals/{self.token(link)}"

    def read(self, token: str) -> ApprovalLink:
        """NotFound for whatever was not signed here as a link."""
        payload = read_token(self.secrets, token)
        body = payload.removeprefix(_PURPOSE)
        if body == payload or len(body) <= _UUID_BYTES + _ROUND_BYTES:
            raise NotFound
        saga, rest = body[:_UUID_BYTES], body[_UUID_BYTES:]
        return ApprovalLink(
            saga_id=str(UUID(bytes=saga)),
            promise=rest[_ROUND_BYTES:].decode(),
            round=int.from_bytes(rest[:_ROUND_BYTES], "big"),
        )
