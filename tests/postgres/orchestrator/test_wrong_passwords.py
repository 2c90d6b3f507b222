"""Wrong passwords: whoever guesses has to wait, is told for how long, and keeps nobody else out."""

from tests.postgres.orchestrator.browser import PASSWORD, USER, Browser
from tests.support.system import System


async def test_too_many_wrong_passwords_are_a_page_that_says_when_to_come_back(system: System) -> None:
    """429 with Retry-After as for programs; the form keeps the name and where one was going."""
    browser = Browser(system)
    for _ in range(10):
        assert (await browser.sign_in(password="wrong")).status_code == 401
    refused = await browser.sign_in(then="/approvals/abc")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"].startswith("text/html")
    for shown in ("Too many wrong passwords", "Try again in 6 seconds", f'value="{USER}"', 'value="/approvals/abc"'):
        assert shown in refused.text, shown
    assert PASSWORD not in refused.text
    system.clock.advance(int(refused.headers["retry-after"]))
    assert (await browser.sign_in()).status_code == 303


async def test_who_has_signed_in_here_before_is_not_locked_out_by_others(system: System) -> None:
    """Wrong passwords from the same address, as behind one proxy, keep those out alone who never were in."""
    mine, others = Browser(system), Browser(system)
    await mine.sign_in()
    await mine.post("/logout", {})
    for _ in range(10):
        assert (await others.sign_in(password="wrong")).status_code == 401
    assert (await others.sign_in()).status_code == 429
    assert (await mine.sign_in()).status_code == 303
