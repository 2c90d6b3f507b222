"""`make token`: print a signed token for a customer, an administrator or a service."""

import argparse
import os
import sys

from dev import stack_record, tool
from dev.credentials import TOKEN_LIFE_S, secrets_of, service_token, user_token
from dev.layout import Layout
from services.chassis.security.tokens import USER_AUDIENCE

SCOPES = frozenset({"customer", "admin", "service"})
USAGE = 'make token ARGS="[--sub ID] [--scope SCOPE] [--aud AUDIENCE] [--life-s SECONDS]"'


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make token", usage=USAGE, description=__doc__)
    parser.add_argument("--sub", default="alice", help="whose token: a user id, or the calling service (alice)")
    parser.add_argument("--scope", default="customer", help="customer, admin, 'customer admin', or service (customer)")
    parser.add_argument("--aud", default="", help="for a service token: order-saga/<service that is called>")
    parser.add_argument("--life-s", type=float, default=TOKEN_LIFE_S, help="seconds; a service token lives 60")
    return parser.parse_args()


def main() -> int:
    wanted = arguments()
    if unknown := sorted(set(wanted.scope.split()) - SCOPES):
        print(
            f"no service knows the scope {', '.join(unknown)}: there are {', '.join(sorted(SCOPES))}", file=sys.stderr
        )
        return 2
    try:
        secrets = stack_record.read(Layout.read()).secrets
    except stack_record.NotRunningError:
        secrets = secrets_of(os.environ)
    if "service" in wanted.scope.split():
        if not wanted.aud.startswith(f"{USER_AUDIENCE}/"):
            print("a service token names the service that it is for: --aud order-saga/orchestrator", file=sys.stderr)
            return 2
        print(service_token(secrets, wanted.sub, wanted.aud))
        return 0
    print(user_token(secrets, wanted.sub, wanted.scope, wanted.life_s))
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
