"""The README's order, word for word: a real stack, its commands in one shell, and what a browser does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from dev import ports, stack_record
from dev.credentials import ADMIN, user_token
from dev.layout import Layout
from tests.support.pages import blocks, read, section
from tests.support.tree import ROOT

PATIENCE_S = 60.0
POLL_S = 0.1
TITLE = "A complete order"
END = "__the_end_of_this_block__"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that runs for this test alone."""

    layout: Layout
    secrets: dict[str, str]
    urls: dict[str, str]

    def get(self, service: str, path: str, *, sub: str = "", scope: str = "customer") -> Any:
        """Look at something, with a token of this user."""
        headers = {"Authorization": f"Bearer {user_token(self.secrets, sub, scope)}"} if sub else {}
        return httpx.get(self.urls[service] + path, headers=headers, trust_env=False).raise_for_status().json()

    def env(self) -> dict[str, str]:
        """The environment of a terminal in which `make run` was typed; a `make` around us is no business of it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        return inherited | _stack_env(self.layout)


def _stack_env(layout: Layout) -> dict[str, str]:
    return {"STACK_PORT_BASE": str(layout.part("orchestrator").port), "STACK_DATA": str(layout.data)}


@pytest.fixture
def stack(folder: Path, worker_id: str) -> Iterator[Stack]:
    """`make run`, on ports and data of its own, stopped by Ctrl-C at the end."""
    number = int(re.sub(r"\D", "", worker_id) or "0")
    layout = Layout.at(ports.free_base(24_000 + 1_000 * number), folder / "data")
    with (folder / "stack.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dev.stack"],
            cwd=ROOT,
            env=os.environ | _stack_env(layout),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        running = _until(lambda: _record(layout, process, folder / "stack.log"), "the stack runs")
        yield Stack(layout, running.secrets, running.urls)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


def _record(layout: Layout, process: "subprocess.Popen[bytes]", log: Path) -> stack_record.Record | None:
    if process.poll() is not None:
        pytest.fail(f"the stack has ended:\n{log.read_text()[-3000:]}")
    try:
        return stack_record.read(layout)
    except stack_record.NotRunningError:
        return None


class Shell:
    """A terminal in which one block is typed after another."""

    def __init__(self, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, text: str) -> str:
        """Run a block; what it prints."""
        keyboard, screen = _pipe(self._process.stdin), _pipe(self._process.stdout)
        keyboard.write(f"{text}\necho\necho {END}\n")
        keyboard.flush()
        lines: list[str] = []
        for line in screen:
            if line.strip() == END:
                return "".join(lines)
            lines.append(line)
        pytest.fail(f"the shell has ended:\n{''.join(lines)}")

    def close(self) -> None:
        """Close the terminal."""
        self._process.communicate(timeout=PATIENCE_S)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _until(look: Callable[[], Any], what: str) -> Any:
    """Wait as a person would who looks again and again."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(POLL_S)
    pytest.fail(f"{what}: not after {PATIENCE_S:.0f} s")


def _press_reject(link: str) -> None:
    """Open the link in a browser, sign in, and press the button."""
    user, password = ADMIN
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        origin = {"Origin": link.partition("/approvals/")[0]}
        sign_in = browser.get(link)
        assert sign_in.url.path == "/login"
        target = sign_in.url.params["next"]
        form = {"username": user, "password": password, "next": target}
        page = browser.post(str(sign_in.url.copy_with(query=None)), data=form, headers=origin)
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert csrf is not None, page.text
        answer = browser.post(link, data={"decision": "reject", "csrf": csrf[1], "reason": ""}, headers=origin)
        assert "rejected" in answer.text


@dataclass(frozen=True, slots=True)
class Scene:
    """A block by something it contains: what it must print, and what the reader then waits for."""

    has: str
    prints: tuple[str, ...] = ()
    then: str = ""
    order_id: str = ""


SCENES = (
    Scene("SESSION="),
    Scene('"order-1", "payment_token"', ('"status":"pending_payment"',)),
    Scene("explanation", ("It waits since",)),
    Scene("make webhook", ("200 OK",), "awaiting_approval", "order-1"),
    Scene('"decision": "approve"', ('"decision":"approve"',), "completed", "order-1"),
    Scene("$CARRIER/fleet", ('"status": "completed"', '"reference":"order-1"')),
    Scene('"order-2", "payment_token"', ('"status":"pending_payment"',), "asked", "order-2"),
    Scene("openssl dgst", ("200 OK",), "awaiting_approval", "order-2"),
    Scene("link_of order-2", ("/approvals/",), "rejected", "order-2"),
    Scene("$PAYMENT/ledger", ('"status": "rejected"', '"voided":true')),
)


def _wait(stack: Stack, scene: Scene) -> None:
    """Give the system the time that a reader takes to type the next block."""
    if scene.then == "asked":
        path = f"/payments?order_id={scene.order_id}"
        _until(lambda: stack.get("payment", path)["payments"], f"{scene.order_id} asks for its payment")
    elif scene.then:
        path = f"/users/alice/orders/{scene.order_id}"
        _until(
            lambda: stack.get("session", path, sub="alice")["status"] == scene.then, f"{scene.order_id} {scene.then}"
        )
    if scene.then == "awaiting_approval":
        _until(lambda: stack.get("orchestrator", "/approvals", sub="admin", scope="admin"), "an approval waits")


@pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("bash", "curl", "make", "openssl", "od", "python3")),
    reason="the commands of the README need bash, curl, make, openssl, od and python3",
)
@pytest.mark.scenario("W1", "P1", "K0", "G9")
def test_the_order_of_the_readme_works_word_for_word(stack: Stack) -> None:
    """Every command of the page, typed in its order, does what the page says; only the ports are this stack's."""
    typed = [block.text for block in blocks(section(read("README.md"), TITLE)) if block.language == "bash"]
    assert [scene.has in text for scene, text in zip(SCENES, typed, strict=True)] == [True] * len(SCENES)
    shell = Shell(stack.env())
    try:
        for scene, text in zip(SCENES, typed, strict=True):
            shown = shell.type(_on_ports_of(stack, text))
            for words in scene.prints:
                assert words in shown, f"{text}\nprinted:\n{shown}"
            if scene.then == "rejected":
                _press_reject(shown.strip().splitlines()[0])
            _wait(stack, scene)
    finally:
        shell.close()


def _on_ports_of(stack: Stack, text: str) -> str:
    for name, port in (("orchestrator", 8000), ("session", 8001), ("payment", 8011), ("carrier", 8012)):
        text = text.replace(f"http://127.0.0.1:{port}", stack.urls[name])
    return text
