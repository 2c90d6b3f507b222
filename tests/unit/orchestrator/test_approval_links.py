"""Approval links: derived again from the saga, and unforgeable."""

from uuid import UUID

import pytest

from services.chassis.errors import NotFound
from services.chassis.security.signed_tokens import sign_token
from services.orchestrator.api.approval_links import ApprovalLink, ApprovalLinks

SAGA = "1f0c8f8e-6a5b-5d1e-9f0a-3c1f8d6f0b77"
LINK = ApprovalLink(SAGA, "admin_approval")
SECRETS = ("first-secret-first-secret-first-s", "second-secret-second-secret-secon")
LINKS = ApprovalLinks(SECRETS, "https://shop.example")


def test_the_same_link_is_always_the_same_token() -> None:
    """A link is stored nowhere: whoever knows the saga derives it again."""
    assert LINKS.token(LINK) == ApprovalLinks(SECRETS, "elsewhere").token(ApprovalLink(SAGA, "admin_approval", 1))
    assert LINKS.url(LINK) == f"https://shop.example/approvals/{LINKS.token(LINK)}"
    assert LINKS.read(LINKS.token(LINK)) == LINK


def test_each_part_makes_another_token() -> None:
    """Saga, promise and round are all in the token."""
    others = [
        ApprovalLink(str(UUID(int=7)), "admin_approval"),
        ApprovalLink(SAGA, "other"),
        ApprovalLink(SAGA, "admin_approval", 2),
    ]
    tokens = {LINKS.token(link) for link in (LINK, *others)}
    assert len(tokens) == 4
    assert [LINKS.read(LINKS.token(link)) for link in others] == others


def test_all_secrets_read_and_the_first_one_signs() -> None:
    """Rotation: an old link is still read, a new one is signed by the new secret."""
    old = ApprovalLinks(SECRETS[1:], "x").token(LINK)
    assert LINKS.read(old) == LINK
    assert LINKS.token(LINK) == ApprovalLinks(SECRETS[:1], "x").token(LINK) != old


@pytest.mark.scenario("P7")
def test_no_changed_token_is_read() -> None:
    """Any changed character, any other signed thing and any garbage is unknown."""
    token = LINKS.token(LINK)
    changed = [token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :] for i in range(len(token))]
    foreign = [sign_token(SECRETS, payload) for payload in (b"", b"sign-in\x00{}", b"approval\x00", b"approval\x00abc")]
    for forged in [
        *changed,
        *foreign,
        "",
        token + "A",
        token[:-1],
        "ä",
        "a" * 5000,
        ApprovalLinks(("x",), "").token(LINK),
    ]:
        with pytest.raises(NotFound):
            LINKS.read(forged)
