"""`make webhook`: print, as a curl command, the signed webhook that the payment processor would send for an order."""

import argparse
import json
import os
import secrets
import shlex
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from dev import stack_record, tool
from dev.credentials import secrets_of, webhook_secret
from dev.layout import Layout
from services.chassis.security.signing import sign

USAGE = (
    'make webhook ARGS="--order-id ID [--outcome succeeded|failed] [--attempt N] [--amount-minor N] [--event-id ID]"'
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make webhook", usage=USAGE, description=__doc__)
    parser.add_argument("--order-id", required=True)
    parser.add_argument("--outcome", choices=("succeeded", "failed"), default="succeeded")
    parser.add_argument("--attempt", type=int, help="of the order (the latest)")
    parser.add_argument("--amount-minor", type=int, help="another amount than was asked for: it is not believed")
    parser.add_argument("--event-id", default="", help="send the same event again by giving its id")
    return parser.parse_args()


def where() -> tuple[dict[str, str], dict[str, str]]:
    """Return the running stack's addresses and secrets, else what the environment says."""
    layout = Layout.read()
    try:
        running = stack_record.read(layout)
    except stack_record.NotRunningError:
        default = layout.addresses()
        names = ("payment", "orchestrator")
        urls = {name: os.environ.get(f"{name.upper()}_URL") or default[f"{name.upper()}_URL"] for name in names}
        return urls, secrets_of(os.environ)
    return running.urls, running.secrets


def find_payment(payment_url: str, order_id: str, attempt: int | None) -> dict[str, Any] | None:
    """Ask the processor which payment, for which awakeable, it was asked for."""
    answer = httpx.get(f"{payment_url}/payments", params={"order_id": order_id}, trust_env=False)
    answer.raise_for_status()
    payments = [p for p in answer.json()["payments"] if attempt is None or p["attempt"] == attempt]
    return max(payments, key=lambda payment: int(payment["attempt"]), default=None)


def body_of(payment: dict[str, Any], wanted: argparse.Namespace) -> str:
    amount = dict(payment["amount"])
    if wanted.amount_minor is not None:
        amount["amount_minor"] = wanted.amount_minor
    data = {name: payment[name] for name in ("payment_id", "awakeable_id", "order_id")} | {"amount": amount}
    if wanted.outcome == "succeeded":
        data["transaction_id"] = payment["transaction_id"] or f"txn_{secrets.token_hex(12)}"
    else:
        data |= {"code": "card_declined", "message": "The card was declined."}
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps({"type": f"payment.{wanted.outcome}", "timestamp": now, "data": data}, separators=(",", ":"))


def main() -> int:
    wanted = arguments()
    urls, known = where()
    try:
        payment = find_payment(urls["payment"], wanted.order_id, wanted.attempt)
    except httpx.HTTPError as error:
        print(f"the payment processor does not answer at {urls['payment']}: {error}", file=sys.stderr)
        print(
            "    start the stack with `make run`, or say where it is: STACK_PORT_BASE and STACK_DATA", file=sys.stderr
        )
        return 1
    if payment is None:
        print(f"no payment was asked for order {wanted.order_id} yet", file=sys.stderr)
        print("    place the order, or try again in a moment: its payment is asked for as it runs", file=sys.stderr)
        return 1
    body = body_of(payment, wanted)
    event_id = wanted.event_id or f"evt_{secrets.token_hex(12)}"
    signed = sign(webhook_secret(known), event_id, int(time.time()), body.encode())
    headers = {"content-type": "application/json", **signed}
    options = " \\\n".join(f"  -H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
    url = f"{urls['orchestrator']}/webhooks/payments"
    print(f"curl -sS -i -X POST {url} \\\n{options} \\\n  --data-raw {shlex.quote(body)}")
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
