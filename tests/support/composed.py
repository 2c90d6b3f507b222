"""A stack run by docker compose: brought up and taken down under a project name and on ports of its own."""

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from dev.layout import Layout
from tests.support.tree import ROOT

ASKED_FOR = "ORDER_SAGA_COMPOSE"
UP_S = 900
ENGINE_S = 20


def why_not() -> str:
    """Return why this tier cannot run here, or nothing if it can."""
    if not os.environ.get(ASKED_FOR):
        return "the compose tier builds an image and runs containers: `make compose-test` runs it"
    for words, what in (
        (("docker", "info"), "no Docker engine answers"),
        (("docker", "compose", "version"), "no Compose"),
    ):
        try:
            found = subprocess.run(words, capture_output=True, text=True, check=False, timeout=ENGINE_S)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            return f"{what}: {error}"
        if found.returncode:
            return f"{what}: {found.stderr.strip()}"
    return ""


class Composed:
    """One compose project."""

    def __init__(
        self, project: str, layout: Layout, *, files: tuple[str, ...], env: Mapping[str, str] | None = None
    ) -> None:
        self.urls = {part.name: part.url for part in layout.parts}
        self._words = ("docker", "compose", "-p", project, *(word for file in files for word in ("-f", file)))
        published = {f"{part.name.upper()}_PORT": str(part.port) for part in layout.parts}
        self._env = os.environ | published | dict(env or {})

    def ran(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._words, *words], cwd=ROOT, env=self._env, capture_output=True, text=True, check=False, timeout=UP_S
        )

    def run(self, *words: str) -> str:
        """Run a compose command that must succeed, and return what it printed."""
        done = self.ran(*words)
        if done.returncode:
            raise AssertionError(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout

    def up(self, *more: str) -> None:
        """Build and start everything; return once all is healthy."""
        try:
            self.run("up", "--build", "--detach", "--wait", "--wait-timeout", "300", *more)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ran('logs', '--tail', '30').stdout}") from None

    def crash(self, service: str) -> None:
        """Kill a service with SIGKILL and bring it back."""
        self.run("kill", "--signal", "SIGKILL", service)
        self.run("up", "--detach", "--no-deps", "--wait", service)

    def remove(self) -> None:
        self.ran("down", "--volumes", "--remove-orphans", "--timeout", "20")

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return each service's container as `docker compose ps` describes it, the ended ones too."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return {container["Service"]: container for container in map(json.loads, lines)}
