"""Resolve the dependencies into lock files: versions and hashes only, good for every Python >= 3.11 and processor.

`requirements.lock` is what the services need (the image installs it), `requirements-dev.lock` adds what a developer
needs. No file names the address of a package index.
"""

import subprocess
import sys
from pathlib import Path

from dev.layout import ROOT

COMMON = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet")
SILENT = ("--no-emit-index-url", "--no-emit-find-links")


def compile_lock(name: str, *options: str) -> None:
    uv = str(Path(sys.executable).parent / "uv")
    words = [uv, "pip", "compile", "pyproject.toml", *COMMON, *SILENT, *options, "-o", name, *sys.argv[1:]]
    subprocess.run(words, cwd=ROOT, check=True)


def main() -> None:
    compile_lock("requirements.lock")
    compile_lock("requirements-dev.lock", "--group", "dev", "-c", "requirements.lock")


if __name__ == "__main__":
    main()
