"""Whoever opens an address in a browser is told of a problem by a page; programs are told as ever."""

import httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.chassis import errors
from services.chassis.inbound.problems import MEDIA_TYPE, response_of
from services.orchestrator.api.problem_pages import ProblemPages

PERSON = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ORDER = "/approvals/a-token"


def answering(response: Response) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await response(scope, receive, send)

    return app


async def ask(
    response: Response, path: str, *, method: str = "GET", headers: dict[str, str] = PERSON
) -> httpx.Response:
    transport = httpx.ASGITransport(app=ProblemPages(answering(response)))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as http:
        return await http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    ("error", "path", "told"),
    [
        (errors.UnknownRoute(), "/nowhere", "no page at this address"),
        (errors.UnknownRoute(), "/", "no page at this address"),
        (errors.MethodNotAllowed(), "/logout", "no page at this address"),
        (errors.Invalid(), "/approvals", "cannot be read"),
        (errors.AddressTooLong(), "/login", "cannot be read"),
        (errors.TooLarge("It is too large."), "/login", "It is too large."),
        (errors.TooManyRequests("Too many of them.", retry_after_s=7), "/login", "Too many of them."),
        (errors.Unavailable(), ORDER, "Try again in a moment."),
        (errors.OrderSagaError("secret"), ORDER, "Something went wrong on our side."),
    ],
)
async def test_a_person_is_told_by_a_page(error: errors.OrderSagaError, path: str, told: str) -> None:
    """With the status that programs get, what to do next, and a way on; it runs nothing and is kept nowhere."""
    problem = response_of(error)
    page = await ask(problem, path)
    assert page.status_code == problem.status_code
    assert page.headers["content-type"].startswith("text/html")
    assert told in page.text
    assert 'href="/approvals"' in page.text
    assert (f'href="{ORDER}"' in page.text) == (path == ORDER)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers.get("retry-after") == problem.headers.get("retry-after")
    assert "secret" not in page.text


async def test_after_a_decision_that_went_wrong_one_is_sent_to_look() -> None:
    """Whether it was taken is not known here, and the order's page says it."""
    for error in (errors.Unavailable(), errors.OrderSagaError()):
        page = await ask(response_of(error), ORDER, method="POST")
        assert "says whether your decision has been taken" in page.text.replace("&#39;", "'")
    assert "your decision" not in (await ask(response_of(errors.Unavailable()), "/login", method="POST")).text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/nowhere", {"accept": "*/*"}),
        (ORDER, {"accept": "application/json"}),
        (ORDER, PERSON | {"authorization": "Bearer x"}),
        ("/sagas", PERSON),
    ],
)
async def test_a_program_is_told_by_a_problem(path: str, headers: dict[str, str]) -> None:
    """Who asks for no page, shows a token, or asks where no pages are, gets what the routes say."""
    error = errors.UnknownRoute() if path == "/nowhere" else errors.Unavailable()
    answer = await ask(response_of(error), path, headers=headers)
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["code"] == error.code


async def test_what_is_no_problem_is_left_alone() -> None:
    """Pages, redirects and scripts pass as they are."""
    assert (await ask(PlainTextResponse("as it is", status_code=404), "/login")).text == "as it is"
