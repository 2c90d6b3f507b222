"""Part of `make audit`: ask for known vulnerabilities of every package of the lock, and say plainly what was not asked.

A package that no advisory service knows, or a service that cannot be reached, is no pass: it is told, and with
`--strict` it is a failure.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from dev import terminal
from dev.layout import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
WORDS = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")


def audited(lock: str) -> dict[str, Any] | str:
    """Return pip-audit's findings as it writes them, or why there are none."""
    program = str(Path(sys.executable).parent / "pip-audit")
    done = subprocess.run([program, "-r", lock, *WORDS], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return lines[-1][:300]
    return found


def judge(lock: str, found: dict[str, Any] | str) -> tuple[int, bool]:
    """Tell what was found; return how many packages have a known vulnerability, and whether all were looked up."""
    if isinstance(found, str):
        terminal.warn(f"{lock}: NOT AUDITED, no advisory service could be asked: {found}")
        return 0, False
    packages = found["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    bad = [package for package in packages if package.get("vulns")]
    for package in bad:
        ids = ", ".join(vulnerability["id"] for vulnerability in package["vulns"])
        fixed = sorted({version for vulnerability in package["vulns"] for version in vulnerability["fix_versions"]})
        terminal.fail(
            f"{lock}: {package['name']} {package['version']}: {ids}; fixed in {', '.join(fixed) or 'no version'}"
        )
    looked_up = len(packages) - len(skipped)
    if looked_up == 0:
        terminal.warn(f"{lock}: NOT AUDITED, the advisory service knows none of the {len(packages)} packages from here")
    elif skipped:
        names = ", ".join(package["name"] for package in skipped)
        terminal.warn(f"{lock}: {looked_up} of {len(packages)} packages audited; not audited: {names}")
    else:
        terminal.done(f"{lock}: {looked_up} packages audited, {len(bad)} with known vulnerabilities")
    return len(bad), not skipped


def main() -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail as well for what could not be audited")
    wanted = parser.parse_args()
    results = [judge(lock, audited(lock)) for lock in LOCKS]
    vulnerable = sum(count for count, _ in results)
    complete = all(whole for _, whole in results)
    return 1 if vulnerable or (wanted.strict and not complete) else 0


if __name__ == "__main__":
    sys.exit(main())
