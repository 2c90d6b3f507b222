"""Runs the carrier as a process: `python -m simulators.carrier`, port 8012."""

from simulators.carrier.app import create_from
from simulators.simulator import serve

if __name__ == "__main__":
    serve(create_from, port=8012)
