"""The repository as somebody finds it who has just cloned it."""

import re

from tests.support.tree import ROOT, run, tracked_files

TARGETS = {
    *("run", "demo", "test", "check", "format", "lint", "types", "arch", "scenarios", "migrate", "psql", "reset"),
    *("token", "webhook", "bench", "compose-test", "lock"),
}
INDEX = re.compile(r"pypi\.org|pythonhosted\.org|--index-url|--find-links")
PINNED = re.compile(r"^[a-z0-9-]+==\S+( ; [^\\]+)? \\$")


def test_make_lists_what_there_is() -> None:
    """`make` alone prints every target that a person may want."""
    result = run("make")
    assert result.returncode == 0, result.stderr
    assert set(re.findall(r"make ([a-z-]+)", result.stdout)) >= TARGETS
    lines = [re.sub(r"\x1b\[\d+m", "", line) for line in result.stdout.splitlines()]
    begins = {len(found[0]) for line in lines if (found := re.match(r"  make [a-z-]+ +", line))}
    assert len(begins) == 1, "the texts do not begin in one column"


def test_the_data_of_no_stack_is_committed() -> None:
    """Neither that of `make run` nor that of a stack beside it, as the README starts one."""
    beside = re.search(r"STACK_DATA=(\S+)", (ROOT / "README.md").read_text())
    assert beside is not None
    for folder in (".data", beside[1]):
        assert run("git", "check-ignore", f"{folder}/postgres/PG_VERSION").returncode == 0, folder


def test_the_lock_holds_versions_and_hashes_only() -> None:
    """Every package is pinned and hashed; no file says where packages come from."""
    for name in ("requirements.lock", "requirements-dev.lock"):
        for line in (ROOT / name).read_text().splitlines():
            assert PINNED.match(line) or line.strip().startswith("--hash=sha256:"), f"{name}: {line}"


def test_no_file_names_a_package_index() -> None:
    """The address of a package index is the machine's affair."""
    naming = []
    for path in tracked_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if INDEX.search(text) and path.name != "test_repository.py":
            naming.append(str(path.relative_to(ROOT)))
    assert not naming


def test_continuous_integration_runs_the_tests() -> None:
    """`.ci/run` does what a person does: `make test`."""
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text()
    assert script.stat().st_mode & 0o100
