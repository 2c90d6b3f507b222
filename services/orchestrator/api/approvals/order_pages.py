"""The pages about one order: its decision, and refusals that say what to do next."""

from dataclasses import dataclass
from typing import Any

from fastapi import Response

from services.chassis.errors import Conflict, Gone, Invalid, Malformed, RequestError
from services.chassis.inbound.problems import headers_of, status_of
from services.orchestrator.api.approvals.decisions import Case, Decided, in_words, taken_decision
from services.orchestrator.api.approvals.pages import moment_words, order_shown, page
from services.orchestrator.api.sign_in import SignedIn


def outcome_page(case: Case, standing: Any, signed_in: SignedIn) -> Response:
    """What stands, or why there is nothing to decide."""
    try:
        taken = taken_decision(standing)
    except (Conflict, Gone) as refusal:
        return refusal_page(refusal, signed_in, case)
    return decision_page(case, taken, signed_in)


def decision_page(case: Case, taken: Decided, signed_in: SignedIn) -> Response:
    """Who decided what, and when."""
    return page(
        "decided.html",
        told=f"The order was {in_words(taken.decision)} by {taken.by}, {moment_words(taken.at)}.",
        tone="go" if taken.decision == "approve" else "stop",
        order=order_shown(case.placed, since=None, until=None),
        user=signed_in.user,
    )


def refusal_page(refusal: RequestError, signed_in: SignedIn, case: Case | None = None) -> Response:
    """Why nothing can be decided."""
    return page(
        "decided.html",
        status=status_of(type(refusal)),
        told=refusal.message,
        tone="stop",
        order=order_shown(case.placed, since=None, until=None) if case else None,
        user=signed_in.user,
    )


@dataclass(frozen=True, slots=True)
class Refused:
    """A form that was refused: why, what had been typed, and where else to go if deciding here does not help."""

    why: RequestError
    reason: str = ""
    address: str | None = None

    @property
    def alert(self) -> str:
        """What is wrong, and what to do next."""
        if isinstance(self.why, Malformed):
            return "This form could not be read; nothing was decided. Decide again."
        if not isinstance(self.why, Invalid):
            return f"{self.why.message} Nothing was decided: decide here."
        for fault in self.why.faults:
            if fault.where == "body.reason":
                why = fault.why.removeprefix("String ")
                return f"The reason {why}; nothing was decided. Change it and decide again."
        return "It was not said what to do; nothing was decided. Press one of the two buttons."

    def on(self, shown: Response) -> Response:
        """The page that is shown for it, with the status and headers that programs get."""
        shown.status_code = status_of(type(self.why))
        shown.headers.update(headers_of(self.why))
        return shown
