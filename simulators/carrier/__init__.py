"""The carrier: creates and cancels parcels by reference, keeps a fleet."""

from simulators.carrier.app import create_app

__all__ = ["create_app"]
