"""Runs the payment processor as a process: `python -m simulators.payment`, port 8011."""

from simulators.payment.app import create_from
from simulators.simulator import serve

if __name__ == "__main__":
    serve(create_from, port=8011)
