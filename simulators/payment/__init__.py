"""The payment processor: takes payments, settles them later by signed webhooks, gives money back, keeps a ledger."""

from simulators.payment.app import create_app

__all__ = ["create_app"]
