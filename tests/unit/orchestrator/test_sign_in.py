"""Sign-in: passwords, cookies, CSRF tokens, and where a sign-in may lead."""

from contextlib import suppress

import pytest

from services.chassis.errors import TooManyRequests
from services.orchestrator.api.sign_in import SignIn, local_path, same_origin
from services.orchestrator.settings import DEVELOPMENT_ADMIN, OrchestratorSettings
from tests.support.clock import ManualClock

USER, PASSWORD = DEVELOPMENT_ADMIN
SECRETS = ("a" * 32, "b" * 32)


@pytest.fixture
def sign_in(clock: ManualClock) -> SignIn:
    admins = OrchestratorSettings(database_url="postgresql://localhost/none").admins()
    return SignIn(admins=admins, secrets=SECRETS, clock=clock, secure=False)


async def test_only_the_right_password_of_a_known_user_signs_in(sign_in: SignIn) -> None:
    """Wrong passwords, unknown users and texts that no hash can hold are all the same refusal."""
    assert await sign_in.knows(USER, PASSWORD)
    for user, password in ((USER, "wrong"), ("nobody", PASSWORD), ("", ""), (USER, "\ud800")):
        assert not await sign_in.knows(user, password)


def test_a_cookie_tells_who_signed_in_until_it_ends(sign_in: SignIn, clock: ManualClock) -> None:
    """A cookie is believed for eight hours, and never after."""
    cookie = sign_in.cookie(USER)
    signed_in = sign_in.read(cookie)
    assert signed_in is not None
    assert signed_in.user == USER
    clock.advance(8 * 3600 - 1)
    assert sign_in.read(cookie) is not None
    clock.advance(1)
    assert sign_in.read(cookie) is None


def test_a_tampered_cookie_is_nobodys(sign_in: SignIn) -> None:
    """No changed character survives, and neither does a token signed for another purpose."""
    cookie = sign_in.cookie(USER)
    signed_in = sign_in.read(cookie)
    assert signed_in is not None
    for place in range(len(cookie)):
        other = "A" if cookie[place] != "A" else "B"
        assert sign_in.read(cookie[:place] + other + cookie[place + 1 :]) is None
    assert sign_in.read(sign_in.csrf(signed_in)) is None
    assert sign_in.read("") is None
    assert sign_in.read(None) is None


def test_a_removed_administrator_is_out_at_once(clock: ManualClock, sign_in: SignIn) -> None:
    """A cookie of somebody who is no administrator any more is not believed."""
    cookie = sign_in.cookie(USER)
    others = SignIn(admins={"eve": "x"}, secrets=SECRETS, clock=clock, secure=False)
    assert others.read(cookie) is None


def test_a_csrf_token_belongs_to_one_sign_in(sign_in: SignIn) -> None:
    """The token of another sign-in, even of the same user, does not hold."""
    mine, other = sign_in.read(sign_in.cookie(USER)), sign_in.read(sign_in.cookie(USER))
    assert mine is not None
    assert other is not None
    assert sign_in.csrf_holds(mine, sign_in.csrf(mine))
    assert not sign_in.csrf_holds(mine, sign_in.csrf(other))
    assert not sign_in.csrf_holds(mine, "")
    assert not sign_in.csrf_holds(mine, sign_in.cookie(USER))


def test_rotated_secrets_still_read(clock: ManualClock) -> None:
    """What an old secret has signed is read as long as it is listed; the first one signs."""
    old = SignIn(admins={USER: "x"}, secrets=SECRETS[1:], clock=clock, secure=False)
    both = SignIn(admins={USER: "x"}, secrets=SECRETS, clock=clock, secure=False)
    new = SignIn(admins={USER: "x"}, secrets=SECRETS[:1], clock=clock, secure=False)
    assert both.read(old.cookie(USER)) is not None
    assert new.read(both.cookie(USER)) is not None
    assert old.read(both.cookie(USER)) is None


async def test_a_crowd_of_guesses_is_turned_away(sign_in: SignIn) -> None:
    """More checks at once than may queue are answered 429 instead of taking the process."""
    sign_in._in_line = 8
    with pytest.raises(TooManyRequests):
        await sign_in.knows(USER, PASSWORD)


@pytest.mark.parametrize("target", ["/approvals/abc", "/login", "/approvals/a?b=c#d"])
def test_local_paths_are_followed(target: str) -> None:
    """A path on this site is where one came from."""
    assert local_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        "",
        "approvals",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: x",
        " /approvals",
        "/a b",
        "http:/approvals",
        "//[",
        "http://[evil]/",
        "//\u2100/approvals",
    ],
)
def test_nothing_else_is_followed(target: str) -> None:
    """Whatever a browser could read as another site, or as a header, leads nowhere."""
    assert local_path(target) is None


@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        ("http://shop.example", None, True),
        ("http://shop.example", "elsewhere", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("https://localhost:8000", "localhost:8000", False),
        ("http://evil.example", "shop.example", False),
        ("http://shop.example.evil.example", "shop.example", False),
        ("http://shop.example:8080", "shop.example", False),
        ("null", "null", False),
        ("", "", False),
        (None, "shop.example", False),
        ("shop.example", "shop.example", False),
        ("http://[", "[", False),
        ("http://[shop]", "shop.example", False),
    ],
)
def test_a_form_comes_from_our_own_pages(origin: str | None, host: str | None, ours: bool) -> None:
    """Only the public address, or the host that the form was sent to, counts as ours."""
    assert same_origin(origin, public_url="http://shop.example", host=host) is ours


async def test_guesses_run_out(sign_in: SignIn, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten wrong passwords an address has to wait, before any is checked; others, and right ones, do not."""
    checked: list[str] = []

    def matches(user: str, password: str) -> bool:
        checked.append(user)
        return (user, password) == (USER, PASSWORD)

    monkeypatch.setattr(sign_in, "_matches", matches)
    for _ in range(10):
        assert not await sign_in.knows(USER, "guess", address="192.0.2.1")
    with pytest.raises(TooManyRequests) as refused:
        await sign_in.knows(USER, PASSWORD, address="192.0.2.1")
    assert 0 < refused.value.retry_after_s <= 6
    assert len(checked) == 10
    for _ in range(20):
        assert await sign_in.knows(USER, PASSWORD, address="192.0.2.2")
    clock.advance(6)
    assert await sign_in.knows(USER, PASSWORD, address="192.0.2.1")
    for number in range(90):  # from many addresses: the user's budget ends, too
        assert not await sign_in.knows(USER, "guess", address=f"198.51.100.{number}")
    with pytest.raises(TooManyRequests):
        for number in range(90, 120):
            await sign_in.knows(USER, "guess", address=f"198.51.100.{number}")


async def test_guesses_elsewhere_lock_nobody_out(
    sign_in: SignIn, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has signed in in a browser before may go on there, whoever guesses for the name or from the address."""
    monkeypatch.setattr(sign_in, "_matches", lambda user, password: (user, password) == (USER, PASSWORD))
    browser = sign_in.browser_cookie(USER)
    for number in range(120):
        with suppress(TooManyRequests):
            await sign_in.knows(USER, "guess", address="192.0.2.1" if number < 15 else f"198.51.100.{number}")
    for other in (None, "", browser[:-1] + "A", sign_in.cookie(USER), sign_in.browser_cookie("eve")):
        with pytest.raises(TooManyRequests):
            await sign_in.knows(USER, PASSWORD, address="192.0.2.1", browser=other)
    sign_in._in_line = 8  # a crowd of guesses under way
    assert await sign_in.knows(USER, PASSWORD, address="192.0.2.1", browser=browser)
    sign_in._in_line = 0
    for _ in range(10):  # the cookie in other hands is worth no more guesses than an address
        assert not await sign_in.knows(USER, "guess", address="192.0.2.9", browser=browser)
    with pytest.raises(TooManyRequests):
        await sign_in.knows(USER, PASSWORD, address="192.0.2.9", browser=browser)
    assert sign_in.read(browser) is None
    clock.advance(180 * 86_400)
    for number in range(10):
        assert not await sign_in.knows("nobody", "guess", address="192.0.2.9"), number
    with pytest.raises(TooManyRequests):
        await sign_in.knows(USER, PASSWORD, address="192.0.2.9", browser=browser)
