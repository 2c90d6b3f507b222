"""The repository as the architecture tests see it: its files, and commands run from its root."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CODE = ("services", "simulators", "dev", "migrations", "bench", "tests")
PRODUCT = ("services", "simulators", "dev")
SERVICES = ("session", "shipping", "orchestrator")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked_files() -> Iterator[Path]:
    """Every file that git knows, and every new one that it does not ignore."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout
    return (ROOT / name for name in listed.splitlines() if (ROOT / name).is_file())


def modules(*folders: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in python_files(*folders)
    ]


def copy_alone(service: str, into: Path) -> None:
    """Copy what a service may need, and nothing of the other services."""
    others = [name for name in SERVICES if name != service]
    shutil.copytree(ROOT / "services", into / "services", ignore=shutil.ignore_patterns("__pycache__", *others))


def run(
    *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, timeout_s: float = 100
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=timeout_s)


def tool(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the virtual environment that runs the tests."""
    return run(str(Path(sys.executable).parent / name), *words)
