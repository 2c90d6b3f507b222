"""Where the peers are installed: an environment of their own under .data, made by `make bench-peers` alone."""

import json
import subprocess
import sys
from pathlib import Path

from bench.processes import ROOT

HOME = ROOT / ".data" / "bench-peers"
PACKAGES = ROOT / "bench" / "peers.txt"
"""Versions of the Python packages, as pip reads them."""
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"


def python() -> Path:
    return HOME / "venv" / "bin" / "python"


def restate_server() -> Path:
    found = sorted((HOME / "npm" / "node_modules" / "@restatedev").glob("restate-server-*/bin/restate-server"))
    return found[0] if found else HOME / "restate-server is not installed"


def install() -> None:
    """Install what is missing, from the registries that pip and npm are set up with."""
    HOME.mkdir(parents=True, exist_ok=True)
    mark, wanted = HOME / "installed", f"# {sys.version} in {sys.base_prefix}\n{PACKAGES.read_text()}"
    if not (mark.exists() and mark.read_text() == wanted and python().exists()):
        print("installing the peers into", HOME)
        _run(sys.executable, "-m", "venv", "--clear", str(HOME / "venv"))
        _run(str(python()), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(PACKAGES))
        mark.write_text(wanted)
    if not restate_server().exists():
        (HOME / "npm").mkdir(exist_ok=True)
        words = ("--prefix", str(HOME / "npm"), "--silent", "--no-fund", "--no-audit")
        _run("npm", "install", *words, RESTATE_SERVER)


def versions() -> dict[str, str]:
    """Return the versions of what is installed."""
    listed = subprocess.run(
        [str(python()), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
    )
    wanted = {line.split("==")[0].lower() for line in PACKAGES.read_text().splitlines() if "==" in line}
    packages = {row["name"]: row["version"] for row in json.loads(listed.stdout) if row["name"].lower() in wanted}
    return packages | {"restate-server": RESTATE_SERVER.rpartition("@")[2]}


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
