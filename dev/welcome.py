"""What `make run` prints once everything is ready: addresses, who may sign in, and what to type next."""

import os
import shlex

from dev import terminal
from dev.credentials import ADMIN, user_token
from dev.layout import ROOT, Layout
from dev.stack_record import Record

SAYS = {
    "orchestrator": ("/docs", "sagas, webhooks, approvals"),
    "session": ("/docs", "catalogue, baskets, checkout, orders"),
    "shipping": ("/docs", "shipments"),
    "payment": ("/ledger", "payment processor (simulated)"),
    "carrier": ("/fleet", "carrier (simulated)"),
}
"""What each part has to show, and where."""


def show(layout: Layout, record: Record, took_s: float) -> None:
    terminal.heading(f"Order Saga: ready after {took_s:.1f} s")
    for name, (path, what) in SAYS.items():
        terminal.say(f"  {name:<13} {record.urls[name] + path:<32} {terminal.paint(what, 'dim')}")
    user, password = ADMIN
    terminal.heading("Signing in")
    if os.environ.get("ADMIN_USERS"):
        terminal.say(f"  approvals     {record.urls['orchestrator']}/login  as ADMIN_USERS says")
    else:
        sign_in = f"user {terminal.paint(user, 'bold')}, password {terminal.paint(password, 'bold')}"
        terminal.say(f"  approvals     {record.urls['orchestrator']}/login  {sign_in}")
    terminal.say("  tokens        valid for 12 hours; paste these two lines into another terminal:")
    for name, scope in (("alice", "customer"), ("admin", "admin")):
        header = f"Authorization: Bearer {user_token(record.secrets, name, scope)}"
        terminal.say(terminal.paint(f'{name.upper()}="{header}"', "green"))
    terminal.heading("What to type next")
    for comment, command in commands(layout, record):
        terminal.say(f"  {terminal.paint(f'# {comment}', 'dim')}")
        terminal.say(f"  {command}")
    terminal.say()
    terminal.say(terminal.paint("Ctrl-C stops everything.", "dim"))


def commands(layout: Layout, record: Record) -> list[tuple[str, str]]:
    """Return the commands of a first order, each with what it does."""
    session, orchestrator = record.urls["session"], record.urls["orchestrator"]
    json_body = "-H 'Content-Type: application/json'"
    alice, admin = '-H "$ALICE"', '-H "$ADMIN"'
    address = '{"name":"Alice","street":"1 Main St","city":"Springfield","postal_code":"12345","country":"US"}'
    order = f'{{"shipping_address":{address},"order_id":"first-of-alice"}}'
    place = os.path.relpath(layout.run, ROOT) if layout.run.is_relative_to(ROOT) else str(layout.run)
    return [
        ("see what is for sale", f"curl -s {session}/catalog"),
        (
            "fill the basket",
            f'curl -sX POST {session}/users/alice/cart/items {alice} {json_body} -d \'{{"sku":"mug","quantity":2}}\'',
        ),
        (
            "check out",
            f"curl -sX POST {session}/users/alice/checkout {alice} {json_body} -H 'Idempotency-Key: k1' -d '{order}'",
        ),
        ("see the order", f"curl -s {session}/users/alice/orders/first-of-alice {alice}"),
        ("see what waits for approval, with its link", f"curl -s {orchestrator}/approvals {admin}"),
        ("crash a service and watch it come back", f"kill -9 $(cat {place}/orchestrator.pid)"),
        ("read along", f"tail -f {place}/*.log"),
        ("have the whole story told", f"{settings(layout)}make demo"),
    ]


def settings(layout: Layout) -> str:
    """Return what stands before `make` in another terminal, for it to find a stack that is not at the usual place."""
    usual, base = Layout.read({}), layout.part("orchestrator").port
    words = [f"STACK_PORT_BASE={base} "] if base != usual.part("orchestrator").port else []
    words += [f"STACK_DATA={shlex.quote(str(layout.data))} "] if layout.data != usual.data else []
    return "".join(words)
