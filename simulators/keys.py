"""Idempotency keys: the first answer to a key is kept and given again."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse

from simulators.problems import Problem, problem_json
from simulators.storage import one_commit

KeyHeader = Annotated[str | None, Header(alias="Idempotency-Key", max_length=255)]

Answer = tuple[int, dict[str, Any]]


def required(key: str | None) -> str:
    """Return the key, or refuse the request that lacks it."""
    if not key:
        raise Problem(400, "idempotency-key-missing", "Send an Idempotency-Key.", final=False)
    return key


def answer_once(
    storage: sqlite3.Connection, *, route: str, key: str | None, body: str, handle: Callable[[], Answer]
) -> JSONResponse:
    """Answer by `handle`, once per `route` and `key`; 2xx and final refusals are kept, another `body` is refused.

    What `handle` does and its answer are one commit. What it has done before a refusal that is not kept stays done.
    """
    if key is None:
        with one_commit(storage):
            return _response(*handle())
    fingerprint = hashlib.sha256(body.encode()).hexdigest()
    kept = storage.execute("SELECT * FROM answers WHERE route = ? AND key = ?", (route, key)).fetchone()
    if kept is not None:
        if kept["fingerprint"] != fingerprint:
            raise Problem(422, "idempotency-key-reused", "This key came with another body before.", final=False)
        return _response(kept["status"], json.loads(kept["body"]), replayed=True)
    with one_commit(storage):
        answer = _outcome(handle)
        if not isinstance(answer, Problem):
            status, said = answer
            storage.execute(
                "INSERT INTO answers (route, key, fingerprint, status, body) VALUES (?, ?, ?, ?, ?)",
                (route, key, fingerprint, status, json.dumps(said)),
            )
    if isinstance(answer, Problem):
        raise answer
    return _response(*answer)


def _outcome(handle: Callable[[], Answer]) -> Answer | Problem:
    """Return what `handle` comes to: an answer to keep, or a refusal that is not final."""
    try:
        return handle()
    except Problem as problem:
        return (problem.status, problem.body()) if problem.final else problem


def _response(status: int, body: dict[str, Any], *, replayed: bool = False) -> JSONResponse:
    headers = {"Idempotent-Replayed": "true"} if replayed else None
    if status >= 400:
        return problem_json(status, body, headers)
    return JSONResponse(body, status_code=status, headers=headers)
