"""`make` sets itself up on machines that are not as one would wish, and after a set-up that was broken off."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dev.layout import ROOT
from dev.lock import GLIBC

PYTHON = """#!/bin/sh
case "$*" in
  -V) echo Python 3.12.0 ;;
  *SOABI*) echo cpython-312 ;;
  *"-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo whole > .venv/made ;;
esac
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"
TOOLS = ("bash", "sh", "cp", "mkdir", "rm", "touch", "test", "cat")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The Makefile with locks that hold nothing, and a PATH that holds little."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "bin").mkdir()
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / lock).touch()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / "bin" / name).symlink_to(found)
    return tmp_path


def program(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(0o755)


def make(tree: Path, *words: str, target: str = ".venv/.ready") -> subprocess.CompletedProcess[str]:
    found = shutil.which("make")
    assert found is not None
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "PYTHON"}
    env["PATH"] = str(tree / "bin")
    return subprocess.run(
        [found, target, *words], cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("others", [(), ("python3",)])
@pytest.mark.parametrize("version", GLIBC)
def test_the_first_python_that_is_new_enough_is_taken(tree: Path, others: tuple[str, ...], version: str) -> None:
    """Also where none is called python3, or the one that is has been there for too long."""
    for name in others:
        program(tree / "bin" / name, TOO_OLD)
    program(tree / "bin" / f"python{version}", PYTHON)
    done = make(tree)
    assert done.returncode == 0, done.stderr
    assert (tree / ".venv" / ".ready").exists()


def test_a_machine_without_python_is_told_what_to_do(tree: Path) -> None:
    """It names what is needed and how to point at it."""
    done = make(tree)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "make PYTHON=" in done.stderr


@pytest.mark.parametrize("ready", [False, True])
def test_a_broken_virtualenv_is_made_anew(tree: Path, *, ready: bool) -> None:
    """Broken off before it had pip, or left by a Python that is gone: no file of it has to be removed by hand."""
    program(tree / "bin" / "python3", PYTHON)
    program(tree / ".venv" / "bin" / "python", TOO_OLD)
    if ready:
        (tree / ".venv" / ".ready").touch()
    done = make(tree)
    assert done.returncode == 0, done.stderr
    assert (tree / ".venv" / "made").exists()


def test_packages_that_cannot_be_had_are_told_with_what_to_look_at(tree: Path) -> None:
    """Behind a proxy that does not answer, the set-up ends with words, and is not taken for done."""
    program(tree / "bin" / "python3", PYTHON)
    program(tree / ".venv" / "bin" / "python", '#!/bin/sh\ncase "$*" in *" install "*) exit 1 ;; esac\n')
    done = make(tree)
    assert done.returncode != 0
    assert "http_proxy" in done.stderr
    assert not (tree / ".venv" / ".ready").exists()


def test_what_was_compiled_is_kept(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the machine says otherwise: no run of the tests compiles all of them again."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    program(tree / ".venv" / "bin" / "python", '#!/bin/sh\necho "told: $PYTHONDONTWRITEBYTECODE."\n')
    (tree / ".venv" / ".ready").touch()
    assert make(tree, target="test").stdout == "told: .\n"


def test_packages_without_a_wheel_for_this_python_are_told_with_the_way_out(tree: Path) -> None:
    """Nothing is compiled unasked: that takes a compiler, and build tools that no lock holds."""
    program(tree / "bin" / "python3", PYTHON)
    only = '*" --only-binary :all: "*) echo "No matching distribution found for orjson" >&2; exit 1 ;;'
    program(tree / ".venv" / "bin" / "python", f'#!/bin/sh\ncase "$*" in -V) echo Python 3.99.0 ;; {only} esac\n')
    done = make(tree)
    assert done.returncode != 0
    assert "no wheel for Python 3.99.0" in done.stderr
    assert "make PYTHON=" in done.stderr
    assert make(tree, "ONLY_BINARY=:none:").returncode == 0, "there is no way to compile"


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(("asked", "made"), [((), False), (("PYTHON=python3.12",), True)])
def test_the_python_that_is_asked_for_is_taken(tree: Path, asked: tuple[str, ...], *, made: bool, ready: bool) -> None:
    """Whatever virtualenv is there, whole or half: it is made anew then, and only then."""
    program(tree / "bin" / "python3.12", PYTHON)
    program(tree / ".venv" / "bin" / "python", PYTHON.replace("312", "315"))
    if ready:
        (tree / ".venv" / ".ready").touch()
    for anew in (made, False):
        done = make(tree, *asked)
        assert done.returncode == 0, done.stderr
        assert (tree / ".venv" / "made").exists() is anew
        (tree / ".venv" / "made").unlink(missing_ok=True)


def test_a_python_that_is_asked_for_and_not_there_costs_no_virtualenv(tree: Path) -> None:
    """A slip of the finger is told of, and what is there stays."""
    program(tree / ".venv" / "bin" / "python", PYTHON)
    done = make(tree, "PYTHON=python3.1x")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed; 'python3.1x'" in done.stderr
    assert (tree / ".venv" / "bin" / "python").exists()
