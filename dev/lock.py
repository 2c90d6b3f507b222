"""Resolve the dependencies into lock files: versions and hashes only, good for every Python >= 3.11 and processor.

`requirements.lock` is what the services need (the image installs it), `requirements-dev.lock` adds what a developer
needs. No file names the address of a package index. Where docs/operations.md promises wheels, it ends with an error
that names the package if one is missing.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dev.layout import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
COMMON = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet")
SILENT = ("--no-emit-index-url", "--no-emit-find-links")
GLIBC = {"3.11": "2_28", "3.12": "2_28", "3.13": "2_28", "3.14": "2_28", "3.15": "2_39"}  # the oldest, by Python
WHEELS_ONLY = ("--dry-run", "--no-build", "--no-deps", "--require-hashes", "--quiet")


def uv(*words: str) -> None:
    subprocess.run([str(Path(sys.executable).parent / "uv"), "pip", *words], cwd=ROOT, check=True)


def compile_lock(name: str, *options: str) -> None:
    uv("compile", "pyproject.toml", *COMMON, *SILENT, *options, "-o", name, *sys.argv[1:])


def see_wheels(python: str, platform: str) -> None:
    """That nothing of the locks is compiled there: a set-up takes wheels only."""
    locks = [word for name in LOCKS for word in ("-r", name)]
    with TemporaryDirectory() as nowhere:
        machine = ("--python-version", python, "--python-platform", platform, "--target", nowhere)
        uv("install", *WHEELS_ONLY, *machine, *locks)


def main() -> None:
    compile_lock(LOCKS[0])
    compile_lock(LOCKS[1], "--group", "dev", "-c", LOCKS[0])
    for python, glibc in GLIBC.items():
        for platform in (f"x86_64-manylinux_{glibc}", f"aarch64-manylinux_{glibc}", "aarch64-apple-darwin"):
            see_wheels(python, platform)


if __name__ == "__main__":
    main()
