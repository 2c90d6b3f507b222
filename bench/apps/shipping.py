"""The shipping stub: answers at once; refuses, for good, every order whose id begins with `rej`."""

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Event = MutableMapping[str, Any]
REFUSED = json.dumps(
    {"error": "address not serviceable", "code": "address-not-serviceable", "detail": "address not serviceable"}
).encode()


async def app(scope: Event, receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
    """POST /ship/{order}: 200 with a tracking number, or 422; plain ASGI, so that it costs little of the two cores."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    order = scope["path"].rsplit("/", 1)[1]
    refused = order.startswith("rej")
    body = REFUSED if refused else json.dumps({"tracking": f"T-{order}"}).encode()
    kind = b"application/problem+json" if refused else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 422 if refused else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), log_level="warning", access_log=False, timeout_keep_alive=3600, lifespan="off"
    )
